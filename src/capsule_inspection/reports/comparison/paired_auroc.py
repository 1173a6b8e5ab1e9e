"""The difference of two AUROCs on shared images, from scores on a common scale only.

The scores of classifiers are probabilities, so their folds are pooled. Without class probabilities
each fold has its own scale: both models are then compared within folds.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics.paired_auroc import (
    PairedScores,
    auroc_difference,
    mean_auroc_difference,
)
from capsule_inspection.metrics.paired_tests import PairedDifference
from capsule_inspection.reports.comparison.model_runs import ModelRuns

SharedRows = tuple[np.ndarray, np.ndarray]
"""Rows of the shared images, in the first and in the second model: (M,) both."""


def paired_auroc_difference(
    first: ModelRuns, second: ModelRuns, rows: SharedRows
) -> PairedDifference | None:
    """First minus second on shared images; None where no scores have a common scale."""
    is_defect = first.is_defect[rows[0]]
    if not is_defect.any() or is_defect.all():
        return None
    if first.scores is not None and second.scores is not None:
        return auroc_difference(first.scores[:, rows[0]], second.scores[:, rows[1]], is_defect)
    pooled = _common_scale_scores(first), _common_scale_scores(second)
    if pooled[0] is not None and pooled[1] is not None:
        folds = [_paired_scores(first, rows, (pooled[0], pooled[1]))]
    else:
        folds = [
            _paired_scores(first, rows, (first.fold_scores(fold), second.fold_scores(fold)))
            for fold in first.folds
            if fold in second.folds
        ]
    usable = [fold for fold in folds if 0 < fold.is_defect.sum() < len(fold.is_defect)]
    return mean_auroc_difference(usable) if usable else None


def explain_missing(first: ModelRuns, second: ModelRuns) -> str:
    """Why there is no difference of AUROCs, and what to do about it."""
    several = [model.name for model in (first, second) if _common_scale_scores(model) is None]
    return (
        f"AUROC is not compared: {' and '.join(several) or 'one of them'} has a model for each of "
        "several folds, whose scores have scales of their own, and in no fold were both models "
        "tested on the same good images and defects. Train both with the same split and folds "
        "(split, split.folds, split.seed, split.fold)"
    )


def _common_scale_scores(model: ModelRuns) -> np.ndarray | None:
    """Scores of all images on one scale, (R, N); None where there are several scales."""
    if model.scores is not None:
        return model.scores
    folds = model.folds
    return model.fold_scores(folds[0]) if len(folds) == 1 else None


def _paired_scores(
    first: ModelRuns, rows: SharedRows, scores: tuple[np.ndarray, np.ndarray]
) -> PairedScores:
    """Scores of the shared images that all runs predicted; there may be none."""
    first_scores, second_scores = scores[0][:, rows[0]], scores[1][:, rows[1]]
    known = np.isfinite(first_scores).all(axis=0) & np.isfinite(second_scores).all(axis=0)
    return PairedScores(
        first=first_scores[:, known],
        second=second_scores[:, known],
        is_defect=first.is_defect[rows[0]][known],
        identity=first.image_ids[rows[0]][known],
    )
