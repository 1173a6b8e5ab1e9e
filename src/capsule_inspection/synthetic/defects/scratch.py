"""Scratch: bundles, tangles or single sweeps of fine lines, light and of low contrast.

Real ones keep close together, and their mask is one band around them.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.defects.canvas import Canvas, DefectLayer, choose
from capsule_inspection.synthetic.texture import (
    Array,
    bent_line,
    blend,
    disc,
    draw_stroke,
    largest_channel,
    soften,
)

Lines = Iterator[tuple[Array, float, float]]
"""Points (N, 2) in pixels, width in units, strength in [0, 1] of each line."""
_RIM_UNITS = 14.0
"""Twice the width of the turned-away rim, on which no line is visible."""
_LIGHT = np.array([46.0, 50.0, 41.0], np.float32)


def render_scratch(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Scratch the shell; where a line crosses print, the bare shell shows."""
    layer = np.zeros(canvas.shape, np.uint8)
    bare = canvas.remove_print()
    start = _pick_start(canvas, bare, rng)
    pattern = choose((_bundle, _tangle, _sweep, _hatch), (0.55, 0.1, 0.23, 0.12), rng)
    for points, width, strength in pattern(canvas, start, rng):
        _draw(layer, points, max(0.55, width * canvas.frame.unit), strength, rng)
    inner = cv2.erode(canvas.foreground, disc(_RIM_UNITS * canvas.frame.unit))
    alpha = soften(layer, blur_px=0.5 * canvas.frame.unit) * inner
    lightness = rng.uniform(0.35, 0.85)
    ground = np.clip(largest_channel(bare)[..., None] / 150, 0.35, 1)
    light = bare + _LIGHT * lightness * ground
    return DefectLayer(blend(canvas.image, light, np.clip(alpha, 0, 1)))


def _pick_start(canvas: Canvas, bare: Array, rng: Generator) -> Array:
    """Pixel position (2,) that is off the print more often than on it."""
    points = [canvas.sample_point(rng, lighter=0.9, reach=0.72) for _ in range(3)]
    return min(points, key=lambda point: _print_at(canvas, bare, point))


def _print_at(canvas: Canvas, bare: Array, point: Array) -> float:
    """How strong the print is around a pixel position, as a fraction of the shell's light."""
    reach = max(1, round(30 * canvas.frame.unit))
    x, y = (max(0, round(float(v)) - reach) for v in point)
    part = slice(y, y + 2 * reach + 1), slice(x, x + 2 * reach + 1)
    return float(np.abs(canvas.image[part] - bare[part]).mean() / (bare[part].mean() + 1))


def _draw(layer: Array, points: Array, width: float, strength: float, rng: Generator) -> None:
    """One line that fades in and out and is broken here and there."""
    n = len(points) - 1
    taper = np.clip(np.sin(np.linspace(0.15, np.pi - 0.15, n)) * 1.6, 0, 1)
    knots = np.arange(0, n + 4, 4)
    waves = 0.75 + 0.45 * np.interp(np.arange(n), knots, rng.standard_normal(len(knots)))
    draw_stroke(layer, points, np.full(n, width), np.clip(strength * taper * waves, 0, 1))


def _bundle(canvas: Canvas, start: Array, rng: Generator) -> Lines:
    """Nearly parallel lines, as from a brush or a file."""
    unit = canvas.frame.unit
    angle = canvas.frame.angle + rng.choice(
        [0.0, rng.uniform(-1, 1), np.pi / 2], p=[0.5, 0.35, 0.15]
    )
    angle += rng.normal(0, 0.12)
    length, spread = rng.uniform(90, 230) * unit, rng.uniform(10, 46) * unit
    bend = rng.normal(0, 0.25)
    across = np.array([-np.sin(angle), np.cos(angle)])
    forward = np.array([np.cos(angle), np.sin(angle)])
    for _ in range(rng.integers(5, 20)):
        part = length * rng.uniform(0.5, 1.0)
        origin = start + across * rng.normal(0, spread / 2) - forward * rng.uniform(0.2, 0.8) * part
        points = bent_line(origin, angle + rng.normal(0, 0.05), part, rng, bend=bend + 0.05)
        yield points, rng.uniform(0.5, 1.2), rng.uniform(0.25, 0.95)


def _tangle(canvas: Canvas, start: Array, rng: Generator) -> Lines:
    """Short lines in all directions over a patch."""
    unit = canvas.frame.unit
    radius = rng.uniform(22, 42) * unit
    for _ in range(rng.integers(24, 60)):
        origin = start + rng.normal(0, 0.5, 2) * radius
        length = rng.uniform(10, 45) * unit
        points = bent_line(origin, rng.uniform(0, 2 * np.pi), length, rng, bend=0.9, n=14)
        yield points, rng.uniform(0.5, 1.2), rng.uniform(0.2, 0.8)


def _sweep(canvas: Canvas, start: Array, rng: Generator) -> Lines:
    """One to four long curved lines, often round the end."""
    unit = canvas.frame.unit
    angle = canvas.frame.angle + rng.normal(0, 0.5)
    bend = rng.uniform(-2.2, 2.2)
    for _ in range(rng.integers(2, 7)):
        length = rng.uniform(100, 240) * unit
        origin = start + rng.normal(0, 7, 2) * unit - canvas.frame.axis * length * 0.4
        points = bent_line(origin, angle + rng.normal(0, 0.08), length, rng, bend=bend, n=40)
        yield points, rng.uniform(0.6, 1.4), rng.uniform(0.3, 0.85)


def _hatch(canvas: Canvas, start: Array, rng: Generator) -> Lines:
    """Two bundles that cross."""
    yield from _bundle(canvas, start, rng)
    yield from _bundle(canvas, start + rng.normal(0, 8, 2) * canvas.frame.unit, rng)
