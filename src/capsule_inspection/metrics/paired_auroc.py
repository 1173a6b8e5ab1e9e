"""Difference of two areas under the ROC curve on the same images, as the mean over folds.

Each fold has models of its own, whose scores have scales of their own, so areas are compared within
folds. Source of the contribution of each image: DeLong et al. 1988; of groups: Obuchowski 1997.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics.intervals import Limits
from capsule_inspection.metrics.paired_tests import PairedDifference, PairedScore, with_score

_TEST = "DeLong's test within folds"
_ZERO = 1e-12
"""Smaller differences are rounding errors."""


@dataclass(frozen=True)
class PairedScores:
    """Scores that two models gave the same images in one fold, a row a seed.

    Shapes: first (S1, N) and second (S2, N), finite, high for defects; is_defect (N,) bool, with
    both good images and defects; image and group (N,), the same in every fold.
    """

    first: np.ndarray
    second: np.ndarray
    is_defect: np.ndarray
    image: np.ndarray
    group: np.ndarray


def auroc_difference(folds: Sequence[PairedScores]) -> PairedDifference:
    """First minus second: in each fold the mean over seeds, then the mean over folds.

    An image that several folds test is one observation, as are the images of a group. The
    difference's n is the number of distinct images. Where two models order all images alike, the
    variance is that of half a differing image on each side.
    """
    parts = [_centred_contributions(fold) for fold in folds]
    value = float(np.mean([of_fold for of_fold, _, _ in parts]))
    contribution = np.concatenate([of_fold for _, of_fold, _ in parts]) / len(folds)
    weight = np.concatenate([of_fold for _, _, of_fold in parts]) / len(folds)
    is_defect = np.concatenate([fold.is_defect for fold in folds])
    groups, row = np.unique(np.concatenate([fold.group for fold in folds]), return_inverse=True)
    of_group = np.bincount(row, weights=contribution)
    observations = min(len(np.unique(row[is_defect])), len(np.unique(row[~is_defect])))
    squares = float((of_group**2).sum()) * observations / max(1, observations - 1)
    pseudo = 0.0
    if np.abs(contribution).max() < _ZERO:
        weights = [np.bincount(row[side], weights=weight[side]) for side in (is_defect, ~is_defect)]
        pseudo = sum(float((side[side > 0] ** 2).mean()) for side in weights) / 2
    score = PairedScore(
        value=0.0 if abs(value) < _ZERO else value,
        squares=squares,
        products=0.0,
        weights=0.0,
        pseudo=pseudo,
        variance_limits=_variance_limits(squares + pseudo, observations - 1),
    )
    images = np.unique(np.concatenate([fold.image for fold in folds]))
    return with_score(score, n=len(images), n_groups=len(groups), test=_TEST)


def _variance_limits(variance: float, degrees: int) -> Limits | None:
    """95% limits of a variance from so many degrees of freedom; None from fewer than two."""
    from scipy.stats import chi2

    if degrees < 2:
        return None
    low, high = (degrees * variance / chi2.ppf(level, degrees) for level in (0.975, 0.025))
    return float(low), float(high)


def _centred_contributions(fold: PairedScores) -> tuple[float, np.ndarray, np.ndarray]:
    """The difference of the areas, contribution and weight of each image, (N,) both.

    The contributions of the defects sum to zero, and so do those of the good images.
    """
    good, defect = np.flatnonzero(~fold.is_defect), np.flatnonzero(fold.is_defect)
    wins = _wins(fold.first, good, defect) - _wins(fold.second, good, defect)
    value = float(wins.mean())
    weight = np.where(fold.is_defect, 1 / len(defect), 1 / len(good))
    contribution = np.empty(len(weight))
    contribution[defect], contribution[good] = wins.mean(axis=1) - value, wins.mean(axis=0) - value
    return value, contribution * weight, weight


def _wins(scores: np.ndarray, good: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """1 where a defect scores above a good image, 0.5 for ties; mean over seeds, (D, G)."""
    above = [np.sign(row[defect][:, None] - row[good][None, :]) for row in scores]
    return (np.mean(above, axis=0) + 1) / 2
