"""Lines of reflected light on a capsule's halves, and dust and tiny scuffs that are no defect."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.pose import Pose, View
from capsule_inspection.synthetic.texture import Array, bent_line, blend, draw_stroke, soften

Stroke = tuple[Array, float, float]
"""Points (N, 2) in the capsule's frame, width in units, strength in [0, 1]."""


def add_light(
    colour: Array, view: View, strokes: list[Stroke], light: tuple[int, int, int]
) -> Array:
    """Draw reflections of a colour over a half; each fades towards its ends."""
    layer = np.zeros(view.shape, np.uint8)
    for points, width, strength in strokes:
        n = len(points) - 1
        closed = bool(np.allclose(points[0], points[-1]))
        fade = np.clip(np.sin(np.linspace(0.3, np.pi - 0.3, n)) * 2, 0, 1)
        if closed:
            fade = 0.55 + 0.45 * np.sin(np.linspace(0, 9.4, n) + points[0, 0])
        draw_stroke(layer, view.to_px(points), np.full(n, width * view.scale), strength * fade)
    return blend(colour, np.array(light, np.float32), soften(layer, blur_px=1.5 * view.scale))


def warm_reflections(pose: Pose, rng: Generator) -> list[Stroke]:
    """Reflections along the right half: near the top, in the middle, near the bottom, one fleck."""
    left, right = pose.joint + 4, pose.length - 105
    nudge = rng.normal(0, 1.5, 4)
    fleck = np.array([pose.length - rng.normal(63, 5), rng.normal(49, 5)])
    flare = bent_line(fleck, 0.9, rng.uniform(4, 12), rng, bend=0.3, n=5)
    return [
        (_wavy(left, right - rng.uniform(0, 40), nudge[0] - 82, rng), 1.2, rng.uniform(0.1, 0.5)),
        (_wavy(left, right + 10, nudge[1] + 83, rng), 2.0, rng.uniform(0.05, 0.3)),
        (_wavy(left, left + rng.uniform(40, 60), nudge[2] + 11, rng), 4, rng.uniform(0.25, 0.6)),
        (_wavy(left + 60, right, nudge[3] + 13, rng), 3.0, rng.uniform(0.05, 0.3)),
        (flare, 2.6, rng.uniform(0, 0.75)),
    ]


def warm_shades(pose: Pose, rng: Generator) -> list[Stroke]:
    """The dark side of the middle reflection, broken into pieces."""
    left = pose.joint + 6
    strokes = []
    for _ in range(rng.integers(1, 4)):
        start = left + rng.uniform(0, 150)
        line = _wavy(start, start + rng.uniform(25, 80), rng.normal(-1, 4), rng)
        strokes.append((line, rng.uniform(2, 6), rng.uniform(0.1, 0.5)))
    return strokes


def dark_reflections(pose: Pose, rng: Generator) -> list[Stroke]:
    """The lamp's broken reflection along the left half, and sometimes a bump in it."""
    height, strength = rng.normal(8, 2), rng.uniform(0.1, 0.6)
    pieces = ((92, 124), (134, 146), (152, 172), (rng.uniform(180, 270), pose.joint - 12))
    strokes: list[Stroke] = [
        (_frame(left, right, height, rng), 1.8, strength * rng.uniform(0.1, 1.0))
        for left, right in pieces
    ]
    strokes.append((_wavy(90, pose.joint - 6, height + 6, rng), 2.2, strength * 0.6))
    strokes.append((_wavy(90, pose.joint - 30, -83, rng), 1.0, rng.uniform(0, 0.25)))
    if rng.random() < 0.45:
        turn = np.linspace(0, 2 * np.pi, 20)
        wide, high = rng.uniform(10, 26), rng.uniform(6, 12)
        ring = np.array([rng.uniform(170, 260), height - 4])
        ring = ring + np.stack([wide * np.cos(turn), high * np.sin(turn)], axis=1)
        bump = (ring + rng.normal(0, 0.7, ring.shape), 2.4, strength * rng.uniform(0.3, 0.9))
        strokes.append(bump)
    return strokes


def add_dust(colour: Array, view: View, rng: Generator, *, left: float, right: float) -> Array:
    """Light and dark dust and scuffs between `left` and `right` of the capsule's frame."""
    for light, count in ((True, rng.poisson(2.2)), (False, rng.poisson(1.6))):
        layer = np.zeros(view.shape, np.uint8)
        for _ in range(count):
            _add_particle(layer, view, rng, (left, right))
        if count:
            alpha = soften(layer, blur_px=0.7 * view.scale)[..., None]
            colour = colour + 55 * alpha if light else colour * (1 - 0.45 * alpha)
    return colour


def _add_particle(layer: Array, view: View, rng: Generator, span: tuple[float, float]) -> None:
    start = np.array([rng.uniform(*span), rng.uniform(-0.9, 0.9) * view.pose.half_width])
    length = rng.choice([1.0, 2.0, 3.0, rng.uniform(4, 16)], p=[0.5, 0.3, 0.12, 0.08])
    points = bent_line(start, rng.uniform(0, np.pi), length, rng, bend=0.8, n=5)
    width = np.full(4, rng.uniform(0.7, 1.8) * view.scale)
    draw_stroke(layer, view.to_px(points), width, np.full(4, rng.uniform(0.15, 0.8)))


def _frame(left: float, right: float, y: float, rng: Generator) -> Array:
    """Closed outline of a reflected rectangle."""
    upper = _wavy(left, right, y - 5, rng)
    lower = _wavy(left, right, y + rng.normal(2, 1), rng)
    return np.concatenate([upper, lower[::-1], upper[:1]])


def _wavy(left: float, right: float, y: float, rng: Generator) -> Array:
    n = 10
    return np.stack([np.linspace(left, right, n), y + np.cumsum(rng.normal(0, 0.45, n))], axis=1)
