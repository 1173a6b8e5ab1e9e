"""Histograms of pixel scores on good pixels and on defects, from which metrics are computed.

Scores are float16, as in a run folder; float32 maps are rounded. Metrics are thus exact for the
stored maps, and 39 million pixels become at most 65,536 counts, in one pass without sorting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics.target_masks import counted_pixels, defect_pixels

LEVELS = 1 << 16
RANGES = 1024
"""Ranges of neighbouring scores into which each image's counts are put, for the bootstrap."""

_SIGN, _EXPONENT, _NEGATIVE_ZERO = 0x8000, 0x7C00, 0x8000


@dataclass(frozen=True)
class PixelCounts:
    """Pixels of N images by their score, the highest score first.

    Exact, over all images and the K scores that occur: good and defect (K,), numbers of pixels;
    overlap (K,), where each defect pixel counts 1 / size of its region, so that the running sum
    over the number of regions is the mean overlap.
    For each image, over at most RANGES ranges of scores: the same three as (N, B).
    """

    good: np.ndarray
    defect: np.ndarray
    overlap: np.ndarray
    good_by_image: np.ndarray
    defect_by_image: np.ndarray
    overlap_by_image: np.ndarray

    def __len__(self) -> int:
        return len(self.good_by_image)

    @property
    def has_defect(self) -> np.ndarray:
        """Whether an image's mask has a pixel: (N,) bool."""
        return self.defect_by_image.sum(axis=1) > 0


_Sparse = tuple[np.ndarray, np.ndarray]
"""Levels that occur (L,) uint16, and their counts (L,): a third of scipy.sparse's memory."""


def rows_with_known_mask(is_defect: Iterable[bool], masks: Iterable[np.ndarray]) -> list[int]:
    """Rows of the good images and of the defects with a mask."""
    pairs = enumerate(zip(is_defect, masks, strict=True))
    return [row for row, (defect, mask) in pairs if not defect or defect_pixels(mask).any()]


def count_pixels(
    maps: Iterable[np.ndarray],
    masks: Iterable[np.ndarray],
    valid: Iterable[np.ndarray] | None = None,
) -> PixelCounts:
    """Count pixels image by image; ignored pixels and those that are not valid are left out.

    Regions are 8-connected within an image. Shapes: N of (H, W) each, of one size for an image:
    maps finite, high for defects; masks, see `target_masks`; valid bool, false on padding.
    Raises ValueError where lengths differ or a score is not finite as float16.
    """
    images = (maps, masks) if valid is None else (maps, masks, valid)
    counted = [_count(*image) for image in zip(*images, strict=True)]
    of_images = [[image[part] for image in counted] for part in range(3)]
    good, defect, overlap = (_total(counts) for counts in of_images)
    occurs = (good + defect) > 0
    range_of = np.zeros(LEVELS, dtype=np.int64)
    range_of[occurs] = _ranges(good[occurs], overlap[occurs])
    by_image = (_by_image(counts, range_of) for counts in of_images)
    return PixelCounts(good[occurs], defect[occurs], overlap[occurs], *by_image)


def _count(
    anomaly_map: np.ndarray, mask: np.ndarray, valid: np.ndarray | None = None
) -> tuple[_Sparse, _Sparse, _Sparse]:
    """Good pixels, defect pixels and overlap of one image by level."""
    level, counted = _levels(anomaly_map), counted_pixels(mask, valid)
    defect = defect_pixels(mask) & counted
    good = counted & ~defect
    of_defect = level[defect]
    return (
        _sparse(np.bincount(level[good], minlength=LEVELS)),
        _sparse(np.bincount(of_defect, minlength=LEVELS)),
        _sparse(np.bincount(of_defect, weights=_region_weights(defect), minlength=LEVELS)),
    )


def _levels(anomaly_map: np.ndarray) -> np.ndarray:
    """Rank of each pixel's bit pattern among all float16, 0 for the highest: (H, W) uint16.

    Patterns of positive numbers grow with them, those of negative ones fall; both zeros are equal.
    """
    with np.errstate(over="ignore"):
        bits = np.asarray(anomaly_map).astype(np.float16).view(np.uint16)
    if ((bits & _EXPONENT) == _EXPONENT).any():
        raise ValueError(
            "scores of a map must be finite and at most 65504, the largest float16; found "
            f"{np.min(anomaly_map)} to {np.max(anomaly_map)}"
        )
    bits[bits == _NEGATIVE_ZERO] = 0
    return np.where(bits & _SIGN, bits, bits ^ (_SIGN - 1))


def _region_weights(defect: np.ndarray) -> np.ndarray:
    """1 / size of its region for each defect pixel, in their order: (P,) float64."""
    from scipy.ndimage import label

    if not defect.any():
        return np.zeros(0)
    region = label(defect, structure=np.ones((3, 3)))[0][defect]
    return 1.0 / np.bincount(region)[region]


def _sparse(counts: np.ndarray) -> _Sparse:
    level = np.flatnonzero(counts)
    small = counts[level] if counts.dtype == np.float64 else counts[level].astype(np.uint32)
    return level.astype(np.uint16), small


def _total(counts: Iterable[_Sparse]) -> np.ndarray:
    """Sum over images: (LEVELS,) float64, which holds whole numbers up to 9e15 exactly."""
    total = np.zeros(LEVELS)
    for level, count in counts:
        total[level] += count  # each level occurs once
    return total


def _ranges(good: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    """Range of each score (K,): equal fractions, where good pixels and regions weigh half each."""
    fraction = good / max(good.sum(), 1.0) + overlap / max(overlap.sum(), 1.0)
    above = np.concatenate([[0.0], np.cumsum(fraction)[:-1]]) / max(fraction.sum(), 1e-12)
    return np.unique(np.floor(above * RANGES), return_inverse=True)[1]


def _by_image(counts: Sequence[_Sparse], range_of: np.ndarray) -> np.ndarray:
    """Counts of each image by range: (N, B) float64."""
    num_ranges = int(range_of.max()) + 1
    table = np.zeros((len(counts), num_ranges))
    for row, (level, count) in zip(table, counts, strict=True):
        row[:] = np.bincount(range_of[level], weights=count, minlength=num_ranges)
    return table
