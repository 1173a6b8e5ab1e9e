"""Poke: a small punched hole or dent, compact, with torn facets and a few thin creases.

It differs from a crack by its shape: round about one dark middle, away from joint and rim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.defects.canvas import Canvas, DefectLayer
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


def render_poke(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Punch the shell once: creases, torn facets, the hole, bright crumbs."""
    at_rim = rng.random() < _AT_RIM
    if at_rim:
        centre = canvas.sample_edge_point(rng, lighter=0.76)
    else:
        centre = canvas.sample_point(rng, lighter=0.76, reach=0.8)
    radius = float(np.clip(rng.gamma(6, 3.5), 10, 44))
    poke = _Poke(canvas, rng, centre, canvas.colour_at(centre), radius)
    turn = canvas.frame.angle if at_rim else rng.uniform(0, np.pi)
    image = poke.add_creases(canvas.image)
    image = poke.add_body(image, turn)
    image = poke.add_facets(image)
    image = poke.add_hole(image)
    return DefectLayer(canvas.keep_inside(poke.add_crumbs(image)))


@dataclass(frozen=True)
class _Poke:
    """One poke: centre (2,) in pixels, colour (3,) of the shell there, radius in units."""

    canvas: Canvas
    rng: Generator
    centre: Array
    colour: Array
    radius: float

    @property
    def unit(self) -> float:
        return self.canvas.frame.unit

    @property
    def is_dark(self) -> bool:
        return bool(self.colour.max() < 70)

    def add_creases(self, image: Array) -> Array:
        """Thin creases that run away from the hole."""
        rng, unit = self.rng, self.unit
        light, dark = (np.zeros(self.canvas.shape, np.uint8) for _ in range(2))
        for _ in range(rng.choice([0, 1, 2, 3], p=[0.25, 0.25, 0.3, 0.2])):
            angle = rng.choice([self.canvas.frame.angle, rng.uniform(0, 2 * np.pi)])
            angle += rng.choice([0, np.pi])
            length = self.radius * rng.uniform(1.4, 3.6) * unit
            points = bent_line(self.centre, angle + rng.normal(0, 0.2), length, rng, bend=0.4)
            widths = np.linspace(5.0, 1.2, len(points) - 1) * unit * rng.uniform(0.5, 1.1)
            strengths = np.linspace(0.9, 0.5, len(points) - 1) * rng.uniform(0.5, 1)
            draw_stroke(light, points, widths, strengths)
            draw_stroke(dark, points + np.array([0.3, 1.6]) * unit, widths * 0.5, strengths)
        image = blend(image, self.colour * 0.55, soften(dark, blur_px=0.7 * unit))
        return blend(image, self.colour + 38, soften(light, blur_px=0.8 * unit) * 0.7)

    def add_body(self, image: Array, turn: float) -> Array:
        """The shell that was bent up, with light and shade at its outline."""
        canvas, rng = self.canvas, self.rng
        lift = self._lifted()
        radius = self.radius * self.unit
        radii = (radius, radius * rng.uniform(0.45, 0.9))
        body = rough_blob(self.centre, radii, turn, rng)
        alpha = fill_shape(canvas.shape, body, blur_px=0.9 * self.unit)
        alpha *= np.clip(canvas.mottle(rng, size=7, amount=0.25, centre=0.85), 0.3, 1)
        image = canvas.emboss(image, alpha * 0.5, self.colour, height=rng.uniform(1.2, 2.2))
        layer = lift * canvas.mottle(rng, size=5.0, amount=0.07)[..., None]
        return blend(image, canvas.regrain(layer, alpha), alpha * rng.uniform(0.45, 0.95))

    def _lifted(self) -> Array:
        """Colour of shell that was bent up: paler than the shell, on the dark half grey."""
        if self.is_dark:
            grey = np.array([1, 1, 0.98], np.float32)
            return self.colour + np.float32(self.rng.uniform(14, 45)) * grey
        inner = self.rng.uniform(0.2, 0.8)
        return self.colour * (1 - inner) + _INNER_SHELL * inner

    def add_facets(self, image: Array) -> Array:
        """Torn triangles around the middle, each at its own angle to the light."""
        canvas, rng, radius, unit = self.canvas, self.rng, self.radius, self.unit
        top = self.colour + 40 if self.is_dark else _INNER_SHELL + 22
        first = rng.uniform(0, 2 * np.pi)
        for step in range(rng.integers(2, 6)):
            angle = first + step * rng.uniform(0.8, 1.8)
            reach = radius * unit * rng.uniform(0.6, 1.6)
            tip = self.centre + reach * np.array([np.cos(angle), np.sin(angle)])
            side = np.array([-np.sin(angle), np.cos(angle)]) * radius * unit
            side *= rng.uniform(0.25, 0.6)
            corners = np.array([tip, self.centre + side, self.centre - side * rng.uniform(0.2, 1)])
            corners = corners + rng.normal(0, 1.2, (3, 2)) * unit
            alpha = fill_shape(canvas.shape, corners, blur_px=0.9 * unit)
            light = rng.uniform(-0.25, 0.75)
            tone = (
                self.colour * (1 + light * 0.6)
                if light < 0
                else self.colour * (1 - light) + top * light
            )
            layer = tone * canvas.mottle(rng, size=4, amount=0.06)[..., None]
            image = blend(image, layer, alpha * rng.uniform(0.5, 0.9))
        return image

    def add_hole(self, image: Array) -> Array:
        """The dark middle with a bright lip on the side of the light."""
        rng, unit, shape = self.rng, self.unit, self.canvas.shape
        size = self.radius * rng.uniform(0.2, 0.55) * unit
        middle = self.centre + rng.normal(0, 0.2, 2) * self.radius * unit
        radii = (size, size * rng.uniform(0.4, 0.9))
        hole = rough_blob(middle, radii, rng.uniform(0, np.pi), rng, corners=14)
        lip = fill_shape(shape, hole + np.array([1.2, 2.0]) * unit, blur_px=1.0 * unit)
        image = blend(image, np.minimum(self.colour + rng.uniform(25, 70), 235), lip * 0.6)
        depth = fill_shape(shape, hole, blur_px=1.4 * unit) * rng.uniform(0.1, 0.6)
        return blend(image, self.colour * np.array([0.62, 0.55, 0.55], np.float32), depth)

    def add_crumbs(self, image: Array) -> Array:
        """Crumbs of white powder, sometimes a clot of it."""
        canvas, rng, unit = self.canvas, self.rng, self.unit
        layer = np.zeros(canvas.shape, np.uint8)
        for _ in range(rng.poisson(9 if self.is_dark else 4)):
            start = self.centre + np.clip(rng.normal(0, 0.45, 2), -0.9, 0.9) * self.radius * unit
            angle, length = rng.uniform(0, np.pi), rng.uniform(0.5, 5) * unit
            points = bent_line(start, angle, length, rng, bend=1, n=4)
            widths = np.full(3, rng.uniform(0.7, 2.0) * unit)
            draw_stroke(layer, points, widths, np.full(3, rng.uniform(0.2, 0.8)))
        image = blend(image, _POWDER, soften(layer, blur_px=0.8 * unit) * rng.uniform(0.3, 0.9))
        if rng.random() < 0.16:
            size = self.radius * rng.uniform(0.4, 1.0) * unit
            centre = self.centre + rng.normal(0, 0.5, 2) * self.radius * unit
            radii = (size, size * rng.uniform(0.45, 0.9))
            clot = rough_blob(centre, radii, rng.uniform(0, 3), rng, roughness=0.4)
            alpha = fill_shape(canvas.shape, clot, blur_px=0.9 * unit)
            powder = _POWDER * canvas.mottle(rng, size=5, amount=0.08)[..., None]
            image = blend(image, canvas.regrain(powder, alpha), alpha * rng.uniform(0.6, 1))
        return image
