"""Random textures that scenes and defects share: smooth noise, grain, soft shapes and strokes.

Plain numpy and OpenCV on arrays, nothing about capsules.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

Array = np.ndarray
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_SUBPIXEL_BITS = 4
_CHANNEL_CORRELATION = 0.5
"""Of the grain of two colour channels."""


def smooth_noise(shape: tuple[int, int], sigma_px: float, rng: Generator) -> Array:
    """Noise of about unit deviation that changes over `sigma_px` pixels.

    Returns float32 of `shape`. Drawn on a coarse grid, so large scales cost nothing.
    """
    step = max(1.0, sigma_px)
    coarse = (int(shape[0] / step) + 4, int(shape[1] / step) + 4)
    grid = rng.standard_normal(coarse, dtype=np.float32)
    size = (int(coarse[1] * step), int(coarse[0] * step))
    fine = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    top, left = (fine.shape[0] - shape[0]) // 2, (fine.shape[1] - shape[1]) // 2
    return fine[top : top + shape[0], left : left + shape[1]]


def grain(shape: tuple[int, int], rng: Generator, *, sigma_px: float) -> Array:
    """Camera noise of unit deviation; neighbouring pixels and the three channels are correlated.

    Returns float32 (H, W, 3).
    """
    noise = rng.standard_normal((*shape, 3), dtype=np.float32)
    common = rng.standard_normal(shape, dtype=np.float32)
    own, shared = np.sqrt([1 - _CHANNEL_CORRELATION, _CHANNEL_CORRELATION]).astype(np.float32)
    noise = noise * own + common[..., None] * shared
    if sigma_px < 0.3:
        return noise
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma_px)
    return blurred * np.float32(max(1.0, 2 * np.sqrt(np.pi) * sigma_px))


def grain_strength(luminance: Array) -> Array:
    """Deviation of the grain in levels at a luminance in levels; measured on real images."""
    light = luminance / np.float32(225.0)
    return 0.45 + light + 1.25 * light * light


def fill_shape(shape: tuple[int, int], points: Array, *, blur_px: float = 0.0) -> Array:
    """Anti-aliased polygon as float32 (H, W) in [0, 1]; points (N, 2) are x, y in pixels."""
    layer = np.zeros(shape, np.uint8)
    fixed = np.rint(np.asarray(points) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(layer, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    return soften(layer, blur_px=blur_px)


def disc(diameter_px: float) -> Array:
    """A round kernel, uint8, of an odd side of at least 1."""
    side = 2 * round(diameter_px / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def soften(layer: Array, *, blur_px: float) -> Array:
    """A uint8 layer as float32 in [0, 1], blurred where `blur_px` is large enough to matter."""
    alpha = layer.astype(np.float32) / 255
    return cv2.GaussianBlur(alpha, (0, 0), blur_px) if blur_px > 0.2 else alpha


def draw_stroke(layer: Array, points: Array, widths_px: Array, strengths: Array) -> None:
    """Draw a line of changing width and strength into a uint8 layer, in place.

    Shapes: points (N, 2), widths_px and strengths (N - 1,), strengths in [0, 1]. A width below
    one pixel becomes a fainter line of one pixel.
    """
    fixed = np.rint(np.asarray(points) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for start, end, width, strength in zip(
        fixed[:-1], fixed[1:], widths_px, strengths, strict=True
    ):
        value = int(np.clip(255 * strength * min(1.0, float(width)), 0, 255))
        thickness = max(1, round(float(width)))
        first, last = (int(start[0]), int(start[1])), (int(end[0]), int(end[1]))
        cv2.line(layer, first, last, value, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def bent_line(
    start: Array, angle: float, length: float, rng: Generator, *, bend: float, n: int = 24
) -> Array:
    """Points (n, 2) of a line that begins at `start` and turns by about `bend` radians in all."""
    turns = np.linspace(-0.5, 0.5, n) * bend * rng.standard_normal()
    turns = turns + np.cumsum(rng.standard_normal(n)) * 0.12 * abs(bend) / np.sqrt(n)
    step = length / (n - 1)
    moves = np.stack([np.cos(angle + turns), np.sin(angle + turns)], axis=1) * step
    return np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(moves[1:], axis=0)])


def rough_blob(
    centre: Array,
    radii: tuple[float, float],
    angle: float,
    rng: Generator,
    *,
    roughness: float = 0.25,
    corners: int = 28,
) -> Array:
    """Points (corners, 2) of a torn ellipse with the given radii, turned by `angle` radians."""
    turns = np.sort(
        np.linspace(0, 2 * np.pi, corners, endpoint=False) + rng.normal(0, 0.08, corners)
    )
    waves = sum(
        rng.normal(0, 1 / k) * np.cos(k * turns + rng.uniform(0, 2 * np.pi)) for k in range(2, 6)
    )
    reach = np.clip(1 + roughness * (waves + rng.normal(0, 0.35, corners)), 0.25, 1.8)
    local = np.stack([radii[0] * reach * np.cos(turns), radii[1] * reach * np.sin(turns)], axis=1)
    return np.asarray(centre) + local @ rotation(angle).T


def rotation(angle: float) -> Array:
    """Rotation matrix (2, 2) for an angle in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def blend(image: Array, colour: Array, alpha: Array) -> Array:
    """Image (H, W, 3) mixed with a colour (3,) or an image, by alpha (H, W) in [0, 1]."""
    weight = alpha[..., None]
    return image * (1 - weight) + np.asarray(colour, np.float32) * weight


def largest_channel(image: Array) -> Array:
    """The largest of three channels, (h, w, 3) to (h, w); several times as fast as max(axis=2)."""
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)


def shift_layer(alpha: Array, dx: float, dy: float) -> Array:
    """A layer (h, w) moved by a fraction of pixels."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(alpha, matrix, (alpha.shape[1], alpha.shape[0]), flags=cv2.INTER_LINEAR)
