"""Difference of two areas under the ROC curve on the same images, as the mean over folds.

Each fold has models of its own, whose scores have scales of their own, so areas are compared within
folds. Source of the contribution of each image: DeLong et al. 1988; of groups: Obuchowski 1997.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    difference's n is the number of distinct images. The variance of half a differing image is added
    on each side where two models order all images alike, and for a group that is alone on its side
    of a fold, since it cannot vary there.
    """
    is_defect = np.concatenate([fold.is_defect for fold in folds])
    groups, row = np.unique(np.concatenate([fold.group for fold in folds]), return_inverse=True)
    fewest = min(len(np.unique(row[is_defect])), len(np.unique(row[~is_defect])))
    parts = [_centred_contributions(fold, fewest=fewest) for fold in folds]
    value = float(np.mean([part.value for part in parts]))
    contribution = np.concatenate([part.contribution for part in parts]) / len(folds)
    weight = np.concatenate([part.weight for part in parts]) / len(folds)
    is_alone = np.concatenate([part.is_alone for part in parts])
    of_group = np.bincount(row, weights=contribution)
    squares = float((of_group**2).sum())
    is_alike = bool(np.abs(of_group).max() < _ZERO)
    pseudo = 0.0
    for side in (is_defect, ~is_defect):
        alone = side & is_alone
        added = float((np.bincount(row[alone], weights=weight[alone]) ** 2).sum())
        if is_alike:
            each = np.bincount(row[side], weights=weight[side])
            added = max(added, float((each[each > 0] ** 2).mean()))
        pseudo += added / 2
    score = PairedScore(
        value=0.0 if abs(value) < _ZERO else value,
        squares=squares,
        products=0.0,
        weights=0.0,
        pseudo=pseudo,
        variance_limits=_variance_limits(squares + pseudo, fewest - 1),
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


class _Part(NamedTuple):
    """The difference of the areas in one fold, and what each image has to do with it, (N,) each.

    `is_alone` is true where all images of a side are of one group.
    """

    value: float
    contribution: np.ndarray
    weight: np.ndarray
    is_alone: np.ndarray


def _centred_contributions(fold: PairedScores, *, fewest: int) -> _Part:
    """The contributions of the defects sum to zero, and so do those of the good images.

    Those of n groups show (n - 1) / n of their variance, a half in a fold of two defects. So they
    are larger by the root of the inverse, or by that of the side with fewer groups in all folds.
    """
    good, defect = np.flatnonzero(~fold.is_defect), np.flatnonzero(fold.is_defect)
    wins = _wins(fold.first, good, defect) - _wins(fold.second, good, defect)
    value = float(wins.mean())
    weight, contribution = np.empty(len(fold.group)), np.empty(len(fold.group))
    is_alone = np.zeros(len(fold.group), dtype=bool)
    for side, axis in ((defect, 1), (good, 0)):
        count = len(np.unique(fold.group[side]))
        weight[side], is_alone[side] = 1 / len(side), count == 1
        larger = max(_variance_factor(count), _variance_factor(fewest))
        contribution[side] = math.sqrt(larger) * (wins.mean(axis=axis) - value) / len(side)
    return _Part(value, contribution, weight, is_alone)


def _variance_factor(count: int) -> float:
    return count / max(1, count - 1)


def _wins(scores: np.ndarray, good: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """1 where a defect scores above a good image, 0.5 for ties; mean over seeds, (D, G)."""
    above = [np.sign(row[defect][:, None] - row[good][None, :]) for row in scores]
    return (np.mean(above, axis=0) + 1) / 2
