"""Numbers of one run for the cost tables: epochs, convergence, times, memory.

Each function takes a run and returns a number, or None where the run does not have it; the rest
are factories of such functions. `ModelMetrics.cost` summarises them over the runs of a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TRAIN, VAL

RunValue = Callable[[RunFolder], float | None]

BEST_EPOCH = "best_epoch"
WINDOW = 5
TOLERANCE = 0.1
DEFINITION = (
    f"Converged at: the first epoch from which the running mean over {WINDOW} epochs of the "
    f"monitored metric stays within {TOLERANCE:.0%} of its range from its last value; “not” where "
    "this holds only in the last fifth of the epochs."
)


def from_record(*path: str) -> RunValue:
    """A number of run.json, by the keys that lead to it."""

    def read(run: RunFolder) -> float | None:
        node: Any = run.record
        for name in path:
            node = node.get(name) if isinstance(node, dict) else None
        return None if node is None or isinstance(node, dict) else float(node)

    return read


def from_epoch(column: str, *, last: bool = False) -> RunValue:
    """A column of metrics.csv in the best epoch, or in the last one."""

    def read(run: RunFolder) -> float | None:
        if column not in run.epochs:
            return None
        rows = run.epochs if last else run.epochs[run.epochs["epoch"] == run.record.get(BEST_EPOCH)]
        value = float(rows[column].iloc[-1]) if len(rows) else float("nan")
        return value if np.isfinite(value) else None

    return read


def validation_metric(metric: str) -> RunValue:
    """A final validation metric of metrics.json."""

    def read(run: RunFolder) -> float | None:
        estimate = run.metrics.get(names.metric_key(VAL, metric))
        return None if estimate is None else estimate.value

    return read


def peak_memory_bytes(run: RunFolder) -> float | None:
    """Peak memory of the training, of the device where it has its own."""
    found = run.record.get("peak_memory_bytes") or {}
    held = found.get("gpu") or found.get("resident")
    return None if held is None else float(held)


def epoch_time_s(run: RunFolder) -> float | None:
    """Seconds for an epoch, validation included."""
    seconds, epochs = run.record.get("training_time_s"), run.record.get("epochs")
    return float(seconds) / float(epochs) if seconds and epochs else None


def monitored_metric(run: RunFolder) -> str | None:
    """The metric that selects the epoch, without its stage, such as balanced_accuracy."""
    key = (run.record.get("monitor") or {}).get("key")
    return str(key).removeprefix(f"{VAL}/").removesuffix("_smoothed") if key else None


def generalization_gap(run: RunFolder) -> float | None:
    """How much better the monitored metric is in training than in validation, in the best epoch.

    None without class probabilities, or where a loss selects the epoch: losses have no common
    scale.
    """
    metric = monitored_metric(run)
    if not run.classes or metric is None or metric == names.LOSS:
        return None
    train, val = (from_epoch(names.metric_key(stage, metric))(run) for stage in (TRAIN, VAL))
    if train is None or val is None:
        return None
    return val - train if metric in LOWER_IS_BETTER else train - val


def last_epoch(run: RunFolder) -> float | None:
    """The epoch at which training ended; the first is 0."""
    epochs = run.record.get("epochs")
    return float(epochs) - 1 if epochs else None


def has_convergence(run: RunFolder) -> bool:
    """Whether its curve is long enough to find where it converged."""
    column = f"{VAL}/{monitored_metric(run)}"
    return column in run.epochs and _is_long_enough(run.epochs[column].to_numpy(np.float64))


def converged_epoch(run: RunFolder) -> float | None:
    """The epoch at which a run converged; None where it did not."""
    column = f"{VAL}/{monitored_metric(run)}"
    if column not in run.epochs:
        return None
    row = find_convergence(run.epochs[column].to_numpy(np.float64))
    return None if row is None else float(run.epochs["epoch"].iloc[row])


def find_convergence(values: np.ndarray) -> int | None:
    """Row of the epoch at which a curve converged; None where it did not.

    A training with fewer than twice `WINDOW` measured epochs is too short: None.
    Shapes: values (E,), one for each epoch; NaN where nothing was measured.
    """
    if not _is_long_enough(values):
        return None
    measured = np.flatnonzero(np.isfinite(values))
    smooth = np.convolve(values[measured], np.full(WINDOW, 1 / WINDOW), mode="valid")
    away = np.abs(smooth - smooth[-1]) > TOLERANCE * np.ptp(smooth)
    first = int(np.flatnonzero(away)[-1]) + 1 if away.any() else 0
    if first >= 0.8 * len(smooth):
        return None
    return int(measured[first + WINDOW - 1])


def _is_long_enough(values: np.ndarray) -> bool:
    return int(np.isfinite(values).sum()) >= 2 * WINDOW
