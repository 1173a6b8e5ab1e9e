"""Two models on the same images where each has a model of its own for every fold.

Scores of different models have different scales, so areas under the ROC curve are compared within
folds, and it is their differences that are averaged. What is drawn is said in `resampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import names, resampling, weighted
from capsule_inspection.metrics.paired import PairedDifference, bootstrap_difference

TEST = "paired bootstrap within folds"
_DRAWS = 2
"""Times 1,000 resamples: with fewer no p value would survive the correction for 28 pairs."""
_DIGITS = 12
"""Beyond them a difference is rounding, and no difference at all must not get a sign from it."""


@dataclass(frozen=True)
class PairedScores:
    """Scores that two models gave the same images in one fold, a row a seed.

    Shapes: first (S1, N) and second (S2, N), finite, high for defects; is_defect (N,) bool;
    identity (N,) str, the same for the same photograph in every fold.
    """

    first: np.ndarray
    second: np.ndarray
    is_defect: np.ndarray
    identity: np.ndarray


def mean_auroc_difference(folds: Sequence[PairedScores], *, seed: int = 0) -> PairedDifference:
    """First minus second in AUROC: in each fold the mean over seeds, then the mean over folds.

    Bootstrap over photographs, good ones and defects each for themselves, each in all of its folds
    together; p as that of `paired.auroc_difference`. n is the number of distinct photographs.
    Raises ValueError where there is no fold, or one without good images or defects.
    """
    if not folds or not all(0 < fold.is_defect.sum() < len(fold.is_defect) for fold in folds):
        raise ValueError("good images and defects are needed in every fold, and at least one fold")
    identities, is_defect = [fold.identity for fold in folds], [fold.is_defect for fold in folds]
    draws = [
        resampling.clustered_weights(identities, is_defect, seed=seed + draw)
        for draw in range(_DRAWS)
    ]
    weights = [np.concatenate(of_fold) for of_fold in zip(*draws, strict=True)]
    once = [np.ones((1, len(fold.identity))) for fold in folds]
    value, drawn = (
        resampling.mean_of_folds([_difference(*fold) for fold in zip(folds, rows, strict=True)])
        for rows in (once, weights)
    )
    images = len(np.unique(np.concatenate(identities)))
    return bootstrap_difference(float(value[0]), drawn[np.isfinite(drawn)], n=images, test=TEST)


def _difference(fold: PairedScores, weights: np.ndarray) -> np.ndarray:
    """Difference of the mean areas of a fold, for weights (R, N): (R,), NaN where a side is out."""
    first, second = (_mean_area(rows, fold, weights) for rows in (fold.first, fold.second))
    return np.round(first - second, _DIGITS)


def _mean_area(scores: np.ndarray, fold: PairedScores, weights: np.ndarray) -> np.ndarray:
    found = [
        weighted.of_scores(fold.is_defect, score, weights, false_alarm_rate=0.0)[names.AUROC]
        for score in scores
    ]
    return np.mean(found, axis=0)
