"""Figures of telling defects from good images as the mean over folds, each its own model.

Scores of different models have different scales, so they are never pooled. Folds that test the same
photographs do not make more of them: intervals draw photographs, each in all of its folds together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import intervals, names, resampling, weighted
from capsule_inspection.metrics.detection import f1_limits, proportion_limits
from capsule_inspection.types import Figure


@dataclass(frozen=True)
class AnomalyRun:
    """What one fold's model said of its test images.

    Shapes, all (N,): is_defect and called_defect bool; score finite, high for defects; class_name
    str; identity str, the same for the same photograph in every fold, such as its SHA-256.
    """

    is_defect: np.ndarray
    called_defect: np.ndarray
    score: np.ndarray
    class_name: np.ndarray
    identity: np.ndarray


def mean_anomaly_figures(
    runs: Sequence[AnomalyRun], *, false_alarm_rate: float, seed: int = 0
) -> dict[str, Figure]:
    """Mean over folds of what `detection.anomaly_figures` gives of each.

    A fold without a figure does not count towards its mean. Intervals enclose a bootstrap over
    photographs and, but for AUROC, the interval that as many distinct photographs give alone: one
    defect of 87 that one of five models missed would else have a narrower one than none missed.
    A figure's n is the number of distinct photographs that it stands on.
    """
    if not runs:
        return {}
    identities, is_defect = [r.identity for r in runs], [r.is_defect for r in runs]
    weights = resampling.clustered_weights(identities, is_defect, seed=seed)
    once = [np.ones((1, len(run.score))) for run in runs]
    mean, drawn = (
        _mean(
            [
                _figures_of_rows(run, rows, false_alarm_rate)
                for run, rows in zip(runs, of_folds, strict=True)
            ]
        )
        for of_folds in (once, weights)
    )
    return {
        name: resampling.enclosing(
            float(value[0]),
            resampling.percentile_limits(drawn[name]),
            _limits_alone(name, float(value[0]), runs),
            n=_distinct(name, runs),
        )
        for name, value in mean.items()
        if np.isfinite(value[0])
    }


def _figures_of_rows(
    run: AnomalyRun, weights: np.ndarray, false_alarm_rate: float
) -> dict[str, np.ndarray]:
    """Every figure of one fold (R,), for weights (R, N)."""
    decided = weighted.of_decisions(run.is_defect, run.called_defect, run.class_name, weights)
    if run.is_defect.all() or not run.is_defect.any():
        del decided[names.F1]
        return decided
    return decided | weighted.of_scores(
        run.is_defect, run.score, weights, false_alarm_rate=false_alarm_rate
    )


def _mean(folds: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    found = dict.fromkeys(name for fold in folds for name in fold)
    return {
        name: resampling.mean_of_folds([fold[name] for fold in folds if name in fold])
        for name in found
    }


def _limits_alone(name: str, value: float, runs: Sequence[AnomalyRun]) -> resampling.Limits | None:
    """Limits from the number of distinct photographs; of an AUROC only where it is perfect."""
    good, defects = (_distinct(side, runs) for side in (names.GOOD_REJECTED, names.DEFECTS_MISSED))
    if name == names.AUROC:
        perfect = value > 1 - 1e-12
        return _perfect_auroc(good, defects) if perfect else None
    if name in (names.F1, names.F1_BEST):
        return f1_limits(value, defects)
    if name in (names.AVERAGE_PRECISION, names.RECALL_AT_RATE):
        return proportion_limits(value, defects)
    return proportion_limits(value, _distinct(name, runs))


def _perfect_auroc(good: int, defects: int) -> resampling.Limits | None:
    return resampling.limits_of(intervals.auroc(np.zeros(good), np.ones(defects)))


def _distinct(name: str, runs: Sequence[AnomalyRun]) -> int:
    """Number of distinct photographs on which a figure stands."""
    return len(np.unique(np.concatenate([run.identity[_stands_on(name, run)] for run in runs])))


def _stands_on(name: str, run: AnomalyRun) -> np.ndarray:
    if name == names.GOOD_REJECTED:
        return ~run.is_defect
    if name == names.DEFECTS_MISSED:
        return run.is_defect
    prefix = names.class_metric(names.RECALL, "")
    if name.startswith(prefix):
        return run.class_name == name.removeprefix(prefix)
    return np.ones(len(run.score), dtype=bool)
