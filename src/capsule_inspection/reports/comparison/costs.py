"""What single runs measured of their training and their cost, such as epochs, times and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TRAIN, VAL

WINDOW, TOLERANCE = 5, 0.1
"""Epochs of the running mean, and the fraction of its range in which a converged curve stays."""

TRAINING_TIME, EPOCH_TIME, PARAMETERS = "training time", "time of an epoch", "parameters"
CONVERGED, GAP, MONITORED = "converged at", "training less validation", "monitored metric"
GAP_LOW, GAP_HIGH = f"{GAP}, at least", f"{GAP}, at most"
"""Names of `run_numbers`: headings of the tables."""


@dataclass(frozen=True)
class Spread:
    """Mean and range of a number over the runs of a model, and how many runs have it."""

    mean: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None where there are no values."""
        if not values:
            return None
        return cls(float(np.mean(values)), min(values), max(values), len(values))


def run_numbers(run: RunFolder) -> dict[str, float]:
    """What a run measured of its training and its cost, as far as it has it.

    Epochs are counted from 1. The gap is how much better the monitored metric is in training than
    in validation, in the best epoch, with limits from the interval of the latter; losses have none,
    since they have no common scale, and so have models without class probabilities. Memory is that
    of the device where it has its own.
    """
    record, epochs, metric = run.record, run.epochs, monitored_metric(run)
    network, memory = record.get("network") or {}, record.get("peak_memory_bytes") or {}
    time_s, num_epochs = record.get("training_time_s"), record.get("epochs")
    best = epochs[epochs["epoch"] == record.get("best_epoch")] if len(epochs) else epochs
    of_last, of_best = (table.iloc[-1].to_dict() if len(table) else {} for table in (epochs, best))
    train, val = (of_best.get(names.metric_key(stage, str(metric))) for stage in (TRAIN, VAL))
    gap = {} if train is None or val is None else _gap(run, str(metric), train, val)
    converged = find_convergence(_monitored_curve(run))
    best_epoch = record.get("best_epoch")
    if record.get("memory_bank"):  # nothing was trained
        num_epochs = best_epoch = converged = None
    found = {
        "stopped at epoch": num_epochs or None,
        TRAINING_TIME: time_s,
        "training loss": of_last.get(names.metric_key(TRAIN, names.LOSS)),
        CONVERGED: None if converged is None else epochs["epoch"].iloc[converged] + 1,
        "validation accuracy": _validation(run, names.ACCURACY),
        "validation balanced accuracy": _validation(run, names.BALANCED_ACCURACY),
        "validation binary Dice": of_best.get(names.metric_key(VAL, names.BINARY_DICE)),
        "validation loss": of_best.get(names.metric_key(VAL, names.LOSS)),
        "best epoch": None if best_epoch is None else best_epoch + 1,
        **(gap if run.classes and metric != names.LOSS else {}),
        PARAMETERS: network.get("parameters"),
        "FLOPs an image": network.get("flops"),
        "time of an image": record.get("inference_ms_per_image"),
        "images a second, training": record.get("images_per_second"),
        EPOCH_TIME: time_s / num_epochs if time_s and num_epochs else None,
        "peak memory": memory.get("gpu") or memory.get("resident"),
        "validation AUROC": _validation(run, names.AUROC),
        MONITORED: (record.get("monitor") or {}).get("value"),
    }
    return {
        key: float(value)
        for key, value in found.items()
        if isinstance(value, SupportsFloat) and math.isfinite(value)
    }


def monitored_metric(run: RunFolder) -> str | None:
    """The metric that selects the epoch, without its stage, such as balanced_accuracy."""
    key = (run.record.get("monitor") or {}).get("key")
    return str(key).removeprefix(f"{VAL}/").removesuffix("_smoothed") if key else None


def has_convergence(run: RunFolder) -> bool:
    """Whether its curve is long enough to find where it converged."""
    return _is_long_enough(_monitored_curve(run))


def describe_hardware(runs: Sequence[RunFolder]) -> str:
    """What the runs were trained on: device, threads and precision."""
    found = []
    for run in runs:
        hardware = run.record.get("hardware") or {}
        gpus = hardware.get("gpus") or []
        on_gpu = hardware.get("device") in ("cuda", "mps") and gpus
        device = gpus[0] if on_gpu else hardware.get("processor", "unknown")
        threads = "" if on_gpu else f", {hardware.get('threads', '?')} threads"
        found.append(f"{device}{threads}, {hardware.get('precision', '')}".strip(", "))
    return "; ".join(dict.fromkeys(found))


def find_convergence(values: np.ndarray) -> int | None:
    """Row of the epoch from which the running mean of a curve stays near its last value.

    None where that holds only in its last fifth, or fewer than twice `WINDOW` epochs are measured.
    Shapes: values (E,), one for each epoch; NaN where nothing was measured.
    """
    if not _is_long_enough(values):
        return None
    measured = np.flatnonzero(np.isfinite(values))
    smooth = np.convolve(values[measured], np.full(WINDOW, 1 / WINDOW), mode="valid")
    away = np.abs(smooth - smooth[-1]) > TOLERANCE * np.ptp(smooth)
    first = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
    return None if first >= 0.8 * len(smooth) else int(measured[first + WINDOW - 1])


def _monitored_curve(run: RunFolder) -> np.ndarray:
    column = f"{VAL}/{monitored_metric(run)}"
    return run.epochs[column].to_numpy(np.float64) if column in run.epochs else np.zeros(0)


def _is_long_enough(values: np.ndarray) -> bool:
    return int(np.isfinite(values).sum()) >= 2 * WINDOW


def _gap(run: RunFolder, metric: str, train: float, val: float) -> dict[str, float]:
    """The gap, and its limits where validation has an interval of the metric."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    gap, of = sign * (train - val), run.metrics.get(names.metric_key(VAL, metric))
    if of is None or of.ci_low is None or of.ci_high is None:
        return {GAP: gap}
    low, high = sorted(gap + sign * (of.value - limit) for limit in (of.ci_low, of.ci_high))
    return {GAP: gap, GAP_LOW: low, GAP_HIGH: high}


def _validation(run: RunFolder, metric: str) -> float | None:
    """A final validation metric of metrics.json."""
    estimate = run.metrics.get(names.metric_key(VAL, metric))
    return None if estimate is None else estimate.value
