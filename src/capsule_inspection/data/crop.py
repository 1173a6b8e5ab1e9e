"""Crop a box from an image or a mask and resize it to the network's input.

Images shrink by area, and where the box reaches beyond the image its border is repeated. Masks
shrink by area too, with a low threshold, so that thin scratches stay. Boxes come from roi.py. What
the crop does to defects is measured here and judged in crop_checks.py.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from capsule_inspection.data.roi import Box
from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.types import IGNORE_INDEX

_MASK_FRACTION = 0.25
"""Fraction of a target pixel's area from which on it counts as defect."""
_IGNORED_FRACTION = 0.1
"""The same of ignored areas: a defect's edge counted as background would cost more than a few
pixels of background that are left out."""
_NEXT_TO_PART = 0.01
"""A defect this near to the part touches it, as a fraction of the image's longer side: of a part
that is chipped off, masks mark what is missing."""


class DefectCrop(NamedTuple):
    """What a crop does to the defect of an image; NaN where its mask marks none.

    `inside` is the fraction of the defect's pixels within the crop, `on_part` that on the part or
    next to it, NaN where no part was found. `thickness` is that of its thickest place in pixels of
    the network's input: twice the largest distance of its pixels to the background at the image's
    own resolution, less half a pixel, scaled. For bars of any whole width it is right to half a
    pixel.
    """

    inside: float
    on_part: float
    thickness: float


def resize_crop(
    image: np.ndarray, *, box: Box, image_size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Crop a box and resize it to (height, width); beyond the image its border is repeated.

    Shapes: image (h, w, 3) uint8; box of whole pixels, with the target's aspect. Returns
    (H, W, 3) uint8, and x0, y0, x1, y1 of the part of it that shows the image.
    """
    part, content_box = _visible(image, box=box, image_size=image_size)
    size = (content_box[2] - content_box[0], content_box[3] - content_box[1])
    shrinks = size[0] < part.shape[1] or size[1] < part.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(part, size, interpolation=how)
    border = (
        content_box[1],
        image_size[0] - content_box[3],
        content_box[0],
        image_size[1] - content_box[2],
    )
    return cv2.copyMakeBorder(resized, *border, cv2.BORDER_REPLICATE), content_box


def crop_mask(
    mask: np.ndarray,
    *,
    box: Box,
    image_size: tuple[int, int],
    from_fraction: float = _MASK_FRACTION,
) -> np.ndarray:
    """As `resize_crop`, for a mask of 0 and 1: (h, w) to (H, W) uint8, 0 beyond the image.

    A pixel is set from a fraction of its area on, by default a quarter: at half, scratches of 2
    pixels would vanish. Where no pixel would be set, the strongest ones are.
    """
    target = np.zeros(image_size, np.uint8)
    visible, (x0, y0, x1, y1) = _visible(mask, box=box, image_size=image_size)
    if visible.any():
        fraction = cv2.resize(
            visible.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA
        )
        target[y0:y1, x0:x1] = fraction >= min(from_fraction, float(fraction.max()))
    return target


def crop_classes(mask: np.ndarray, *, box: Box, image_size: tuple[int, int]) -> np.ndarray:
    """As `crop_mask`, for class indices, each class cut by itself: uint8 (h, w) to (H, W).

    Where several classes claim a pixel of the target, the one with the fewest pixels in the whole
    mask gets it, of equal ones the later: small defects stay. Ignored areas take from a tenth of a
    pixel on what no defect claims, so that a thin rim around a defect stays.
    """
    target = np.zeros(image_size, np.uint8)
    classes, counts = np.unique(mask[defect_pixels(mask)], return_counts=True)
    for number in classes[np.argsort(-counts, kind="stable")]:
        target[crop_mask(mask == number, box=box, image_size=image_size) > 0] = number
    ignored = mask == IGNORE_INDEX
    if ignored.any():
        rest = crop_mask(ignored, box=box, image_size=image_size, from_fraction=_IGNORED_FRACTION)
        target[(rest > 0) & (target == 0)] = IGNORE_INDEX
    return target


def measure_defect(
    mask: np.ndarray, foreground: np.ndarray | None, *, box: Box, image_size: tuple[int, int]
) -> DefectCrop:
    """What the crop does to the defect of a mask (h, w); foreground as in `crop_image`."""
    is_defect = defect_pixels(mask).astype(np.uint8)
    x0, y0, width, height = cv2.boundingRect(is_defect)
    if not width:
        return DefectCrop(np.nan, np.nan, np.nan)
    # The border of the window is background, also at the border of the image.
    window = np.pad(is_defect[y0 : y0 + height, x0 : x0 + width], 1)
    distance = cv2.distanceTransform(window, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    pixels = image_size[0] * image_size[1]
    scale = float(np.sqrt(pixels / ((box.x1 - box.x0) * (box.y1 - box.y0))))
    visible, _ = _visible(is_defect, box=box, image_size=image_size)
    return DefectCrop(
        np.count_nonzero(visible) / np.count_nonzero(window),
        np.nan if foreground is None else _fraction_on_part(is_defect, foreground),
        scale * (2 * float(distance.max()) - 0.5),
    )


def _fraction_on_part(is_defect: np.ndarray, foreground: np.ndarray) -> float:
    """Of the pixels of a defect (h, w), those on the part or next to it."""
    reach = max(1, round(_NEXT_TO_PART * max(is_defect.shape)))
    x0, y0, width, height = cv2.boundingRect(is_defect)
    rows = slice(max(y0 - reach, 0), y0 + height + reach)
    columns = slice(max(x0 - reach, 0), x0 + width + reach)
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.dilate(foreground[rows, columns], square)
    return float((near[is_defect[rows, columns] > 0] > 0).mean())


def _visible(
    image: np.ndarray, *, box: Box, image_size: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The area of an image within a box, and where it lies in the target, in whole pixels."""
    y0, y1, top, bottom = _overlap(box.y0, box.y1, source=image.shape[0], target=image_size[0])
    x0, x1, left, right = _overlap(box.x0, box.x1, source=image.shape[1], target=image_size[1])
    return image[y0:y1, x0:x1], (left, top, right, bottom)


def _overlap(start: float, end: float, *, source: int, target: int) -> tuple[int, int, int, int]:
    """Along one axis: first and last pixel in the source, and their place in the target."""
    first, last = max(int(start), 0), min(int(end), source)
    scale = target / (end - start)
    begin = min(round((first - start) * scale), target - 1)
    return first, last, begin, min(max(round((last - start) * scale), begin + 1), target)
