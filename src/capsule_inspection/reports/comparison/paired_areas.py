"""The difference of two AUROCs, from scores that may stand beside each other and no others.

Scores of classifiers are probabilities, so their folds are pooled. Where a model names no classes,
each of its folds has a scale of its own: then both models are compared within folds.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics.paired import PairedDifference, auroc_difference
from capsule_inspection.metrics.paired_folds import PairedScores, mean_auroc_difference
from capsule_inspection.reports.comparison.contestant import Contestant

Rows = tuple[np.ndarray, np.ndarray]
"""Rows of the images that two contestants share, in the first and in the second: (M,) both."""


def area_difference(first: Contestant, second: Contestant, rows: Rows) -> PairedDifference | None:
    """First minus second on shared images; None where no scores may stand beside each other."""
    is_defect = first.is_defect[rows[0]]
    if not is_defect.any() or is_defect.all():
        return None
    if first.score is not None and second.score is not None:
        return auroc_difference(first.score[:, rows[0]], second.score[:, rows[1]], is_defect)
    whole = _whole(first), _whole(second)
    if whole[0] is not None and whole[1] is not None:
        units = [_unit(first, rows, (whole[0], whole[1]))]
    else:
        units = [
            _unit(first, rows, (first.scores_of(fold), second.scores_of(fold)))
            for fold in first.folds
            if fold in second.folds
        ]
    usable = [unit for unit in units if 0 < unit.is_defect.sum() < len(unit.is_defect)]
    return mean_auroc_difference(usable) if usable else None


def why_none(first: Contestant, second: Contestant) -> str:
    """Why there is no difference of AUROCs, and what to do about it."""
    several = [one.name for one in (first, second) if _whole(one) is None]
    return (
        f"AUROC is not compared: {' and '.join(several) or 'one of them'} has a model for each of "
        "several folds, whose scores have scales of their own, and in no fold were both models "
        "tested on the same good images and defects. Train both with the same split and folds "
        "(split, split.folds, split.seed, split.fold)"
    )


def _whole(contestant: Contestant) -> np.ndarray | None:
    """Scores of all its images on one scale, (R, N); None where there are several scales."""
    if contestant.score is not None:
        return contestant.score
    folds = contestant.folds
    return contestant.scores_of(folds[0]) if len(folds) == 1 else None


def _unit(first: Contestant, rows: Rows, scores: tuple[np.ndarray, np.ndarray]) -> PairedScores:
    """Scores of the shared images that all of these models judged; there may be none."""
    of_first, of_second = scores[0][:, rows[0]], scores[1][:, rows[1]]
    known = np.isfinite(of_first).all(axis=0) & np.isfinite(of_second).all(axis=0)
    return PairedScores(
        first=of_first[:, known],
        second=of_second[:, known],
        is_defect=first.is_defect[rows[0]][known],
        identity=first.image[rows[0]][known],
    )
