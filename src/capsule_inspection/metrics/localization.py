"""Localization metrics of anomaly maps: pixel AUROC, pixel average precision and AUPRO.

AUPRO is that of MVTec's own evaluation code (Bergmann et al. 2021, section 5.2): how far each
8-connected region lies above a threshold, averaged over regions, against the false positive rate on
all good pixels of all images, integrated up to 0.3 and divided by it. Values are exact over the
histograms of `pixel_counts`; intervals draw whole images, those of one
group together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import bootstrap, intervals, names
from capsule_inspection.metrics.detection import area_under_curve
from capsule_inspection.metrics.pixel_counts import PixelCounts
from capsule_inspection.types import Estimate

FPR_LIMIT = 0.3
CURVE_POINTS = 500

_MIN_DEFECTS = 2
"""Groups with a defect for an interval: one, drawn again and again, does not vary."""


def localization_metrics(
    counts: PixelCounts, *, seed: int = 0, group: np.ndarray | None = None
) -> dict[str, Estimate]:
    """The three metrics of one set of images; n is the number of groups.

    Empty where no mask has a pixel or no pixel is good. 95% bootstrap over groups, images with a
    defect and those without each for themselves; no interval where fewer than two groups have one.
    Shapes: group (N,); without it each image stands for itself.
    """
    group = intervals.group_numbers(group, len(counts)).astype(str)
    return mean_localization_metrics([(counts, group)], seed=seed)


def mean_localization_metrics(
    folds: Sequence[tuple[PixelCounts, np.ndarray]], *, seed: int = 0
) -> dict[str, Estimate]:
    """Mean of the metrics of folds, each with the groups of its images; a SHA-256 where alone.

    Each fold is another model, so scores are never pooled. Images of one group are drawn together
    in all folds; n is the number of groups. Folds in which the metrics are undefined are left out.
    """
    folds = [(counts, group) for counts, group in folds if _has_both(counts)]
    if not folds:
        return {}
    groups = [group for _, group in folds]
    is_defect = [counts.has_defect for counts, _ in folds]
    weights = bootstrap.clustered_weights(groups, is_defect, seed=seed)
    exact = _mean([_metrics(c.good[None], c.defect[None], c.overlap[None]) for c, _ in folds])
    coarse, drawn = (
        _mean([_resampled(counts, rows) for (counts, _), rows in zip(folds, weighted, strict=True)])
        for weighted in ([np.ones((1, len(counts))) for counts, _ in folds], weights)
    )
    group = np.concatenate(groups)
    of_defects = group[np.concatenate(is_defect)]
    metrics = {}
    for name, of_all in exact.items():
        value = float(of_all[0])
        moved = drawn[name] + (value - coarse[name][0])  # by what ranges of scores lose
        limits = None
        if intervals.num_groups(of_defects) >= _MIN_DEFECTS:
            limits = bootstrap.widen(bootstrap.percentile_limits(moved), value, of_defects)
        metrics[name] = intervals.estimate(value, limits, n=intervals.num_groups(group))
    return metrics


def pro_curve(counts: PixelCounts) -> tuple[np.ndarray, np.ndarray]:
    """False positive rate and mean overlap, both rising from 0 to 1, at most CURVE_POINTS of them.

    For plots: the metric is computed from all points. Shapes: (P,) both. There must be both good
    and defect pixels.
    """
    return _curve(counts, counts.overlap)


def roc_curve(counts: PixelCounts) -> tuple[np.ndarray, np.ndarray]:
    """False positive rate and true positive rate of pixels, as `pro_curve` gives its two."""
    return _curve(counts, counts.defect)


def _has_both(counts: PixelCounts) -> bool:
    return bool(counts.good.sum() > 0 and counts.defect.sum() > 0)


def _resampled(counts: PixelCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of resamples (R, N) from the ranges of scores: (R,) each."""
    of_images = counts.good_by_image, counts.defect_by_image, counts.overlap_by_image
    return _metrics(*(weights @ table for table in of_images))


def _metrics(good: np.ndarray, defect: np.ndarray, overlap: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics (R,) of counts (R, K), the highest score first; NaN where a side is missing."""
    fpr, tpr = _cumulative_fraction(good), _cumulative_fraction(defect)
    aupro = area_under_curve(fpr, _cumulative_fraction(overlap), limit=FPR_LIMIT)
    return {
        names.PIXEL_AUROC: area_under_curve(fpr, tpr),
        names.PIXEL_AVERAGE_PRECISION: _average_precision(good, defect, tpr),
        names.AUPRO: aupro / FPR_LIMIT,
    }


def _cumulative_fraction(counts: np.ndarray) -> np.ndarray:
    """0 and the running sum over the sum: (R, K + 1). NaN where the sum is zero.

    The sum of an overlap is its number of regions, since the pixels of each add up to one.
    """
    running = np.zeros((len(counts), counts.shape[1] + 1))
    np.cumsum(counts, axis=1, out=running[:, 1:])
    with np.errstate(invalid="ignore"):
        running /= running[:, -1:].copy()
    return running


def _average_precision(good: np.ndarray, defect: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """Sum of precision times gained recall over all scores, as in scikit-learn: (R,)."""
    found = np.cumsum(defect, axis=1)
    above = found + np.cumsum(good, axis=1)
    precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
    return (np.diff(tpr, axis=1) * precision).sum(axis=1)


def _mean(folds: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: bootstrap.mean_of_folds([fold[name] for fold in folds]) for name in folds[0]}


def _curve(counts: PixelCounts, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points at equal steps along the curve, so that its steep parts keep theirs."""
    x, y = _cumulative_fraction(counts.good[None])[0], _cumulative_fraction(found[None])[0]
    length = x + y
    wanted = np.linspace(0.0, length[-1], CURVE_POINTS)
    points = np.unique(np.searchsorted(length, wanted))
    return x[points], y[points]
