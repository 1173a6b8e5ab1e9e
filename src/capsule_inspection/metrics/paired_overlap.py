"""Two segmentation models on the same images: difference in overlap with the masks.

Binary Dice and mean IoU are the global ones of `segmentation`: of each seed, then their mean. The
bootstrap draws groups of images, the same ones for both models and for all seeds, each defect class
and the good ones for themselves. A plain one has too little spread in classes of three or four. So
one fewer is drawn of each (Rao and Wu 1988), and resamples are moved away from the value as far as
t lies beyond the normal distribution (Hesterberg 2015, expanded percentiles). Of two models of
equal skill, with 13 or 18 defects of five classes, a plain one rejects equality in 9% to 18% of the
pairs where it should be 5%, this one in 5% to 8%.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from capsule_inspection.metrics import bootstrap, names
from capsule_inspection.metrics.intervals import CONFIDENCE
from capsule_inspection.metrics.paired_tests import (
    RESAMPLES,
    PairedDifference,
    bootstrap_difference,
)
from capsule_inspection.metrics.segmentation import PixelAreas, iou_and_dice, strata

TEST = "paired bootstrap"
MIN_DISCORDANT = 6
"""With fewer differing images a sign test cannot reach .05: 2 * 0.5**5."""
TOO_FEW = f"fewer than {MIN_DISCORDANT} images have different predicted masks"
SINGLE_IMAGE = "a class has one image"
_DIGITS = 12
"""Smaller differences are rounding errors, which must not give zero a sign."""

_UPPER = 0.5 + CONFIDENCE / 2


class _Areas(NamedTuple):
    """Hit, true and predicted pixels: (S, N, K) float64 each."""

    hit: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def overlap_differences(
    first: np.ndarray, second: np.ndarray, *, group: np.ndarray, by_class: bool
) -> dict[str, PairedDifference]:
    """First minus second in binary Dice and, where `by_class`, in mean IoU.

    Empty where no mask has a pixel. There is no interval and no p value where the predicted masks
    differ on fewer than `MIN_DISCORDANT` groups, nor for mean IoU where a class has a single group;
    where all are alike p is 1. n is the number of images.
    Shapes: first (S1, N, C1, C1) and second (S2, N, C2, C2), the same N images for S seeds, as
    `segmentation.pixel_confusion_matrices` counts them; group (N,). With `by_class` the classes are
    the same.
    """
    one, other = PixelAreas.of(first), PixelAreas.of(second)
    truth = max(one, other, key=lambda areas: areas.truth.shape[-1]).truth[0]
    if not truth.any():
        return {}
    row = np.unique(group, return_inverse=True)[1]
    weights = bootstrap.stratified_weights(
        _strata(truth, row), seed=0, resamples=RESAMPLES, rescaled=True
    )[:, row]
    binary = np.array([0])
    differences = {
        names.BINARY_DICE_GLOBAL: _difference(
            _columns(one, binary), _columns(other, binary), weights, row, iou=False
        )
    }
    if by_class:
        present = 1 + np.flatnonzero(truth[:, 1:].any(axis=0))
        single = any(len(np.unique(row[truth[:, of] > 0])) == 1 for of in present)
        differences[names.MEAN_IOU_GLOBAL] = _difference(
            _columns(one, present),
            _columns(other, present),
            None if single else weights,
            row,
            iou=True,
        )
    return differences


def _columns(areas: PixelAreas, columns: np.ndarray) -> _Areas:
    parts = areas.hit, areas.truth, areas.predicted
    return _Areas(*(part[..., columns] for part in parts))


def _strata(truth: np.ndarray, row: np.ndarray) -> np.ndarray:
    """`segmentation.strata` of each group, the highest of its images; `row` is that of its group.

    The only group of a class is put into the largest class: alone it would not vary.
    """
    stratum = np.zeros(row.max() + 1, dtype=np.int64)
    np.maximum.at(stratum, row, strata(truth))
    sizes = np.bincount(stratum)
    sizes_of_defects = np.where(np.arange(len(sizes)) > 0, sizes, 0)
    is_alone = (sizes[stratum] == 1) & (stratum > 0)
    return np.where(is_alone, sizes_of_defects.argmax(), stratum)


def _difference(
    first: _Areas, second: _Areas, weights: np.ndarray | None, row: np.ndarray, *, iou: bool
) -> PairedDifference:
    """The difference of an overlap; without weights only its value, unless it is zero.

    Shapes: weights (R, N); row (N,), the number of each image's group.
    """
    from scipy.stats import norm, t

    images, groups, differing = len(row), row.max() + 1, _num_differing(first, second, row)
    value = float(_of_pair(first, second, np.ones((1, images)), iou=iou)[0])
    if not differing:
        return PairedDifference(value, None, None, 1.0, images, TEST, groups)
    if weights is None or differing < MIN_DISCORDANT:
        why = SINGLE_IMAGE if weights is None else TOO_FEW
        return PairedDifference(value, None, None, None, images, why, groups)
    drawn = _of_pair(first, second, weights, iou=iou)
    wider = t.ppf(_UPPER, differing - 1) / norm.ppf(_UPPER)
    drawn = np.clip(value + wider * (drawn - value), -1, 1)
    return bootstrap_difference(value, drawn, n=images, test=TEST, n_groups=groups)


def _num_differing(first: _Areas, second: _Areas, row: np.ndarray) -> int:
    """Number of groups in which hit or predicted pixels differ, mean over seeds."""
    differ = [
        ~np.isclose(one.mean(axis=0), other.mean(axis=0), rtol=0, atol=1e-6)
        for one, other in ((first.hit, second.hit), (first.predicted, second.predicted))
    ]
    return len(np.unique(row[(differ[0] | differ[1]).any(axis=1)]))


def _of_pair(first: _Areas, second: _Areas, weights: np.ndarray, *, iou: bool) -> np.ndarray:
    """Difference of the means over seeds, for weights (R, N): (R,)."""
    of_both = (_overlap(areas, weights, iou=iou).mean(axis=0) for areas in (first, second))
    return np.round(np.subtract(*of_both), _DIGITS)


def _overlap(areas: _Areas, weights: np.ndarray, *, iou: bool) -> np.ndarray:
    """IoU or Dice, mean over the classes whose mask is drawn: (S, R)."""
    found = iou_and_dice(*(weights @ part for part in areas))[0 if iou else 1]
    return bootstrap.mean_of_folds(list(np.moveaxis(found, -1, 0)))
