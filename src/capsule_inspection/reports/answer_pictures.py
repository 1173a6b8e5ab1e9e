"""The picture that goes with an answer: the photograph with heat or marked regions on it.

Arrays and PNG files only, no matplotlib figure: one is made for each photograph that is predicted,
and takes a few milliseconds. OpenCV is imported when called.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from matplotlib import colormaps

from capsule_inspection.files import whole_file
from capsule_inspection.reports.examples import MAP_COLOURS
from capsule_inspection.reports.overlays import OPACITY, overlay

CLEAR_BELOW, FULL_FROM = 0.25, 0.6
"""Heat that leaves the photograph as it is, and heat from which on it is covered most."""

_PNG_COMPRESSION = 1
_ONE = 256
"""Opacities are whole numbers of 256ths, so that mixing is exact and quick."""


def answer_picture(
    image: np.ndarray, *, heat: np.ndarray | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """The photograph as the network saw it, with its answer drawn on it: (H, W, 3) uint8.

    Shapes: image (H, W, 3) uint8; heat (H, W) in [0, 1], clear where it is low; mask (H, W) class
    indices, filled and outlined in the colours of `overlays`, 0 left as it is. Both may be missing.
    Raises ValueError where sizes differ.
    """
    if heat is not None and heat.shape != image.shape[:2]:
        raise ValueError(f"image is {image.shape[:2]}, its heat {heat.shape}: expected one size")
    drawn = image.copy() if heat is None else _heated(image, heat)
    return drawn if mask is None else overlay(drawn, mask, truth=mask)


def heat_scale(width_px: int, height_px: int) -> np.ndarray:
    """Heat from 0 at the left to 1 at the right, on light and on dark: (H, W, 3) uint8."""
    ground = np.full((height_px, width_px, 3), 225, np.uint8)
    ground[height_px // 2 :] = 40
    heat = np.broadcast_to(np.linspace(0, 1, width_px), (height_px, width_px))
    return _heated(ground, heat)


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, 3) uint8, quickly rather than small."""
    import cv2

    options = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION]
    written, buffer = cv2.imencode(".png", pixels[..., ::-1], options)
    assert written
    return bytes(buffer)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint8 whole or not at all. Raises OSError where it cannot be written."""
    with whole_file(path) as part:
        part.write_bytes(encode_png(pixels))


def _heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    painted, kept = _tables()
    level = np.round(255 * heat).astype(np.uint8)
    return ((image * kept[level] + painted[level]) >> 8).astype(np.uint8)


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """For each level of heat what is added, and how much of the image is kept, in 256ths.

    Shapes: (256, 3) and (256, 1) uint16; a half is added for rounding, and no sum overflows.
    """
    level = np.linspace(0, 1, 256)
    share = OPACITY * ((level - CLEAR_BELOW) / (FULL_FROM - CLEAR_BELOW)).clip(0, 1)
    opacity = np.round(_ONE * share).astype(np.uint16)[:, np.newaxis]
    colours = np.round(255 * colormaps[MAP_COLOURS](level)[:, :3]).astype(np.uint16)
    return colours * opacity + _ONE // 2, _ONE - opacity
