"""Paints a defect, and the mask of what it changed, onto any image of a capsule.

The image may be drawn or a photograph, of any size; all lengths scale with the extent of the
foreground that comes with it. One file a kind; `canvas` has what they share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from capsule_inspection.contracts import DataError
from capsule_inspection.synthesis.defects.canvas import Canvas, open_canvas
from capsule_inspection.synthesis.defects.crack import paint_crack
from capsule_inspection.synthesis.defects.faulty_imprint import paint_faulty_imprint
from capsule_inspection.synthesis.defects.poke import paint_poke
from capsule_inspection.synthesis.defects.scratch import paint_scratch
from capsule_inspection.synthesis.defects.squeeze import paint_squeeze

_PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], np.ndarray]] = {
    "crack": paint_crack,
    "faulty_imprint": paint_faulty_imprint,
    "poke": paint_poke,
    "scratch": paint_scratch,
    "squeeze": paint_squeeze,
}
DEFECTS = tuple(_PAINTERS)
"""The kinds of defect that `paint` knows, in alphabetical order."""

_VISIBLE_LEVELS = 3.0
_ATTEMPTS = 12
_GAP_UNITS = {"scratch": 13, "faulty_imprint": 8, "squeeze": 60, "poke": 5, "crack": 5}
_SMALLEST_UNITS = {"scratch": 400, "faulty_imprint": 300, "squeeze": 900, "poke": 150, "crack": 150}
_RIM_UNITS = 2.5
_BORDER = 40
"""Real masks enclose what belongs together, with a small rim; these close such gaps."""


@dataclass(frozen=True)
class Painted:
    """A spoilt image: image uint8 (H, W, 3) RGB; mask uint8 (H, W), 1 where it was changed."""

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
        spoilt = np.clip(np.rint(_PAINTERS[kind](canvas, rng)), 0, 255)
        levels = _VISIBLE_LEVELS if attempt < _ATTEMPTS // 2 else _VISIBLE_LEVELS / 2
        mask = _changed(canvas.image, spoilt, canvas.frame.unit, kind, levels)
        if mask.sum() >= smallest:
            return _put_back(image, canvas, spoilt, mask)
    raise DataError(
        f"no visible {kind} could be painted: the foreground is {foreground.sum()} pixels large "
        f"in an image of {image.shape[1]}x{image.shape[0]}. Use larger images or another mask."
    )


def _changed(
    before: np.ndarray, after: np.ndarray, unit: float, kind: str, levels: float
) -> np.ndarray:
    """Where a defect shows, as uint8 (H, W): visible change, with small gaps closed."""
    difference = cv2.GaussianBlur(after - before, (0, 0), max(0.4, 0.9 * unit))
    mask = (np.abs(difference).max(axis=2) > levels).astype(np.uint8)
    mask = _drop_crumbs(mask, smallest=max(2, round(10 * unit**2)))
    mask = np.pad(mask, _BORDER)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(_GAP_UNITS[kind] * unit))
    mask = cv2.dilate(mask, _disc(_RIM_UNITS * unit))
    return np.ascontiguousarray(mask[_BORDER:-_BORDER, _BORDER:-_BORDER])


def _disc(diameter_px: float) -> np.ndarray:
    side = 2 * round(diameter_px / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _drop_crumbs(mask: np.ndarray, *, smallest: int) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False
    return large[labels].astype(np.uint8)


def _put_back(image: np.ndarray, canvas: Canvas, spoilt: np.ndarray, mask: np.ndarray) -> Painted:
    whole, whole_mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
    whole[canvas.window] = np.where(mask[..., None] > 0, spoilt, canvas.image).astype(np.uint8)
    whole_mask[canvas.window] = mask
    return Painted(whole, whole_mask)
