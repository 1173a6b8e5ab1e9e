"""The paper that the capsule lies on: light, soft shadow, coloured glow, dust and hairs.

The curves are levels measured on real images; lengths are in units (1/800 of a side).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.pose import Pose
from capsule_inspection.synthetic.texture import bent_line, draw_stroke, smooth_noise

_DISTANCE = (0, 8, 16, 24, 32, 40, 56, 72, 96, 140, 280, 420)
_ABOVE = (138, 143, 152, 159, 167, 176, 190, 200, 209, 217, 227, 229)
_BELOW = (118, 130, 138, 144, 150, 156, 167, 175, 184, 197, 213, 217)
_BESIDE = (146, 157, 163, 167, 171, 176, 185, 190, 197, 206, 218, 222)
_DUST = np.array([82, 78, 82], np.float32)
_TINT_ABOVE = np.array([0.0, -1.5, 0.5], np.float32)
_TINT_BELOW = np.array([0.5, 1.8, -5.5], np.float32)
_GLOW_ABOVE = np.array([0.225, 0.075, 0.055], np.float32)
_GLOW_BELOW = np.array([0.115, 0.045, 0.035], np.float32)


def draw_background(size_px: int, pose: Pose, rng: Generator) -> np.ndarray:
    """Paper with the capsule's shadow on it, as float32 (S, S, 3) levels."""
    coarse = max(24, size_px // 4)
    shade = _shaded(coarse, pose, rng)
    paper = cv2.resize(shade, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    scale = size_px / 800
    fibre = smooth_noise((size_px, size_px), 2.6 * scale, rng) * np.float32(0.75)
    return np.asarray(paper + fibre[..., None])


def add_dust(image: np.ndarray, rng: Generator) -> None:
    """Specks everywhere and, often, a hair or two, in place; image is float32 (S, S, 3) levels."""
    scale = image.shape[0] / 800
    layer = np.zeros(image.shape[:2], np.uint8)
    for _ in range(rng.poisson(16)):
        _speck(layer, rng, radius_px=rng.gamma(3.0, 0.33) * scale)
    for _ in range(rng.poisson(0.9)):
        _hair(layer, rng, scale)
    layer = np.asarray(cv2.GaussianBlur(layer, (0, 0), max(0.3, 0.7 * scale)))
    rows, columns = np.nonzero(layer)
    alpha = layer[rows, columns, None].astype(np.float32) / 255
    image[rows, columns] = image[rows, columns] * (1 - alpha) + _DUST * alpha


def _shaded(coarse: int, pose: Pose, rng: Generator) -> np.ndarray:
    axis = ((np.arange(coarse) + 0.5) * 800 / coarse).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    core = pose.half_length - pose.half_width
    dx = x - np.clip(x, pose.x - core, pose.x + core)
    dy = y - pose.y
    reach = np.hypot(dx, dy)
    distance = np.maximum(reach - pose.half_width, 0)
    up = np.clip(-dy / np.maximum(reach, 1), 0, 1) ** 1.5
    down = np.clip(dy / np.maximum(reach, 1), 0, 1) ** 1.5
    side = np.clip(1 - up - down, 0, 1)
    total = up + down + side
    lift = _end_lift(x - pose.x, core) * np.exp(-distance / 160)
    level = (
        up * np.interp(distance + 30 * lift, _DISTANCE, _ABOVE)
        + down * np.interp(distance + 50 * lift, _DISTANCE, _BELOW)
        + side * np.interp(distance, _DISTANCE, _BESIDE) * np.where(dx > 0, 0.91, 1.0)
    ) / total
    colour = level[..., None] + up[..., None] * _TINT_ABOVE + down[..., None] * _TINT_BELOW
    warm = 1 / (1 + np.exp(-(x - pose.joint_x - 20) / 22))
    fade = np.exp(-distance / 85) * warm * np.clip((850 - x) / 120, 0.35, 1)
    glow = up[..., None] * _GLOW_ABOVE + (down + side)[..., None] * _GLOW_BELOW
    return (colour * (1 + fade[..., None] * glow) + _light(coarse, rng)).astype(np.float32)


def _end_lift(x: np.ndarray, core: float) -> np.ndarray:
    """How much the shadow gives way (H, W) towards the round ends, more so at the left one."""
    rise = np.clip((np.abs(x) - core + 35) / 95, 0, 1)
    return rise * rise * (3 - 2 * rise) * np.where(x < 0, 1.0, 0.55)


def _light(coarse: int, rng: Generator) -> np.ndarray:
    """Variation between images: brightness, tint, a slope and slow waves."""
    bright, tint = np.clip(rng.normal(0, 6.3), -11, 11), rng.normal(0, 1.7)
    offset = np.array([bright, 0.95 * bright + rng.normal(0, 1), 0.35 * bright + tint])
    ramp = np.linspace(-1, 1, coarse)
    slope = rng.normal(0, 1.5) * ramp[:, None] + rng.normal(0, 1.5) * ramp[None, :]
    waves = smooth_noise((coarse, coarse), coarse / 5, rng) * 0.6
    return offset + (slope + waves)[..., None]


def _speck(layer: np.ndarray, rng: Generator, *, radius_px: float) -> None:
    size = layer.shape[0]
    centre = tuple(int(v) for v in np.rint(rng.uniform(0, size, 2) * 16))
    strength = int(rng.uniform(50, 200) * min(1.0, radius_px))
    cv2.circle(layer, centre, int(max(0.6, radius_px) * 16), strength, -1, cv2.LINE_AA, 4)


def _hair(layer: np.ndarray, rng: Generator, scale: float) -> None:
    length = rng.uniform(8, 34) * scale
    start = rng.uniform(0, layer.shape[0], 2)
    points = bent_line(start, rng.uniform(0, 2 * np.pi), length, rng, bend=2.6, n=14)
    widths = np.full(13, rng.uniform(0.8, 1.6) * scale)
    draw_stroke(layer, points, widths, np.full(13, rng.uniform(0.3, 0.8)))
