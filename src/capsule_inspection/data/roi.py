"""Find the part on its background, and the box to crop around it.

Method: a smooth surface fitted to the image's border models the background's colour; pixels far
from it in CIELAB are the part. Nothing is assumed about the part's own colour, so other parts than
capsules work, as long as one object lies free on a plain background.
NumPy and OpenCV on single images; crop.py cuts the crop.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from capsule_inspection.types import ConfigurationError

_WORK_SIDE_PX = 256
_BORDER = 0.025
_SMALLEST_DISTANCE = 12.0
"""CIELAB distance below which nothing counts as a part: the soft shadow reaches 11 to 13 outside
of the capsule's rim, the capsule itself 20 to 78."""
_OTSU_FACTOR = 0.75
"""Otsu's threshold lies in the middle of a two-coloured part and its background: too high."""
_AREA_RANGE = (0.01, 0.85)


class Box(NamedTuple):
    """A rectangle in pixels; x1 and y1 are exclusive. It may reach beyond its image."""

    x0: float
    y0: float
    x1: float
    y1: float


class Crop(NamedTuple):
    """The box to crop; `roi_found` is false where auto found no part."""

    box: Box
    roi_found: bool


Roi = str | Sequence[float]
"""`auto`, `none`, or [x0, y0, x1, y1] in pixels of the source image."""


def find_foreground(image: np.ndarray) -> np.ndarray | None:
    """Mask of the one object that lies on a plain background.

    Shapes: image (H, W, 3) uint8 RGB; returns (H, W) uint8, 1 on the object, holes filled, or
    None where no single plausible object is found (a texture, an empty or overfilled image).
    """
    height, width = image.shape[:2]
    if min(height, width) < 16:
        return None
    distance, noise = _background_distance(_shrink(image))
    candidate = distance > _threshold(distance, noise)
    if _background_is_hidden(candidate):
        return None
    part = _single_object(candidate)
    if part is None:
        return None
    full = cv2.resize(part.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return (full >= 0.5).astype(np.uint8)


def box_around(foreground: np.ndarray, *, margin: float) -> Box:
    """Box around a foreground, `margin` of its longer side wider on each side.

    Shape: foreground (H, W) uint8, not empty.
    """
    x, y, width, height = cv2.boundingRect(foreground)
    room = margin * max(width, height)
    return Box(x - room, y - room, x + width + room, y + height + room)


def crop_box(
    size: tuple[int, int],
    *,
    roi: Roi,
    image_size: tuple[int, int],
    margin: float,
    foreground: np.ndarray | None,
    enlarge: bool = True,
) -> Crop:
    """The box to crop from an image, with whole pixels and the target's aspect.

    `size` is (height, width) of the image, `image_size` of the target; `foreground` and `margin`
    serve `auto`: where there is no foreground, the whole image is taken and `roi_found` is false.
    Without `enlarge` the box is at least as large as the target, so that nothing is blown up.
    Raises ConfigurationError, naming data.roi, for a box outside of the image.
    """
    box = explicit_box(roi)
    if box is not None:
        _check_inside(box, size=size)
    elif roi == "auto" and foreground is not None:
        box = box_around(foreground, margin=margin)
    roi_found = box is not None or roi == "none"
    box = box or Box(0, 0, size[1], size[0])
    if not enlarge:
        box = _at_least(box, image_size)
    return Crop(fit_aspect(box, size=size, image_size=image_size), roi_found)


def explicit_box(roi: Roi) -> Box | None:
    """The box in `data.roi`, which config/checks.py has checked; None for auto and none."""
    return None if isinstance(roi, str) else Box(*map(float, roi))


def fit_aspect(box: Box, *, size: tuple[int, int], image_size: tuple[int, int]) -> Box:
    """Grow a box around its centre to the aspect of image_size, and shift it into the image.

    `size` is (height, width) of the image, `image_size` of the target. A box that is
    larger than the image is centred on its content and reaches beyond the image.
    Coordinates come back as whole numbers, so the aspect holds to one pixel.
    """
    width, height = box.x1 - box.x0, box.y1 - box.y0
    aspect = image_size[1] / image_size[0]
    width, height = max(width, height * aspect), max(height, width / aspect)
    x0, x1 = _place((box.x0 + box.x1) / 2, length=max(round(width), 1), limit=size[1])
    y0, y1 = _place((box.y0 + box.y1) / 2, length=max(round(height), 1), limit=size[0])
    return Box(x0, y0, x1, y1)


def _at_least(box: Box, image_size: tuple[int, int]) -> Box:
    """The box grown around its centre to the size of the target, where it is smaller."""
    height, width = (
        max(0.0, side) / 2
        for side in (image_size[0] - (box.y1 - box.y0), image_size[1] - (box.x1 - box.x0))
    )
    return Box(box.x0 - width, box.y0 - height, box.x1 + width, box.y1 + height)


def _place(centre: float, *, length: int, limit: int) -> tuple[int, int]:
    """Start and end of an interval of whole pixels, within [0, limit] where it fits."""
    start = round(centre - length / 2)
    # Longer than the image: the image stays inside of it.
    start = (
        min(max(start, 0), limit - length)
        if length <= limit
        else min(max(start, limit - length), 0)
    )
    return start, start + length


def _check_inside(box: Box, *, size: tuple[int, int]) -> None:
    height, width = size
    if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height:
        raise ConfigurationError(
            f"data.roi={[*box]}: the box lies outside of an image of width {width} and height "
            f"{height}. Choose a box inside of every image, or data.roi=auto."
        )


def _shrink(image: np.ndarray) -> np.ndarray:
    """Work copy with at most _WORK_SIDE_PX on its longer side, (h, w, 3) uint8, less noise."""
    height, width = image.shape[:2]
    scale = min(1.0, _WORK_SIDE_PX / max(height, width))
    target = (max(round(width * scale), 8), max(round(height * scale), 8))
    return cv2.medianBlur(cv2.resize(image, target, interpolation=cv2.INTER_AREA), 5)


def _background_distance(image: np.ndarray) -> tuple[np.ndarray, float]:
    """CIELAB distance of each pixel to the background's surface, and the border's noise.

    Shapes: image (h, w, 3) uint8; returns (h, w) float32 and the median distance at the border.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]
    terms, border = _surface_terms(height, width), _border_mask(height, width)
    border_terms, border_lab = terms[border], lab[border]
    trusted = np.ones(len(border_lab), bool)
    for _ in range(3):
        fitted = border_terms[trusted]
        weights = np.linalg.solve(fitted.T @ fitted, fitted.T @ border_lab[trusted])
        distance = np.linalg.norm(border_lab - border_terms @ weights, axis=1)
        noise = float(np.median(distance))
        trusted = distance <= max(3 * noise, 1.0)
    squares = np.zeros((height, width), np.float32)
    for channel, weight in zip(cv2.split(lab), weights.T, strict=True):
        squares += (channel - terms @ weight) ** 2
    return np.sqrt(squares), noise


@functools.lru_cache(maxsize=8)
def _surface_terms(height: int, width: int) -> np.ndarray:
    """Terms of a quadratic surface at each pixel, (h, w, 6) float32."""
    rows = np.linspace(-1, 1, height, dtype=np.float32)
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)


@functools.lru_cache(maxsize=8)
def _border_mask(height: int, width: int) -> np.ndarray:
    strip = max(2, round(_BORDER * max(height, width)))
    border = np.ones((height, width), bool)
    border[strip:-strip, strip:-strip] = False
    return border


def _threshold(distance: np.ndarray, noise: float) -> float:
    scaled = np.clip(distance * 2, 0, 255).astype(np.uint8)
    otsu, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    # 7 medians are about 6 standard deviations of the border's colour noise.
    return max(_SMALLEST_DISTANCE, 7 * noise, _OTSU_FACTOR * otsu / 2)


def _background_is_hidden(candidate: np.ndarray) -> bool:
    """Whether too much of the border differs from the background that is fitted to it."""
    border = _border_mask(*candidate.shape)
    return float(candidate[border].mean()) > 0.3


def _single_object(candidate: np.ndarray) -> np.ndarray | None:
    """Largest connected part, closed and filled, (h, w) bool; None where it is not plausible."""
    reach = 2 * round(0.008 * max(candidate.shape)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    padded = np.pad(candidate.astype(np.uint8), reach)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)
    # Opening cuts off hairs that touch the part.
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)[reach:-reach, reach:-reach]
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if count < 2 or areas.max() < 0.6 * areas.sum():
        return None
    part = _fill_holes(labels == 1 + int(areas.argmax()))
    if not _AREA_RANGE[0] <= part.mean() <= _AREA_RANGE[1] or _sides_touched(part) > 2:
        return None
    return part


def _fill_holes(part: np.ndarray) -> np.ndarray:
    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(part.shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _sides_touched(part: np.ndarray) -> int:
    return sum(bool(side.any()) for side in (part[0], part[-1], part[:, 0], part[:, -1]))
