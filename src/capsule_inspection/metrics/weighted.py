"""Figures of telling defects from good images where each image counts as often as it was drawn.

Each row of weights is one resample; a row of ones gives the figures themselves. What the figures
mean is said in `detection`, and what is drawn in `resampling`.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.localisation import area_below

_ROUNDING = 1e-9


def of_scores(
    is_defect: np.ndarray, score: np.ndarray, weights: np.ndarray, *, false_alarm_rate: float
) -> dict[str, np.ndarray]:
    """Figures that need no threshold: (R,) each, NaN where a side was not drawn.

    The recall at a rate is the best one with at most that share of the good images rejected.
    Shapes: is_defect (N,) bool; score (N,); weights (R, N).
    """
    found, rejected = _above_each_score(is_defect, score, weights)
    defects, good = found[:, -1:], rejected[:, -1:]
    allowed = np.floor(false_alarm_rate * good + _ROUNDING)
    called = found + rejected
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    with np.errstate(invalid="ignore"):
        recall, false_alarms = found / defects, rejected / good
        return {
            names.AUROC: area_below(false_alarms, recall),
            names.AVERAGE_PRECISION: (np.diff(recall) * precision[:, 1:]).sum(axis=1),
            names.F1_BEST: (2 * found / (called + defects)).max(axis=1),
            names.RECALL_AT_RATE: np.where(rejected <= allowed, recall, 0.0).max(axis=1),
        }


def of_decisions(
    is_defect: np.ndarray, called_defect: np.ndarray, class_name: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Figures of decisions that were made: (R,) each, NaN where nothing of it was drawn.

    The recall of a class is the share of its images that were called what they are, good or not.
    Shapes: is_defect and called_defect (N,) bool; class_name (N,) str; weights (R, N).
    """
    good, right = ~is_defect, is_defect == called_defect
    found = weights @ (is_defect & called_defect)
    called_or_defect = weights @ called_defect + weights @ is_defect
    with np.errstate(invalid="ignore"):
        figures = {
            names.DEFECTS_MISSED: _share(is_defect & ~called_defect, is_defect, weights),
            names.GOOD_REJECTED: _share(good & called_defect, good, weights),
            names.F1: 2 * found / called_or_defect,
        }
        for name in classes_of(is_defect, class_name):
            rows = class_name == name
            figures[names.class_metric(names.RECALL, name)] = _share(right & rows, rows, weights)
    return figures


def classes_of(is_defect: np.ndarray, class_name: np.ndarray) -> list[str]:
    """Names of the classes that have images: good ones, then defects by their names."""
    of_sides = [np.unique(class_name[~is_defect]), np.unique(class_name[is_defect])]
    return list(dict.fromkeys(str(name) for name in np.concatenate(of_sides)))


def _above_each_score(
    is_defect: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many defects and good ones lie above a threshold, from none to all: (R, L + 1) both."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    sides = np.zeros((2, len(weights), len(ends) + 1))
    for side, of_side in zip(sides, (is_defect, ~is_defect), strict=True):
        side[:, 1:] = np.cumsum((weights * of_side)[:, order], axis=1)[:, ends]
    return sides[0], sides[1]


def _share(chosen: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights @ chosen) / (weights @ among)
