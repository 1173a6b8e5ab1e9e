"""Paints a defect, and the mask of what it changed, onto any image of a capsule.

The image may be drawn or a photograph, of any size; all lengths scale with the extent of the
foreground that comes with it. One file a kind; `canvas` has what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from capsule_inspection.synthetic.defects.canvas import (
    Canvas,
    Spoilt,
    disc,
    largest_channel,
    open_canvas,
)
from capsule_inspection.synthetic.defects.crack import paint_crack
from capsule_inspection.synthetic.defects.faulty_imprint import paint_faulty_imprint
from capsule_inspection.synthetic.defects.poke import paint_poke
from capsule_inspection.synthetic.defects.scratch import paint_scratch
from capsule_inspection.synthetic.defects.squeeze import paint_squeeze
from capsule_inspection.types import DataError

_PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], Spoilt]] = {
    "crack": paint_crack,
    "faulty_imprint": paint_faulty_imprint,
    "poke": paint_poke,
    "scratch": paint_scratch,
    "squeeze": paint_squeeze,
}
DEFECTS = tuple(_PAINTERS)
"""The kinds of defect that `paint` knows, in alphabetical order."""

_VISIBLE_LEVELS = {"scratch": 2.0, "faulty_imprint": 3.0, "squeeze": 3.0, "poke": 3.0, "crack": 3.0}
_SHARE_OF_LARGEST = 0.1
"""The soft edge of a strong defect is outlined where it is strong."""
_ATTEMPTS = 12
_GAP_UNITS = {"scratch": 24, "faulty_imprint": 12, "squeeze": 6, "poke": 6, "crack": 10}
_SMALLEST_UNITS = {"scratch": 400, "faulty_imprint": 300, "squeeze": 900, "poke": 150, "crack": 150}
_RIM_UNITS = {
    "scratch": (1, 4),
    "faulty_imprint": (0, 2),
    "squeeze": (0.5, 2),
    "poke": (0, 2.5),
    "crack": (0, 4),
}
"""Real masks enclose what belongs together, by hand, with more or less of a rim."""
_SMOOTH_UNITS = 1.5
_BLUR_UNITS = {"scratch": 0.6, "faulty_imprint": 0.6, "poke": 0.9, "crack": 1.0}
"""No edge is sharper in photographs, shrunk to what networks see; a squeeze moves their own."""
_SMALLEST_PART = 0.2
"""Separate parts of a mask below this share of its largest are not marked in real masks."""
_INSET_UNITS = {"faulty_imprint": 0.0, "poke": 0.0, "scratch": 5.0}
"""How far within the outline their masks end; the others may reach beyond it."""
_BORDER = 60


@dataclass(frozen=True)
class Painted:
    """A spoilt image: image uint8 (H, W, 3) RGB; mask uint8 (H, W), 1 on the defect.

    The mask is as one would outline the defect; outside of it nothing was changed.
    """

    image: np.ndarray
    mask: np.ndarray


def paint(
    image: np.ndarray, foreground: np.ndarray, kind: str, rng: np.random.Generator
) -> Painted:
    """Paint one defect of a kind from `DEFECTS` onto a copy of an image.

    Shapes: image (H, W, 3) uint8 RGB; foreground (H, W), nonzero on the capsule. Outside of the
    returned mask the image is unchanged, byte for byte.
    Raises ValueError for an unknown kind, DataError where the foreground is empty, of another
    size than the image, or too small for any defect to be seen.
    """
    if kind not in _PAINTERS:
        raise ValueError(f"defect kind is {kind!r}; expected one of {', '.join(DEFECTS)}.")
    canvas = open_canvas(image, foreground, rng)
    smallest = max(4.0, _SMALLEST_UNITS[kind] * canvas.frame.unit**2)
    for attempt in range(_ATTEMPTS):
        spoilt = _PAINTERS[kind](canvas, rng)
        levels = _VISIBLE_LEVELS[kind] * (1 if attempt < _ATTEMPTS // 2 else 0.5)
        change = spoilt.image - canvas.image
        if kind in _BLUR_UNITS:
            blur_px = max(0.4, _BLUR_UNITS[kind] * canvas.frame.unit)
            change = cv2.GaussianBlur(change, (0, 0), blur_px)
        mask = _visible(change, canvas.frame.unit, levels=levels)
        if spoilt.region is not None and mask.any():
            mask = (spoilt.region > 0).astype(np.uint8)
        mask = _outlined(mask, canvas.frame.unit, kind, rng)
        if kind in _INSET_UNITS:
            mask &= cv2.erode(canvas.foreground, disc(2 * _INSET_UNITS[kind] * canvas.frame.unit))
        if mask.sum() >= smallest:
            return _put_back(image, canvas, change, mask)
    raise DataError(
        f"no visible {kind} could be painted: the foreground is {foreground.sum()} pixels large "
        f"in an image of {image.shape[1]}x{image.shape[0]}. Use larger images or another mask."
    )


def _visible(change: np.ndarray, unit: float, *, levels: float) -> np.ndarray:
    """Where a change (h, w, 3) is to be seen, uint8 (h, w), without crumbs."""
    difference = cv2.GaussianBlur(change, (0, 0), max(0.4, 0.9 * unit))
    strength = largest_channel(np.abs(difference))
    mask = (strength > max(levels, _SHARE_OF_LARGEST * float(strength.max()))).astype(np.uint8)
    return _drop_crumbs(mask, smallest=max(2, round(10 * unit**2)))


def _outlined(mask: np.ndarray, unit: float, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A mask as it would be drawn by hand: gaps and holes closed, a rim, a smooth outline."""
    mask = np.pad(mask, _BORDER)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(_GAP_UNITS[kind] * unit))
    mask = cv2.dilate(mask, disc(2 * rng.uniform(*_RIM_UNITS[kind]) * unit))
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = cv2.drawContours(mask, contours, -1, 1, cv2.FILLED)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.5, _SMOOTH_UNITS * unit))
    mask = _drop_small_parts((soft > 0.45).astype(np.uint8))
    return np.ascontiguousarray(mask[_BORDER:-_BORDER, _BORDER:-_BORDER])


def _drop_small_parts(mask: np.ndarray) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = areas >= _SMALLEST_PART * areas.max(initial=0)
    return np.concatenate([[False], kept])[labels].astype(np.uint8)


def _drop_crumbs(mask: np.ndarray, *, smallest: int) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False
    return large[labels].astype(np.uint8)


def _put_back(image: np.ndarray, canvas: Canvas, change: np.ndarray, mask: np.ndarray) -> Painted:
    """Put the change into the whole image, fading over the last two units within the mask."""
    whole, whole_mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / max(1.0, 2 * canvas.frame.unit)
    spoilt = canvas.image + change * np.minimum(depth, 1)[..., None]
    whole[canvas.window] = np.clip(np.rint(spoilt), 0, 255).astype(np.uint8)
    whole_mask[canvas.window] = mask
    return Painted(whole, whole_mask)
