"""Do maps show where the defect is? Pixel AUROC, pixel average precision and AUPRO.

AUPRO is that of MVTec's own evaluation code (Bergmann et al. 2021, section 5.2): how far each
8-connected region lies above a threshold, averaged over regions, against the false positive rate on
all good pixels of all images, integrated up to 0.3 and divided by it. Values are exact over what
`pixel_counts` counted; intervals draw whole images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import names, resampling
from capsule_inspection.metrics.pixel_counts import PixelCounts
from capsule_inspection.types import Figure

FALSE_POSITIVE_LIMIT = 0.3
CURVE_POINTS = 500

_FEWEST_DEFECTS = 2
"""Images with a defect for an interval: one, drawn again and again, does not vary."""


def localisation_figures(counts: PixelCounts, *, seed: int = 0) -> dict[str, Figure]:
    """The three figures of one set of images; n is the number of images.

    Nothing where no mask has a pixel or no pixel is good. 95% bootstrap over images, those with
    a defect and those without each for themselves; None where fewer than two have one.
    """
    return mean_localisation([(counts, np.arange(len(counts)).astype(str))], seed=seed)


def mean_localisation(
    runs: Sequence[tuple[PixelCounts, Sequence[str] | np.ndarray]], *, seed: int = 0
) -> dict[str, Figure]:
    """Mean of the figures of folds, each with the identities of its images, such as SHA-256.

    Each fold is another model, so scores are never pooled. An image that is tested in several
    folds is drawn in all of them together; n is the number of distinct images. Folds in which the
    figures cannot be had are left out. Raises ValueError where the numbers of images and
    identities differ.
    """
    usable = [run for run in runs if _has_both(run[0])]
    if not usable:
        return {}
    all_counts = [counts for counts, _ in usable]
    identities = [_checked(*run) for run in usable]
    is_defect = [counts.has_defect for counts in all_counts]
    weights = resampling.clustered_weights(identities, is_defect, seed=seed)
    once = [np.ones((1, len(counts))) for counts in all_counts]
    exact = _mean([_exact(counts) for counts in all_counts])
    coarse, drawn = (
        _mean([_resampled(*fold) for fold in zip(all_counts, rows, strict=True)])
        for rows in (once, weights)
    )
    images = np.concatenate(identities)
    defects = np.unique(images[np.concatenate(is_defect)])
    figures = {}
    for name, of_all in exact.items():
        value = float(of_all[0])
        moved = drawn[name] + (value - coarse[name][0])  # by what ranges of scores lose
        limits = resampling.percentile_limits(moved) if len(defects) >= _FEWEST_DEFECTS else None
        figures[name] = resampling.enclosing(value, limits, n=len(np.unique(images)))
    return figures


def pro_curve(counts: PixelCounts) -> tuple[np.ndarray, np.ndarray]:
    """False positive rate and mean overlap, both rising from 0 to 1, at most CURVE_POINTS of them.

    To be drawn: the figure is computed from all points. Shapes: (P,) both. Raises ValueError where
    there are no defect or no good pixels.
    """
    return _curve(counts, counts.overlap)


def roc_curve(counts: PixelCounts) -> tuple[np.ndarray, np.ndarray]:
    """False positive rate and true positive rate of pixels, as `pro_curve` gives its two."""
    return _curve(counts, counts.defect)


def area_below(x: np.ndarray, y: np.ndarray, *, limit: float = 1.0) -> np.ndarray:
    """Area below lines through points, up to x = limit, where the line is cut.

    Shapes: x and y (..., P), x rising from 0. Returns (...).
    """
    width, clipped = np.diff(x), np.diff(np.minimum(x, limit))
    slope = np.divide(np.diff(y), width, out=np.zeros_like(width), where=width > 0)
    return (clipped * (y[..., :-1] + slope * clipped / 2)).sum(axis=-1)


def _has_both(counts: PixelCounts) -> bool:
    return bool(counts.good.sum() > 0 and counts.defect.sum() > 0)


def _checked(counts: PixelCounts, identities: Sequence[str] | np.ndarray) -> np.ndarray:
    if len(counts) != len(identities):
        raise ValueError(f"{len(counts)} images need as many identities, found {len(identities)}")
    return np.asarray(identities)


def _exact(counts: PixelCounts) -> dict[str, np.ndarray]:
    """Figures from every score that occurs: (1,) each."""
    return _figures_of_rows(counts.good[None], counts.defect[None], counts.overlap[None])


def _resampled(counts: PixelCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of resamples (R, N) from the ranges of scores: (R,) each."""
    return _figures_of_rows(
        weights @ counts.good_by_image,
        weights @ counts.defect_by_image,
        weights @ counts.overlap_by_image,
    )


def _figures_of_rows(
    good: np.ndarray, defect: np.ndarray, overlap: np.ndarray
) -> dict[str, np.ndarray]:
    """Figures (R,) of counts (R, K), the highest score first; NaN where a side is missing."""
    false_positive, recall = _running_share(good), _running_share(defect)
    aupro = area_below(false_positive, _running_share(overlap), limit=FALSE_POSITIVE_LIMIT)
    return {
        names.PIXEL_AUROC: area_below(false_positive, recall),
        names.PIXEL_AVERAGE_PRECISION: _average_precision(good, defect, recall),
        names.AUPRO: aupro / FALSE_POSITIVE_LIMIT,
    }


def _running_share(counts: np.ndarray) -> np.ndarray:
    """0 and the running sum over the sum: (R, K + 1). NaN where the sum is zero.

    The sum of an overlap is its number of regions, since the pixels of each add up to one.
    """
    running = np.zeros((len(counts), counts.shape[1] + 1))
    np.cumsum(counts, axis=1, out=running[:, 1:])
    with np.errstate(invalid="ignore"):
        running /= running[:, -1:].copy()
    return running


def _average_precision(good: np.ndarray, defect: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Sum of precision times gained recall over all scores, as in scikit-learn: (R,)."""
    found = np.cumsum(defect, axis=1)
    above = found + np.cumsum(good, axis=1)
    precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
    return (np.diff(recall, axis=1) * precision).sum(axis=1)


def _mean(folds: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: resampling.mean_of_folds([fold[name] for fold in folds]) for name in folds[0]}


def _curve(counts: PixelCounts, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points at equal steps along the curve, so that its steep parts keep theirs."""
    if not _has_both(counts):
        raise ValueError("a curve needs both good and defect pixels")
    x, y = _running_share(counts.good[None])[0], _running_share(found[None])[0]
    length = x + y
    wanted = np.linspace(0.0, length[-1], CURVE_POINTS)
    points = np.unique(np.searchsorted(length, wanted))
    return x[points], y[points]
