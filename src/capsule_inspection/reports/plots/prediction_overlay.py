"""A prediction drawn over its image: an anomaly map, a mask, or both.

Arrays and PNG files without matplotlib figures: each predicted image takes a few milliseconds.
OpenCV is imported when called.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from capsule_inspection.files import atomic_write
from capsule_inspection.reports.plots.anomaly_examples import MAP_COLOURS
from capsule_inspection.reports.plots.overlays import OPACITY, overlay

CLEAR_BELOW, FULL_FROM = 0.25, 0.6
"""Heat up to which the image is unchanged, and heat from which the opacity is highest."""

_PNG_COMPRESSION = 1
_ONE = 256
"""Opacities are integers in 256ths: mixing is exact and fast."""


def draw_prediction(
    image: np.ndarray, *, heat: np.ndarray | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """Draw a prediction over its image: (H, W, 3) uint8.

    Shapes: image (H, W, 3) uint8, as the network's input; heat (H, W) in [0, 1], transparent where
    it is low; mask (H, W) class indices, filled and outlined in the colours of `overlays`, 0 for
    background. Both are optional.
    Raises ValueError where sizes differ.
    """
    if heat is not None and heat.shape != image.shape[:2]:
        raise ValueError(f"image is {image.shape[:2]}, its heat {heat.shape}: expected one size")
    drawn = image.copy() if heat is None else _blend_heat(image, heat)
    return drawn if mask is None else overlay(drawn, mask, target=mask)


def heat_legend(width_px: int, height_px: int) -> np.ndarray:
    """Heat from 0 at the left to 1 at the right, on light and on dark: (H, W, 3) uint8."""
    ground = np.full((height_px, width_px, 3), 225, np.uint8)
    ground[height_px // 2 :] = 40
    heat = np.broadcast_to(np.linspace(0, 1, width_px), (height_px, width_px))
    return _blend_heat(ground, heat)


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) uint8, with fast rather than strong compression."""
    import cv2

    options = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION]
    written, buffer = cv2.imencode(".png", pixels[..., ::-1], options)
    assert written
    return bytes(buffer)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 atomically. Raises OSError where it cannot be written."""
    with atomic_write(path) as part:
        part.write_bytes(encode_png(pixels))


def _blend_heat(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    colours, kept = _blend_tables()
    level = np.round(255 * heat).astype(np.uint8)
    return ((image * kept[level] + colours[level]) >> 8).astype(np.uint8)


@functools.cache
def _blend_tables() -> tuple[np.ndarray, np.ndarray]:
    """For each level of heat the colour to add and the fraction of the image to keep, in 256ths.

    Shapes: (256, 3) and (256, 1) uint16; with half a unit for rounding; no sum overflows.
    """
    level = np.linspace(0, 1, 256)
    fraction = OPACITY * ((level - CLEAR_BELOW) / (FULL_FROM - CLEAR_BELOW)).clip(0, 1)
    opacity = np.round(_ONE * fraction).astype(np.uint16)[:, np.newaxis]
    colours = np.round(255 * colormaps[MAP_COLOURS](level)[:, :3]).astype(np.uint16)
    return colours * opacity + _ONE // 2, _ONE - opacity
