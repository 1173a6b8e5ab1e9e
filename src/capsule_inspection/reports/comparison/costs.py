"""Numbers of single runs, such as epochs, times and memory; and ranks of models on validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TRAIN, VAL

if TYPE_CHECKING:
    from capsule_inspection.reports.comparison.metrics import ModelMetrics

WINDOW, TOLERANCE = 5, 0.1
"""Epochs of the running mean, and the fraction of its range in which a converged curve stays."""

TRAINING_TIME, EPOCH_TIME, PARAMETERS = "training time", "time of an epoch", "parameters"
CONVERGED, GAP, MONITORED = "converged at", "gap", "monitored metric"
"""Names of `run_numbers`: headings of the tables."""

_LOSS_SETTINGS = (
    "task.monitor", "task.monitor_smoothing", "task.loss", "task.loss_weights", "task.head_weight",
    "task.defect_weight", "task.focal_gamma", "task.corruption_probability", "data.synthesis",
    "model.corruption", "model.head", "model.classes", "data", "split", "images",
)  # fmt: skip
"""Settings that change the meaning of a validation loss: its terms, images and corruption."""

_OVERLAP_SETTINGS = ("task.monitor_smoothing", "split", "images")
"""Settings that change the meaning of a validation overlap; image size and crop hardly do."""


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
        return (
            cls(float(np.mean(values)), min(values), max(values), len(values)) if values else None
        )


def run_numbers(run: RunFolder) -> dict[str, float]:
    """What a run measured of its training and its cost, as far as it has it.

    Epochs are counted from 0. The gap is how much better the monitored metric is in training than
    in validation, in the best epoch; losses have none, since they have no common scale, and so have
    models without class probabilities. Memory is that of the device where it has its own.
    """
    record, epochs, metric = run.record, run.epochs, monitored_metric(run)
    network, memory = record.get("network") or {}, record.get("peak_memory_bytes") or {}
    time_s, num_epochs = record.get("training_time_s"), record.get("epochs")
    best = epochs[epochs["epoch"] == record.get("best_epoch")] if len(epochs) else epochs
    of_last, of_best = (table.iloc[-1].to_dict() if len(table) else {} for table in (epochs, best))
    train, val = (of_best.get(names.metric_key(stage, str(metric))) for stage in (TRAIN, VAL))
    has_gap = bool(run.classes) and metric != names.LOSS
    sign = -1 if metric in LOWER_IS_BETTER else 1
    converged = find_convergence(_monitored_curve(run))
    found = {
        "stopped at epoch": num_epochs - 1 if num_epochs else None,
        TRAINING_TIME: time_s,
        "training loss": of_last.get(names.metric_key(TRAIN, names.LOSS)),
        CONVERGED: None if converged is None else epochs["epoch"].iloc[converged],
        "validation accuracy": _validation(run, names.ACCURACY),
        "validation balanced accuracy": _validation(run, names.BALANCED_ACCURACY),
        "validation binary Dice": of_best.get(names.metric_key(VAL, names.BINARY_DICE)),
        "validation loss": of_best.get(names.metric_key(VAL, names.LOSS)),
        "best epoch": record.get("best_epoch"),
        GAP: None if train is None or val is None or not has_gap else sign * (train - val),
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


@dataclass(frozen=True)
class Ranking:
    """Models, the best on validation first, and the metric of the ranking.

    Without a metric that all of them have, they are in the order of their runs.
    """

    order: list[ModelMetrics]
    by: str | None


def rank_on_validation(results: Sequence[ModelMetrics]) -> Ranking:
    """Rank by balanced accuracy, else AUROC, else loss: no test image takes part in the choice.

    By the loss only where it is the same loss on the same images. Segmentation models rank by the
    overlap that selects their epoch, on the same images too. A classifier without balanced accuracy
    has its AUROC instead.
    """
    monitored = _common_monitored_metric(results)
    accuracy, auroc = "validation balanced accuracy", "validation AUROC"
    with_masks = [result.model.has_masks for result in results]
    classify = [result.model.names_defects and not result.model.has_masks for result in results]
    class_settings = () if monitored == names.BINARY_DICE else ("model.classes",)
    overlap_settings = (*_OVERLAP_SETTINGS, *class_settings)
    if (
        all(with_masks)
        and monitored not in (None, names.LOSS)
        and _share_settings(results, overlap_settings)
    ):
        return _rank(results, str(monitored), MONITORED)
    if all(classify):
        return _rank(results, names.BALANCED_ACCURACY, accuracy, auroc)
    if all(result.cost(accuracy) for result in results):
        return _rank(results, names.BALANCED_ACCURACY, accuracy)
    if all(result.cost(auroc) for result in results):
        return _rank(results, names.AUROC, auroc)
    if monitored == names.LOSS and _share_settings(results, _LOSS_SETTINGS):
        return _rank(results, names.LOSS, MONITORED, sign=-1)
    return Ranking(list(results), None)


def _rank(results: Sequence[ModelMetrics], metric: str, *numbers: str, sign: int = 1) -> Ranking:
    """Rank by the first of the numbers that a model has."""

    def value(result: ModelMetrics) -> float:
        found = (result.cost(number) for number in numbers)
        return next((sign * spread.mean for spread in found if spread), -math.inf)

    return Ranking(sorted(results, key=value, reverse=True), metric)


def _validation(run: RunFolder, metric: str) -> float | None:
    """A final validation metric of metrics.json."""
    estimate = run.metrics.get(names.metric_key(VAL, metric))
    return None if estimate is None else estimate.value


def _common_monitored_metric(results: Sequence[ModelMetrics]) -> str | None:
    """The metric that selects the epoch of every run and has a value; None where they differ."""
    runs = [run for result in results for run in result.model.runs]
    found = {monitored_metric(run) if MONITORED in run_numbers(run) else None for run in runs}
    return found.pop() if len(found) == 1 else None


def _share_settings(results: Sequence[ModelMetrics], groups: Sequence[str]) -> bool:
    """Whether all have the same folds, and no setting in these groups differs."""
    if len({frozenset(result.model.folds) for result in results}) > 1:
        return False
    models = [settings.model_settings(run) for result in results for run in result.model.runs]
    return not any(
        key == name or key.startswith(f"{name}.")
        for key in settings.differing_settings(models)
        for name in groups
    )
