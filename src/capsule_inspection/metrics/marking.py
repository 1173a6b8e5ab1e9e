"""From probabilities of pixels to what is marked, and to what the image is called.

There is a region where enough neighbouring pixels exceed a probability; it reaches as far as their
neighbours exceed a second, lower one (hysteresis, Canny 1986, section 8). The image is a defect
where a region is found. The two probabilities and the smallest area are chosen on validation
images. Regions are 8-connected, as in `pixel_counts`. Arrays only: no files, no networks. OpenCV is
imported when called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

PROBABILITIES = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.975, 0.99)
AREA_SHARES = (0.0005, 0.001, 0.002)
"""Smallest areas that are tried, as shares of an image's pixels. Smaller ones are noise: a few
pixels of every good image are as sure as those of a defect."""

USUAL_EXTENT, USUAL_PROBABILITY = 0.5, 0.75
"""Where decisions are looked for first. .75 is even odds where a defect's pixel counts three times
in the cross entropy (`task.defect_weight`); marks reach as far as a defect is the likelier."""

_PULL = 3.0
"""By how much agreement must be better for a pair of probabilities further away: this, over the
number of images with a defect, times the square of the distance."""

_LOG_OF_SHARE = np.log((np.arange(256) + 1) / 256)
"""Of a share in 255ths, never that of nothing: one pixel cannot rule a class out."""

_ROUNDING = 1e-9
"""Decisions whose agreement differs by less are equally good."""


@dataclass(frozen=True)
class Decision:
    """What it takes to mark a region; plain types only, since it is kept in checkpoints.

    A region has `area_px` pixels, at least 1, above `probability`, at the size that the network
    sees; it reaches as far as the pixels around them are above `extent`, None for `probability`.
    `good_images` and `defect_images` are the numbers of validation images that it was chosen on.
    """

    probability: float
    area_px: int
    good_images: int = 0
    defect_images: int = 0
    extent: float | None = None

    def as_dict(self) -> dict[str, float | int | None]:
        """Plain values by name; `from_dict` makes the same decision of them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Decision:
        """The decision of `as_dict`. Raises TypeError where a name is unknown or missing."""
        return cls(**stored)


class Region(NamedTuple):
    """A marked region: its class, at least 1, and its mean probability of being any defect.

    `box` is x0, y0, x1, y1 in pixels; x1 and y1 are the first beyond it.
    """

    label: int
    area_px: int
    box: tuple[int, int, int, int]
    probability: float


class Marked(NamedTuple):
    """What is marked in an image, and what the image is called: 0 where nothing is.

    Shapes: mask (H, W) uint8, 0 or the class of the region. Of the regions the one with the largest
    sum of probabilities comes first.
    """

    mask: np.ndarray
    regions: list[Region]
    label: int


def mark(foreground: np.ndarray, kinds: np.ndarray, decision: Decision) -> Marked:
    """Mark the regions that a decision lets stand, each with one class.

    A region's class is the most probable one if all of its pixels show the same defect and speak
    independently: the one with the largest sum of the logarithms of their shares ("product rule",
    Kittler et al. 1998). The image's class is that of the regions that have the largest sum of
    probabilities together; of equal sums the lower class.
    Shapes: foreground (H, W) in [0, 1], the probability of any defect; kinds (K, H, W) uint8, how
    it is shared among the classes from 1 on, in 255ths.
    """
    labelled, areas, boxes = _regions(exceeds(foreground, decision.probability))
    kept = np.flatnonzero(areas >= decision.area_px)
    if not len(kept):
        return Marked(np.zeros(labelled.shape, dtype=np.uint8), [], 0)
    if decision.extent is not None and decision.extent < decision.probability:
        certain = np.isin(labelled, kept + 1)
        labelled, areas, boxes = _regions(exceeds(foreground, decision.extent))
        kept = np.unique(labelled[certain]) - 1
    inside = labelled > 0
    numbers = labelled[inside] - 1
    logs = _sums(_LOG_OF_SHARE[kinds[:, inside]], numbers, len(areas))[:, kept]
    (evidence,) = _sums(foreground[None, inside], numbers, len(areas))[:, kept]
    label = 1 + logs.argmax(axis=0)
    class_of_number = np.zeros(len(areas) + 1, dtype=np.uint8)  # background is number 0
    class_of_number[kept + 1] = label
    found = zip(label, areas[kept], boxes[kept], evidence, strict=True)
    regions = [Region(int(c), int(a), tuple(b.tolist()), float(e / a)) for c, a, b, e in found]
    largest_first = np.argsort(-evidence, kind="stable")
    of_image = int(np.bincount(label, weights=evidence).argmax())
    return Marked(class_of_number[labelled], [regions[row] for row in largest_first], of_image)


def region_score(foreground: np.ndarray, area_px: int) -> float:
    """The probability below which `mark` finds a region of this area, and from which it does not.

    It is the highest value such that the pixels with at least as much have a region of `area_px`
    pixels; in other words, the maximum of the map's area opening. 0 where the map is smaller. Looks
    at twice as many of the highest pixels each time until they hold a region, then halves the
    values that they have: scikit-image's area opening takes many times as long.
    Shapes: foreground (H, W) in [0, 1]. Raises ValueError where a value is not a number.
    """
    if np.isnan(foreground).any():
        raise ValueError("a map of probabilities has values that are no numbers")
    if area_px > foreground.size:
        return 0.0
    if area_px <= 1:
        return float(foreground.max())
    # Sorting float16 is slow; float32 holds each of its values.
    narrow = foreground.dtype == np.float16
    values = foreground.astype(np.float32) if narrow else foreground
    highest_first = np.sort(values, axis=None)[::-1]
    tried, count = 0, area_px
    while (place := _place_of_large(values >= highest_first[count - 1], area_px)) is None:
        tried, count = count, min(2 * count, values.size)  # all of them are one region
    levels = np.unique(highest_first[tried:count])
    low, beyond = 0, len(levels)
    values = values[place]
    while beyond - low > 1:
        middle = (low + beyond) // 2
        inside = _place_of_large(values >= levels[middle], area_px)
        if inside is None:
            beyond = middle
        else:  # what is large at a higher value lies in what is large at this one
            low, values = middle, values[inside]
    return float(levels[low])


def choose_decision(
    foregrounds: Iterable[np.ndarray],
    truths: Iterable[np.ndarray],
    *,
    probabilities: Sequence[float] = PROBABILITIES,
    area_shares: Sequence[float] = AREA_SHARES,
) -> Decision:
    """The decision under which what is marked agrees best with the masks of validation images.

    Agreement is the mean Dice overlap of any defect over the images that have one, and the share of
    the others, which are good ones, in which nothing is marked; both count half, however many
    images there are of each. With few images it jumps from one probability to the next, so it is
    first averaged over each pair of probabilities and those beside it, and the further a pair is
    from the usual one, the more images must speak for it. Of equally good decisions those with the
    largest area count, and of these the pair in their middle.
    Shapes: N of (H, W) each, of one size: foregrounds in [0, 1]; truths nonzero on a defect.
    Raises ValueError where there is no image, or numbers or sizes of maps and masks differ.
    """
    images = [(found, truth != 0) for found, truth in zip(foregrounds, truths, strict=True)]
    _check(images)
    levels = sorted(probabilities)
    areas_px = _areas_px(area_shares, images[0][0].size)
    found: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for foreground, truth in images:
        found[bool(truth.any())].append(_agreements(foreground, truth, levels, areas_px))
    agreement = np.mean([np.mean(of, axis=0) for of in found.values() if of], axis=0)
    defects = len(found[True])
    extent, row, column = _best(_smoothed(agreement) - _reluctance(levels, defects)[:, :, None])
    return Decision(
        probability=float(levels[row]),
        area_px=int(areas_px[column]),
        good_images=len(found[False]),
        defect_images=defects,
        extent=float(levels[extent]),
    )


def exceeds(foreground: np.ndarray, probability: float) -> np.ndarray:
    """Pixels above the probability, which is not rounded to the narrower type of the map."""
    return foreground > np.float64(probability)


def _regions(above: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """8-connected regions: their numbers from 1 (H, W), areas (R,) and boxes (R, 4); R may be 0."""
    import cv2

    image = above.astype(np.uint8, order="C")
    _, labelled, found, _ = cv2.connectedComponentsWithStats(image, connectivity=8)
    corner, size, areas = found[1:, :2], found[1:, 2:4], found[1:, cv2.CC_STAT_AREA]
    return labelled, areas, np.concatenate([corner, corner + size], axis=1)


def _place_of_large(above: np.ndarray, area_px: int) -> tuple[slice, slice] | None:
    """Rows and columns of the box around all regions of at least this area; None without any."""
    _, areas, boxes = _regions(above)
    large = boxes[areas >= area_px]
    if not len(large):
        return None
    (x0, y0), (x1, y1) = large[:, :2].min(axis=0), large[:, 2:].max(axis=0)
    return slice(y0, y1), slice(x0, x1)


def _sums(values: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Sums of values (M, P) of pixels by the number of their region (P,): (M, R) float64."""
    return np.array([np.bincount(numbers, weights=row, minlength=count) for row in values])


def _areas_px(shares: Sequence[float], pixels: int) -> np.ndarray:
    """Distinct smallest areas in rising order: (A,) int64, at least 1 each."""
    return np.unique([max(1, round(share * pixels)) for share in shares]).astype(np.int64)


def _check(images: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    if not images:
        raise ValueError("a decision is chosen on validation images, and there is none")
    sizes = {array.shape for image in images for array in image}
    if len(sizes) > 1:
        raise ValueError(f"maps and masks must have one size, found {sorted(sizes)}")


def _agreements(
    foreground: np.ndarray, truth: np.ndarray, levels: Sequence[float], areas_px: np.ndarray
) -> np.ndarray:
    """Dice of one image for each extent, probability and smallest area: (P, P, A).

    NaN where the extent is above the probability.
    """
    found = [_Level.of(foreground, truth, level) for level in levels]
    agreement = np.full((len(levels), len(levels), len(areas_px)), np.nan)
    for row, certain in enumerate(found):
        for column, area_px in enumerate(areas_px):
            places = certain.places[certain.areas >= area_px]
            for extent in range(row + 1):
                agreement[extent, row, column] = found[extent].dice(places, int(truth.sum()))
    return agreement


class _Level(NamedTuple):
    """Regions of the pixels above a probability, R of them.

    Shapes: labelled (H * W,), their numbers; of each (R,) one pixel's place, its area, and how much
    of it lies on the truth.
    """

    labelled: np.ndarray
    places: np.ndarray
    areas: np.ndarray
    overlap: np.ndarray

    @classmethod
    def of(cls, foreground: np.ndarray, truth: np.ndarray, level: float) -> _Level:
        labelled, areas, _ = _regions(exceeds(foreground, level))
        flat = labelled.ravel()
        overlap = np.bincount(flat[truth.ravel()], minlength=len(areas) + 1)[1:]
        places = np.zeros(len(areas) + 1, np.int64)
        inside = np.flatnonzero(flat)
        places[flat[inside]] = inside
        return cls(flat, places[1:], areas, overlap)

    def dice(self, places: np.ndarray, true_px: int) -> float:
        """Dice of the regions that hold one of the places."""
        kept = np.unique(self.labelled[places]) - 1
        together = int(self.areas[kept].sum()) + true_px
        return 1.0 if together == 0 else float(2 * self.overlap[kept].sum() / together)


def _smoothed(agreement: np.ndarray) -> np.ndarray:
    """Mean of each pair of probabilities and those beside it. Shapes: (P, P, A), and back."""
    known = np.isfinite(agreement)
    sums, counts = (
        sum(
            padded[down : down + len(agreement), right : right + len(agreement)]
            for down in range(3)
            for right in range(3)
        )
        for padded in (
            np.pad(np.where(known, agreement, 0.0), ((1, 1), (1, 1), (0, 0))),
            np.pad(known.astype(float), ((1, 1), (1, 1), (0, 0))),
        )
    )
    return np.where(known, sums / np.maximum(counts, 1), -np.inf)


def _reluctance(levels: Sequence[float], defects: int) -> np.ndarray:
    """What speaks against each extent and probability, a prior that images outweigh: (P, P)."""
    at = np.asarray(levels)
    distance = (at[:, None] - USUAL_EXTENT) ** 2 + (at[None] - USUAL_PROBABILITY) ** 2
    return np.asarray(_PULL / max(1, defects) * distance)


def _best(agreement: np.ndarray) -> tuple[int, int, int]:
    """Extent, probability and area that `choose_decision` takes of (P, P, A)."""
    good = np.argwhere(agreement >= agreement.max() - _ROUNDING)
    good = good[good[:, 2] == good[:, 2].max()]
    away = np.abs(good[:, :2] - good[:, :2].mean(axis=0)).sum(axis=1)
    extent, probability, area = good[int(away.argmin())]
    return int(extent), int(probability), int(area)
