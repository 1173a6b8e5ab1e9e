"""The pointing game: how often the highest point of a map lies on the defect.

Source: Zhang et al. 2018, "Top-down neural attention by excitation backprop", section 4.1. It needs
no masks in training, so it compares segmentation models with classifiers. Differs: the tolerance is
a fraction of the image's height, a rule chooses among several highest points, and the chance level
is reported too. OpenCV is imported when called.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.target_masks import counted_pixels, defect_pixels
from capsule_inspection.types import Estimate

TOLERANCE = 0.04
"""Largest distance of a hit from the mask, as a fraction of the image's height.

The paper allows 15 pixels, in images that are mostly 375 pixels high (PASCAL VOC).
"""

Pixel = tuple[int, int]
"""Row and column."""


def pointing_game_metrics(
    maps: Iterable[np.ndarray],
    masks: Iterable[np.ndarray],
    valid: Iterable[np.ndarray],
    foregrounds: Iterable[np.ndarray],
    *,
    class_names: Iterable[str],
    group: Iterable[object] | None = None,
) -> dict[str, Estimate]:
    """Fraction of the images whose highest point is a hit, in all and by class, and by chance.

    Images without a valid pixel of a defect are left out; empty where none is left. Ignored pixels
    are as if they were padding, so that the highest point lies on another one. Intervals are
    Wilson's; chance has none, since it is computed and not measured. n is the number of groups.
    Shapes: N of (H, W) each, of one size for an image: maps finite, high on defects; masks, see
    `target_masks`; valid false on padding; foregrounds nonzero on the part; class_names N of str;
    group N of names or numbers, without which each image stands for itself.
    """
    found = []
    images = zip(maps, masks, valid, foregrounds, class_names, strict=True)
    groups = itertools.count() if group is None else group
    for (anomaly_map, mask, inside, part, name), of_image in zip(images, groups, strict=False):
        kept = counted_pixels(mask, inside)
        truth = defect_pixels(mask) & kept
        if not truth.any():
            continue
        tolerance_px = tolerance_px_of(truth.shape[0])
        is_hit = distance_to_defect_px(anomaly_map, truth, kept) <= tolerance_px
        chance = chance_level(truth, kept, part, tolerance_px=tolerance_px)
        found.append((is_hit, chance, name, of_image))
    if not found:
        return {}
    hit, chances, class_name, number = map(np.array, zip(*found, strict=True))
    metrics = {
        names.POINTING_GAME: intervals.proportion(int(hit.sum()), len(hit), group=number),
        names.POINTING_CHANCE: Estimate(
            float(np.mean(chances)), None, None, intervals.num_groups(number)
        ),
    }
    for name in dict.fromkeys(class_name.tolist()):
        rows = class_name == name
        metrics[names.class_metric(names.POINTING_GAME, name)] = intervals.proportion(
            int(hit[rows].sum()), int(rows.sum()), group=number[rows]
        )
    return metrics


def tolerance_px_of(height_px: int) -> float:
    """The tolerance in pixels, for images of this height, padding included."""
    return TOLERANCE * height_px


def find_peak(anomaly_map: np.ndarray, valid: np.ndarray | None = None) -> Pixel | None:
    """The highest pixel of a map that is not padding; None where the map is constant.

    Where several pixels are the highest (probabilities that are 1, the edge of an enlarged map),
    the middle of the largest region of them: in 8-connection, the first where two are as large.
    Shapes: anomaly_map (H, W); valid (H, W) bool.
    """
    import cv2

    kept = np.ones(anomaly_map.shape, bool) if valid is None else np.asarray(valid) != 0
    inside = anomaly_map[kept]
    if not len(inside) or inside.max() == inside.min():
        return None
    highest = ((anomaly_map == inside.max()) & kept).astype(np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(highest, connectivity=8)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    pixels = np.argwhere(regions == largest)
    nearest = int(((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin())
    return int(pixels[nearest, 0]), int(pixels[nearest, 1])


def distance_to_defect_px(
    anomaly_map: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None
) -> float:
    """Distance of the peak from the defect, in pixels; infinite without a peak.

    Shapes: as `find_peak`; truth (H, W), nonzero on the defect, at least one pixel.
    """
    peak = find_peak(anomaly_map, valid)
    return float("inf") if peak is None else float(_distance_px(truth)[peak])


def chance_level(
    truth: np.ndarray, valid: np.ndarray, part: np.ndarray, *, tolerance_px: float
) -> float:
    """Fraction of the pixels on the part that would be a hit; of the whole image without a part.

    Shapes: (H, W) each, nonzero on the defect, outside of padding, and on the part.
    """
    kept = np.asarray(valid) != 0
    pixels = (np.asarray(part) != 0) & kept
    if not pixels.any():
        pixels = kept
    return float((_distance_px(truth)[pixels] <= tolerance_px).mean())


def _distance_px(truth: np.ndarray) -> np.ndarray:
    """From each pixel to the nearest one of the defect, between their centres: (H, W) float32."""
    import cv2

    return cv2.distanceTransform(
        (np.asarray(truth) == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
