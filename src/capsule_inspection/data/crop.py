"""Crop a box from an image or a mask and resize it to the network's input.

Images shrink by area, and where the box reaches beyond the image its border is repeated. Masks
shrink by area too, with a low threshold, so that thin scratches stay. Boxes come from roi.py.
"""

from __future__ import annotations

import cv2
import numpy as np

from capsule_inspection.data.roi import Box

_MASK_FRACTION = 0.25
"""Fraction of a target pixel's area from which on it counts as defect."""


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


def crop_mask(mask: np.ndarray, *, box: Box, image_size: tuple[int, int]) -> np.ndarray:
    """As `resize_crop`, for a mask of 0 and 1: (h, w) to (H, W) uint8, 0 beyond the image.

    A pixel is set from a quarter of its area on: at half, scratches of 2 pixels would vanish.
    Where no pixel would be set, the strongest ones are.
    """
    target = np.zeros(image_size, np.uint8)
    visible, (x0, y0, x1, y1) = _visible(mask, box=box, image_size=image_size)
    if visible.any():
        fraction = cv2.resize(
            visible.astype(np.float32), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA
        )
        target[y0:y1, x0:x1] = fraction >= min(_MASK_FRACTION, float(fraction.max()))
    return target


def crop_classes(mask: np.ndarray, *, box: Box, image_size: tuple[int, int]) -> np.ndarray:
    """As `crop_mask`, for class indices, each class cut by itself: uint8 (h, w) to (H, W).

    Where several classes claim a pixel of the target, the one with the fewest pixels in the whole
    mask gets it, of equal ones the later: small defects stay.
    """
    target = np.zeros(image_size, np.uint8)
    classes, counts = np.unique(mask[mask > 0], return_counts=True)
    for number in classes[np.argsort(-counts, kind="stable")]:
        target[crop_mask(mask == number, box=box, image_size=image_size) > 0] = number
    return target


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
