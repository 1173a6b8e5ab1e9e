"""Poke: a small punched hole or dent, compact, with torn facets and a few thin tails.

Told from a crack by its shape: round about one dark middle, away from joint and rim.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.synthetic.defects.canvas import (
    Canvas,
    Spoilt,
    edge_point,
    emboss,
    mottle,
    pick_point,
)
from capsule_inspection.synthetic.texture import (
    Array,
    bent_line,
    blend,
    draw_stroke,
    fill_shape,
    rough_blob,
    soften,
)

_AT_RIM = 0.15
_INNER_SHELL = np.array([196.0, 158.0, 134.0], np.float32)
_POWDER = np.array([226.0, 215.0, 204.0], np.float32)


def paint_poke(canvas: Canvas, rng: np.random.Generator) -> Spoilt:
    """Punch the shell once: tails, torn facets, the hole, bright crumbs."""
    unit = canvas.frame.unit
    at_rim = rng.random() < _AT_RIM
    if at_rim:
        centre = edge_point(canvas, rng, lighter=0.76)
    else:
        centre = pick_point(canvas, rng, lighter=0.76, reach=0.8)
    colour = canvas.colour_at(centre)
    is_dark = bool(colour.max() < 70)
    radius = float(np.clip(rng.gamma(6, 3.5), 10, 44))
    turn = canvas.frame.angle if at_rim else rng.uniform(0, np.pi)
    image = _tails(canvas, canvas.image, centre, colour, radius, rng)
    lift = _lifted(colour, is_dark=is_dark, rng=rng)
    body = rough_blob(centre, (radius * unit, radius * unit * rng.uniform(0.45, 0.9)), turn, rng)
    alpha = fill_shape(canvas.shape, body, blur_px=0.9 * unit)
    alpha *= np.clip(mottle(canvas, rng, size=7, amount=0.25, centre=0.85), 0.3, 1)
    image = emboss(canvas, image, alpha * 0.5, colour, height=rng.uniform(1.2, 2.2))
    layer = lift * mottle(canvas, rng, size=5.0, amount=0.07)[..., None]
    image = blend(image, canvas.regrain(layer, alpha), alpha * rng.uniform(0.45, 0.95))
    image = _facets(canvas, image, centre, colour, radius, is_dark, rng)
    image = _hole(canvas, image, centre, colour, radius, rng)
    image = _crumbs(canvas, image, centre, radius, is_dark, rng)
    return Spoilt(_keep_to_capsule(canvas, image))


def _lifted(colour: Array, *, is_dark: bool, rng: np.random.Generator) -> Array:
    """Colour of shell that was bent up: paler than the shell, on the dark half grey."""
    if is_dark:
        return colour + np.float32(rng.uniform(14, 45)) * np.array([1, 1, 0.98], np.float32)
    share = rng.uniform(0.2, 0.8)
    return colour * (1 - share) + _INNER_SHELL * share


def _tails(
    canvas: Canvas,
    image: Array,
    centre: Array,
    colour: Array,
    radius: float,
    rng: np.random.Generator,
) -> Array:
    """Thin creases that run away from the hole."""
    unit = canvas.frame.unit
    light, dark = np.zeros(canvas.shape, np.uint8), np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.25, 0.25, 0.3, 0.2])):
        angle = rng.choice([canvas.frame.angle, rng.uniform(0, 2 * np.pi)]) + rng.choice([0, np.pi])
        length = radius * rng.uniform(1.4, 3.6) * unit
        points = bent_line(centre, angle + rng.normal(0, 0.2), length, rng, bend=0.4)
        widths = np.linspace(5.0, 1.2, len(points) - 1) * unit * rng.uniform(0.5, 1.1)
        strengths = np.linspace(0.9, 0.5, len(points) - 1) * rng.uniform(0.5, 1)
        draw_stroke(light, points, widths, strengths)
        draw_stroke(dark, points + np.array([0.3, 1.6]) * unit, widths * 0.5, strengths)
    image = blend(image, colour * 0.55, soften(dark, blur_px=0.7 * unit))
    return blend(image, colour + 38, soften(light, blur_px=0.8 * unit) * 0.7)


def _facets(
    canvas: Canvas,
    image: Array,
    centre: Array,
    colour: Array,
    radius: float,
    is_dark: bool,
    rng: np.random.Generator,
) -> Array:
    """Torn triangles around the middle, each turned to the light in its own way."""
    unit = canvas.frame.unit
    top = colour + 40 if is_dark else _INNER_SHELL + 22
    first = rng.uniform(0, 2 * np.pi)
    for step in range(rng.integers(2, 6)):
        angle = first + step * rng.uniform(0.8, 1.8)
        reach = radius * unit * rng.uniform(0.6, 1.6)
        tip = centre + reach * np.array([np.cos(angle), np.sin(angle)])
        side = np.array([-np.sin(angle), np.cos(angle)]) * radius * unit * rng.uniform(0.25, 0.6)
        corners = np.array([tip, centre + side, centre - side * rng.uniform(0.2, 1)])
        alpha = fill_shape(
            canvas.shape, corners + rng.normal(0, 1.2, (3, 2)) * unit, blur_px=0.9 * unit
        )
        light = rng.uniform(-0.25, 0.75)
        tone = colour * (1 + light * 0.6) if light < 0 else colour * (1 - light) + top * light
        layer = tone * mottle(canvas, rng, size=4, amount=0.06)[..., None]
        image = blend(image, layer, alpha * rng.uniform(0.5, 0.9))
    return image


def _hole(
    canvas: Canvas,
    image: Array,
    centre: Array,
    colour: Array,
    radius: float,
    rng: np.random.Generator,
) -> Array:
    """The dark middle with a bright lip on the side of the light."""
    unit = canvas.frame.unit
    size = radius * rng.uniform(0.2, 0.55) * unit
    middle = centre + rng.normal(0, 0.2, 2) * radius * unit
    hole = rough_blob(
        middle, (size, size * rng.uniform(0.4, 0.9)), rng.uniform(0, np.pi), rng, corners=14
    )
    lip = fill_shape(canvas.shape, hole + np.array([1.2, 2.0]) * unit, blur_px=1.0 * unit)
    image = blend(image, np.minimum(colour + rng.uniform(25, 70), 235), lip * 0.6)
    depth = fill_shape(canvas.shape, hole, blur_px=1.4 * unit) * rng.uniform(0.1, 0.6)
    return blend(image, colour * np.array([0.62, 0.55, 0.55], np.float32), depth)


def _crumbs(
    canvas: Canvas,
    image: Array,
    centre: Array,
    radius: float,
    is_dark: bool,
    rng: np.random.Generator,
) -> Array:
    """Crumbs of white powder, at times a clot of it."""
    unit = canvas.frame.unit
    layer = np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.poisson(9 if is_dark else 4)):
        spot = centre + np.clip(rng.normal(0, 0.45, 2), -0.9, 0.9) * radius * unit
        points = bent_line(
            spot, rng.uniform(0, np.pi), rng.uniform(0.5, 5) * unit, rng, bend=1, n=4
        )
        draw_stroke(
            layer,
            points,
            np.full(3, rng.uniform(0.7, 2.0) * unit),
            np.full(3, rng.uniform(0.2, 0.8)),
        )
    image = blend(image, _POWDER, soften(layer, blur_px=0.8 * unit) * rng.uniform(0.3, 0.9))
    if rng.random() < 0.16:
        size = radius * rng.uniform(0.4, 1.0) * unit
        clot = rough_blob(
            centre + rng.normal(0, 0.5, 2) * radius * unit,
            (size, size * rng.uniform(0.45, 0.9)),
            rng.uniform(0, 3),
            rng,
            roughness=0.4,
        )
        alpha = fill_shape(canvas.shape, clot, blur_px=0.9 * unit)
        powder = _POWDER * mottle(canvas, rng, size=5, amount=0.08)[..., None]
        image = blend(image, canvas.regrain(powder, alpha), alpha * rng.uniform(0.6, 1))
    return image


def _keep_to_capsule(canvas: Canvas, image: Array) -> Array:
    return np.where(canvas.foreground[..., None] > 0, image, canvas.image)
