"""The pointing game: does a map's highest point lie on the defect?

Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop", section 4.1. Every
map that is high on defects can play it, so it compares networks that were made to show the place
with classifiers that were not. Differs: the tolerance is a share of the image's height, many
highest points are settled by a rule, and what chance would reach stands beside the result.
Arrays only; where the maps come from does not matter. OpenCV is imported when called.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from capsule_inspection.metrics import intervals, names
from capsule_inspection.types import Figure

TOLERANCE = 0.04
"""How far from the mask a hit may lie, as a share of the image's height.

The paper allows 15 pixels, in photographs that are mostly 375 pixels high (PASCAL VOC).
"""

Place = tuple[int, int]
"""Row and column of a pixel."""


def pointing_figures(
    maps: Iterable[np.ndarray],
    masks: Iterable[np.ndarray],
    valid: Iterable[np.ndarray],
    foregrounds: Iterable[np.ndarray],
    *,
    class_names_of_images: Iterable[str],
) -> dict[str, Figure]:
    """Share of the images whose highest point is a hit, of all and of each class, and by chance.

    Images whose mask has no valid pixel are left out; nothing where none is left. Intervals are
    Wilson's; chance has none, since it is computed and not measured. n is the number of images.
    Shapes: N of (H, W) each, of one size for an image: maps finite, high on defects; masks nonzero
    on defects; valid false on padding; foregrounds nonzero on the part.
    """
    hits: dict[str, list[bool]] = {}
    chances = []
    images = zip(maps, masks, valid, foregrounds, class_names_of_images, strict=True)
    for found, mask, kept, part, name in images:
        truth = (np.asarray(mask) != 0) & (np.asarray(kept) != 0)
        if not truth.any():
            continue
        tolerance_px = tolerance_of(truth.shape[0])
        hits.setdefault(name, []).append(is_hit(found, truth, kept, tolerance_px=tolerance_px))
        chances.append(chance_of_hit(truth, kept, part, tolerance_px=tolerance_px))
    return _figures(hits, chances)


def tolerance_of(height_px: int) -> float:
    """The tolerance in pixels, for images of this height, padding included."""
    return TOLERANCE * height_px


def peak_of(found: np.ndarray, valid: np.ndarray | None = None) -> Place | None:
    """The highest place of a map that is no padding; None where it is equally high everywhere.

    Where several pixels are the highest (probabilities that are 1, the edge of an enlarged map),
    the middle of the largest region of them: in 8-connection, the first where two are as large.
    Shapes: found (H, W); valid (H, W) bool.
    """
    import cv2

    kept = np.ones(found.shape, bool) if valid is None else np.asarray(valid) != 0
    inside = found[kept]
    if not len(inside) or inside.max() == inside.min():
        return None
    highest = ((found == inside.max()) & kept).astype(np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(highest, connectivity=8)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    places = np.argwhere(regions == largest)
    nearest = int(((places - places.mean(axis=0)) ** 2).sum(axis=1).argmin())
    return int(places[nearest, 0]), int(places[nearest, 1])


def miss_px(found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """How far the highest place lies from the defect, in pixels: 0 on it, infinite without one.

    Shapes: as `peak_of`; truth (H, W), nonzero on the defect, at least one pixel.
    """
    peak = peak_of(found, valid)
    return float("inf") if peak is None else float(_distance_px(truth)[peak])


def is_hit(
    found: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None, *, tolerance_px: float
) -> bool:
    """Whether the highest place lies on the defect or near it; shapes as those of `miss_px`."""
    return miss_px(found, truth, valid) <= tolerance_px


def chance_of_hit(
    truth: np.ndarray, valid: np.ndarray, part: np.ndarray, *, tolerance_px: float
) -> float:
    """Share of the places on the part that would be a hit; of the whole image without a part.

    Shapes: (H, W) each, nonzero on the defect, on what is no padding, and on the part.
    """
    kept = np.asarray(valid) != 0
    places = (np.asarray(part) != 0) & kept
    if not places.any():
        places = kept
    return float((_distance_px(truth)[places] <= tolerance_px).mean())


def _distance_px(truth: np.ndarray) -> np.ndarray:
    """From each pixel to the nearest one of the defect, between their centres: (H, W) float32."""
    import cv2

    return cv2.distanceTransform(
        (np.asarray(truth) == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )


def _figures(hits: dict[str, list[bool]], chances: list[float]) -> dict[str, Figure]:
    if not chances:
        return {}
    every = [hit for of_class in hits.values() for hit in of_class]
    figures = {
        names.POINTING_GAME: intervals.proportion(sum(every), len(every)),
        names.POINTING_CHANCE: Figure(float(np.mean(chances)), None, None, len(chances)),
    }
    for name, of_class in hits.items():
        key = names.class_metric(names.POINTING_GAME, name)
        figures[key] = intervals.proportion(sum(of_class), len(of_class))
    return figures
