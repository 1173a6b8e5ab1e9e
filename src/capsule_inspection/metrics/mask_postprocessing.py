"""Regions in the probabilities of pixels, their classes, and the class of the image.

Hysteresis thresholding (Canny 1986, section 8): a region has enough 8-connected pixels above a high
threshold, and extends over connected pixels above a low one. The image is a defect where there is a
region. Thresholds and smallest area are fitted on validation images. Arrays only: no files, no
networks. OpenCV is imported when called; its components are found many times faster than SciPy's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from capsule_inspection.metrics.stored_values import from_stored
from capsule_inspection.metrics.target_masks import counted_pixels, defect_pixels
from capsule_inspection.metrics.thresholds import exceeds
from capsule_inspection.types import GOOD_LABEL

THRESHOLDS = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99)
AREA_FRACTIONS = (0.0005, 0.001, 0.002)
"""Candidates for the smallest area, as fractions of an image's pixels. Smaller ones are noise: in
every good image a few pixels are as probable as those of a defect."""

_PRIOR_LOW, _PRIOR_HIGH = 0.5, 0.75
"""Thresholds without any images. .75 is even odds where a defect's pixel counts three times in the
cross entropy (`task.defect_weight`); a region extends as far as a defect is the likelier."""

_PRIOR_STRENGTH = 3.0
"""This, over the number of images with a defect, times the squared distance from the prior is the
gain in agreement that a pair of thresholds must bring."""

_LOG_PROBABILITY = np.log((np.arange(256) + 1) / 256)
"""Of a probability in 255ths, never that of zero: one pixel cannot rule a class out."""

_ROUNDING = 1e-9
"""Agreements that differ by less are equal."""


class Region(NamedTuple):
    """A region of the predicted mask: its class, at least 1, and its mean defect probability.

    `box` is x0, y0, x1, y1 in pixels; x1 and y1 are the first beyond it.
    """

    label: int
    area_px: int
    box: tuple[int, int, int, int]
    probability: float


class PredictedMask(NamedTuple):
    """The predicted class of each pixel and of the image; 0 where there is no region.

    Shapes: mask (H, W) uint8, 0 or the class of the region. Regions are sorted by their sum of
    defect probabilities, the largest first.
    """

    mask: np.ndarray
    regions: list[Region]
    label: int


@dataclass(frozen=True)
class MaskPostProcessor:
    """Thresholds and smallest area, in pixels of the network's input, that make a region.

    A region has at least `min_area_px` pixels, at least 1, above `high_threshold`, and extends over
    connected pixels above `low_threshold`, which is at most as high. `good_images` and
    `defect_images` are the numbers of validation images that it is fitted on.
    """

    low_threshold: float
    high_threshold: float
    min_area_px: int
    good_images: int = 0
    defect_images: int = 0

    @classmethod
    def fit(
        cls,
        foregrounds: Iterable[np.ndarray],
        true_masks: Iterable[np.ndarray],
        *,
        thresholds: Sequence[float] = THRESHOLDS,
        area_fractions: Sequence[float] = AREA_FRACTIONS,
    ) -> MaskPostProcessor:
        """The post-processor whose masks agree best with those of validation images.

        Agreement is the mean Dice of any defect over the images that have one, and the fraction of
        the good images without any region; both count half. With few images it jumps from one
        threshold to the next, so it is averaged over neighbouring pairs of thresholds, and a prior
        holds the pair near `_PRIOR_LOW, _PRIOR_HIGH`. Of equally good candidates those with the
        largest area count, and of these the pair in their middle. Ignored pixels are in no region.
        Shapes: N of (H, W) each, of one size: foregrounds in [0, 1]; true masks, see
        `target_masks`.
        Raises ValueError where there is no image or the numbers of maps and masks differ.
        """
        levels = sorted(thresholds)
        dice: dict[bool, list[np.ndarray]] = {True: [], False: []}
        for foreground, true_mask in zip(foregrounds, true_masks, strict=True):
            truth = defect_pixels(true_mask)
            foreground = np.where(counted_pixels(true_mask), foreground, 0)
            areas_px = np.unique([max(1, round(part * truth.size)) for part in area_fractions])
            dice[bool(truth.any())].append(_dice_table(foreground, truth, levels, areas_px))
        if not any(dice.values()):
            raise ValueError("mask thresholds are fitted on validation images, and there are none")
        agreement = np.mean([np.mean(of, axis=0) for of in dice.values() if of], axis=0)
        defects = len(dice[True])
        low, high, area = _best(_smoothed(agreement) - _prior_penalty(levels, defects)[..., None])
        return cls(
            low_threshold=float(levels[low]),
            high_threshold=float(levels[high]),
            min_area_px=int(areas_px[area]),
            good_images=len(dice[False]),
            defect_images=defects,
        )

    def __call__(self, foreground: np.ndarray, class_probabilities: np.ndarray) -> PredictedMask:
        """Find the regions of an image, and the class of each and of the image.

        A region's class has the largest sum of log probabilities over its pixels, as if they were
        independent ("product rule", Kittler et al. 1998). The image's class is that of the regions
        with the largest sum of defect probabilities together; of equal sums the lower class.
        Shapes: foreground (H, W) in [0, 1], the probability of any defect; class_probabilities
        (K, H, W) uint8 in 255ths, those of the classes from 1 on where the pixel is a defect.
        """
        labelled, areas, boxes = _regions(exceeds(foreground, self.high_threshold))
        kept = np.flatnonzero(areas >= self.min_area_px)
        if not len(kept):
            return PredictedMask(np.zeros(labelled.shape, dtype=np.uint8), [], GOOD_LABEL)
        if self.low_threshold < self.high_threshold:
            certain = np.isin(labelled, kept + 1)
            labelled, areas, boxes = _regions(exceeds(foreground, self.low_threshold))
            kept = np.unique(labelled[certain]) - 1
        inside = labelled > 0
        numbers = labelled[inside] - 1
        logs = _sums(_LOG_PROBABILITY[class_probabilities[:, inside]], numbers, len(areas))[:, kept]
        (evidence,) = _sums(foreground[None, inside], numbers, len(areas))[:, kept]
        label = 1 + logs.argmax(axis=0)
        class_of_number = np.zeros(len(areas) + 1, dtype=np.uint8)  # background is number 0
        class_of_number[kept + 1] = label
        found = zip(label, areas[kept], boxes[kept], evidence, strict=True)
        regions = [Region(int(c), int(a), tuple(b.tolist()), float(e / a)) for c, a, b, e in found]
        largest_first = np.argsort(-evidence, kind="stable")
        of_image = int(np.bincount(label, weights=evidence).argmax())
        return PredictedMask(
            class_of_number[labelled], [regions[row] for row in largest_first], of_image
        )

    def state_dict(self) -> dict[str, float | int]:
        """Plain values by name, for checkpoints and records."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> MaskPostProcessor:
        """The post-processor of `state_dict`. Raises TypeError where a value is not as expected."""
        found = from_stored(cls, state)
        if not (0 <= found.low_threshold <= found.high_threshold < 1 and found.high_threshold > 0):
            raise TypeError(f"thresholds are {found.low_threshold} and {found.high_threshold}")
        return found


def region_score(foreground: np.ndarray, min_area_px: int) -> float:
    """Score of an image: the supremum of the high thresholds at which it has a region.

    It is the maximum of the map's area opening, and 0 where the map is smaller than the area.
    Doubles the number of highest pixels until they contain a region, then bisects their values;
    scikit-image's area opening takes many times as long.
    Shapes: foreground (H, W) in [0, 1]. Raises ValueError where a value is not a number.
    """
    if np.isnan(foreground).any():
        raise ValueError("a probability map has values that are not numbers")
    if min_area_px > foreground.size:
        return 0.0
    if min_area_px <= 1:
        return float(foreground.max())
    # Sorting float16 is slow; float32 holds each of its values.
    narrow = foreground.dtype == np.float16
    values = foreground.astype(np.float32) if narrow else foreground
    highest_first = np.sort(values, axis=None)[::-1]
    tried, count = 0, min_area_px
    while (box := _box_of_large(values >= highest_first[count - 1], min_area_px)) is None:
        tried, count = count, min(2 * count, values.size)  # all of them are one region
    levels = np.unique(highest_first[tried:count])
    low, beyond = 0, len(levels)
    values = values[box]
    while beyond - low > 1:
        middle = (low + beyond) // 2
        inside = _box_of_large(values >= levels[middle], min_area_px)
        if inside is None:
            beyond = middle
        else:  # large regions at a higher level lie within those at this one
            low, values = middle, values[inside]
    return float(levels[low])


def image_probabilities(
    foreground: np.ndarray,
    class_probabilities: np.ndarray,
    *,
    score: float,
    predicted_label: int,
    threshold: float,
) -> np.ndarray:
    """Probabilities of the classes of an image, (1 + K,), which sum to 1.

    The score, rescaled so that the threshold becomes a half, is divided among the defect classes as
    their pixels divide the foreground; the rest is the good class's. The predicted label need not
    be the most probable class. Shapes: as in `MaskPostProcessor.__call__`.
    """
    if score > threshold:
        defect = 0.5 + 0.5 * (score - threshold) / (1 - threshold)
    else:
        defect = 0.5 * score / threshold
    defect = min(max(defect, 0.0), 1.0)
    counted = exceeds(foreground, threshold if predicted_label != GOOD_LABEL else 0)
    weights = np.where(counted, foreground, 0).astype(np.float64)
    probabilities = np.zeros(1 + len(class_probabilities))
    of_defects = probabilities[GOOD_LABEL + 1 :]
    of_defects[:] = class_probabilities.reshape(len(of_defects), -1) @ weights.ravel()
    if not of_defects.any():
        of_defects[:] = 1
    probabilities *= defect / probabilities.sum()
    probabilities[GOOD_LABEL] = 1 - defect
    return probabilities


def _regions(above: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """8-connected regions: their numbers from 1 (H, W), areas (R,) and boxes (R, 4); R may be 0."""
    import cv2

    image = above.astype(np.uint8, order="C")
    _, labelled, found, _ = cv2.connectedComponentsWithStats(image, connectivity=8)
    corner, size, areas = found[1:, :2], found[1:, 2:4], found[1:, cv2.CC_STAT_AREA]
    return labelled, areas, np.concatenate([corner, corner + size], axis=1)


def _box_of_large(above: np.ndarray, min_area_px: int) -> tuple[slice, slice] | None:
    """Rows and columns of the box around all regions of at least this area; None without any."""
    _, areas, boxes = _regions(above)
    large = boxes[areas >= min_area_px]
    if not len(large):
        return None
    (x0, y0), (x1, y1) = large[:, :2].min(axis=0), large[:, 2:].max(axis=0)
    return slice(y0, y1), slice(x0, x1)


def _sums(values: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Sums of values (M, P) of pixels by the number of their region (P,): (M, R) float64."""
    return np.array([np.bincount(numbers, weights=row, minlength=count) for row in values])


def _dice_table(
    foreground: np.ndarray, truth: np.ndarray, levels: Sequence[float], areas_px: np.ndarray
) -> np.ndarray:
    """Dice of one image for each low and high threshold and smallest area: (P, P, A).

    NaN where the low threshold is above the high one.
    """
    of_levels = [_LevelRegions.of(foreground, truth, level) for level in levels]
    dice = np.full((len(levels), len(levels), len(areas_px)), np.nan)
    for high, certain in enumerate(of_levels):
        for column, area_px in enumerate(areas_px):
            pixels = certain.pixels[certain.areas >= area_px]
            for low in range(high + 1):
                dice[low, high, column] = of_levels[low].dice(pixels, int(truth.sum()))
    return dice


class _LevelRegions(NamedTuple):
    """Regions of the pixels above a threshold, R of them.

    Shapes: labelled (H * W,), their numbers; of each (R,) the flat index of one pixel, its area,
    and how much of it lies on the truth.
    """

    labelled: np.ndarray
    pixels: np.ndarray
    areas: np.ndarray
    overlap: np.ndarray

    @classmethod
    def of(cls, foreground: np.ndarray, truth: np.ndarray, level: float) -> _LevelRegions:
        labelled, areas, _ = _regions(exceeds(foreground, level))
        flat = labelled.ravel()
        overlap = np.bincount(flat[truth.ravel()], minlength=len(areas) + 1)[1:]
        pixels = np.zeros(len(areas) + 1, np.int64)
        inside = np.flatnonzero(flat)
        pixels[flat[inside]] = inside
        return cls(flat, pixels[1:], areas, overlap)

    def dice(self, pixels: np.ndarray, true_px: int) -> float:
        """Dice of the regions that hold one of the pixels."""
        kept = np.unique(self.labelled[pixels]) - 1
        together = int(self.areas[kept].sum()) + true_px
        return 1.0 if together == 0 else float(2 * self.overlap[kept].sum() / together)


def _smoothed(agreement: np.ndarray) -> np.ndarray:
    """Mean over each pair of thresholds and its neighbours. Shapes: (P, P, A), and back."""
    from scipy.ndimage import correlate

    known = np.isfinite(agreement)
    sums, counts = (
        correlate(values, np.ones((3, 3, 1)), mode="constant")
        for values in (np.where(known, agreement, 0.0), known.astype(float))
    )
    return np.where(known, sums / np.maximum(counts, 1), -np.inf)


def _prior_penalty(levels: Sequence[float], defects: int) -> np.ndarray:
    """Penalty of each low and high threshold, a prior that images outweigh: (P, P)."""
    at = np.asarray(levels)
    distance = (at[:, None] - _PRIOR_LOW) ** 2 + (at[None] - _PRIOR_HIGH) ** 2
    return np.asarray(_PRIOR_STRENGTH / max(1, defects) * distance)


def _best(agreement: np.ndarray) -> tuple[int, int, int]:
    """Low and high threshold and area that `fit` chooses from (P, P, A)."""
    good = np.argwhere(agreement >= agreement.max() - _ROUNDING)
    good = good[good[:, 2] == good[:, 2].max()]
    away = np.abs(good[:, :2] - good[:, :2].mean(axis=0)).sum(axis=1)
    low, high, area = good[int(away.argmin())]
    return int(low), int(high), int(area)
