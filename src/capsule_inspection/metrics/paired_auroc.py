"""Difference of two areas under the ROC curve on the same images, pooled or within folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import bootstrap, names
from capsule_inspection.metrics.detection import score_metrics
from capsule_inspection.metrics.paired_tests import (
    RESAMPLES,
    PairedDifference,
    bootstrap_difference,
)

_DIGITS = 12
"""Smaller differences are rounding errors, which must not give zero a sign."""


@dataclass(frozen=True)
class PairedScores:
    """Scores that two models gave the same images in one fold, a row a seed.

    Shapes: first (S1, N) and second (S2, N), finite, high for defects; is_defect (N,) bool, with
    both good images and defects; identity (N,) str, the same for the same image in every fold.
    """

    first: np.ndarray
    second: np.ndarray
    is_defect: np.ndarray
    identity: np.ndarray


def auroc_difference(
    first: np.ndarray, second: np.ndarray, is_defect: np.ndarray
) -> PairedDifference:
    """First minus second, mean over seeds, by a paired bootstrap within good images and defects.

    Shapes: first (S1, N) and second (S2, N) scores, high for defects; is_defect (N,) bool, with
    both good images and defects.
    """
    good, defect = np.flatnonzero(~is_defect), np.flatnonzero(is_defect)
    wins = _wins(first, good, defect) - _wins(second, good, defect)
    generator = np.random.default_rng(0)
    good_weight, defect_weight = (
        generator.multinomial(len(side), np.full(len(side), 1 / len(side)), RESAMPLES)
        for side in (good, defect)
    )
    drawn = np.einsum("rd,dg,rg->r", defect_weight, wins, good_weight, optimize=True) / wins.size
    value = float(wins.mean())
    return bootstrap_difference(value, drawn, n=len(is_defect), test="paired bootstrap")


def mean_auroc_difference(folds: Sequence[PairedScores]) -> PairedDifference:
    """First minus second: in each fold the mean over seeds, then the mean over folds.

    Each fold has models of its own, whose scores have scales of their own, so areas are compared
    within folds. Bootstrap over images, good ones and defects each for themselves, each in all of
    its folds together. n is the number of distinct images.
    """
    identities, is_defect = [fold.identity for fold in folds], [fold.is_defect for fold in folds]
    # 2,000 resamples: with fewer no p value would survive the correction for 28 pairs.
    draws = [bootstrap.clustered_weights(identities, is_defect, seed=seed) for seed in range(2)]
    weights = [
        np.concatenate([np.ones((1, len(of_fold[0][0]))), *of_fold])
        for of_fold in zip(*draws, strict=True)
    ]
    drawn = bootstrap.mean_of_folds(
        [_difference(*of_fold) for of_fold in zip(folds, weights, strict=True)]
    )
    value, drawn = float(drawn[0]), drawn[1:]
    images = len(np.unique(np.concatenate(identities)))
    test = "paired bootstrap within folds"
    return bootstrap_difference(value, drawn[np.isfinite(drawn)], n=images, test=test)


def _wins(scores: np.ndarray, good: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """1 where a defect scores above a good image, 0.5 for ties; mean over seeds, (D, G)."""
    above = [np.sign(row[defect][:, None] - row[good][None, :]) for row in scores]
    return (np.mean(above, axis=0) + 1) / 2


def _difference(fold: PairedScores, weights: np.ndarray) -> np.ndarray:
    """Difference of the mean areas of a fold, for weights (R, N): (R,), NaN where a side is out."""
    first, second = (
        np.mean(
            [
                score_metrics(fold.is_defect, row, weights, target_fpr=0.0)[names.AUROC]
                for row in rows
            ],
            axis=0,
        )
        for rows in (fold.first, fold.second)
    )
    return np.round(first - second, _DIGITS)
