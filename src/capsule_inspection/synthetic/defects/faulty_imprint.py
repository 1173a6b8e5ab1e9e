"""Faulty imprint: a digit rubbed off in streaks or patches, smeared, scratched, or all gone."""

from __future__ import annotations

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
    fill_shape,
    largest_channel,
    rough_blob,
    soften,
)

_PRINT_LEVELS = 9.0
_ALL_GONE = 0.2
"""Fraction of the defects that leave nothing of the print."""


def render_faulty_imprint(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Damage the print; where there is none, leave a smear of ink."""
    bare = canvas.remove_print()
    ink = _find_ink(canvas, bare)
    glyphs = _glyphs(ink, canvas.frame.unit)
    if not glyphs:
        return DefectLayer(_smear(canvas, canvas.image, canvas.sample_point(rng, reach=0.6), rng))
    glyph = glyphs[rng.integers(len(glyphs))]
    if rng.random() < _ALL_GONE:
        return _erase(canvas, ink * _same_half(canvas, glyph[0]), bare, rng)
    return DefectLayer(_rub(canvas, glyph, bare, rng))


def _find_ink(canvas: Canvas, bare: Array) -> Array:
    """Mask of the light print, uint8 (h, w)."""
    unit = canvas.frame.unit
    inner = cv2.erode(canvas.foreground, disc(18 * unit))
    contrast = cv2.GaussianBlur(canvas.image, (0, 0), max(0.5, 1.2 * unit)) - bare
    return ((-largest_channel(-contrast) > _PRINT_LEVELS) & (inner > 0)).astype(np.uint8)


def _same_half(canvas: Canvas, point: Array) -> Array:
    """The capsule's half that a pixel position lies on, bool (h, w)."""
    frame = canvas.frame
    joint = frame.at(canvas.find_joint(), 0)
    side = (point - joint) @ frame.axis
    return canvas.local(joint, frame.angle)[0] * side > 0


def _glyphs(ink: Array, unit: float) -> list[tuple[Array, float, float]]:
    """Centre (2,), width and height in units of each piece of print that is large enough."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    found = []
    for left, top, width, height, area in stats[1:]:
        large = area > 600 * unit**2 and width < 110 * unit and height > 34 * unit
        if large and height < 90 * unit:
            centre = np.array([left + width / 2, top + height / 2])
            found.append((centre, width / unit, height / unit))
    return found


def _rub(canvas: Canvas, glyph: tuple[Array, float, float], bare: Array, rng: Generator) -> Array:
    """Rub a part of one glyph down to the bare shell."""
    unit = canvas.frame.unit
    centre, width, height = glyph
    angle = choose((np.pi / 2, rng.uniform(0, np.pi), 0.1), (0.55, 0.3, 0.15), rng)
    angle += rng.normal(0, 0.15)
    spot = centre + rng.normal(0, 0.12, 2) * (width, height) * unit
    radii = (height * rng.uniform(0.35, 0.6) * unit, width * rng.uniform(0.16, 0.38) * unit)
    blob = rough_blob(spot, radii, angle, rng, roughness=0.3)
    region = fill_shape(canvas.shape, blob, blur_px=2.5 * unit)
    rubbed = region * _rubbed(canvas, angle, rng)
    comb = _comb(canvas, spot, angle, radii, rng) if rng.random() < 0.8 else np.float32(0)
    alpha = np.clip(np.maximum(rubbed, comb), 0, 1) * np.float32(rng.uniform(0.75, 1))
    image = blend(canvas.image, canvas.regrain(bare, alpha), alpha * canvas.foreground)
    if rng.random() < 0.12:
        image = _lines(canvas, image, spot, rng, angle=angle, reach=max(radii))
    if rng.random() < 0.1:
        image = _smear(canvas, image, spot + rng.normal(0, 8, 2) * unit, rng, angle=angle)
    return image


def _rubbed(canvas: Canvas, angle: float, rng: Generator) -> Array:
    """How much ink is gone (h, w): drawn out along the rubbing, with crumbs of ink left."""
    drawn = canvas.streaks(rng, angle, width=rng.uniform(3, 6), length=rng.uniform(14, 40))
    rough = canvas.mottle(rng, size=4, amount=0.45, centre=rng.uniform(-0.5, 1.0))
    return np.clip(0.5 + 1.4 * (0.6 * drawn + rough), 0, 1)


def _comb(
    canvas: Canvas, spot: Array, angle: float, radii: tuple[float, float], rng: Generator
) -> Array:
    """Parallel stripes where a comb of points took the ink away."""
    unit = canvas.frame.unit
    layer = np.zeros(canvas.shape, np.uint8)
    across = np.array([-np.sin(angle), np.cos(angle)])
    bend = rng.normal(0, 0.3)
    for offset in rng.uniform(-1.1, 1.1, rng.integers(3, 8)) * radii[1]:
        length = 2 * radii[0] * rng.uniform(0.6, 1.1)
        start = spot + across * offset - 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        points = bent_line(start, angle + rng.normal(0, 0.06), length, rng, bend=bend)
        widths = rng.uniform(2, 6.5) * unit * np.clip(rng.normal(1, 0.2, 23), 0.5, 1.5)
        draw_stroke(layer, points, widths, np.full(23, rng.uniform(0.6, 1)))
    return soften(layer, blur_px=0.9 * unit)


def _lines(
    canvas: Canvas, image: Array, spot: Array, rng: Generator, *, angle: float, reach: float
) -> Array:
    """Fine light lines that go on beyond the print."""
    unit = canvas.frame.unit
    layer = np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.integers(2, 7)):
        start = spot + rng.normal(0, 0.5, 2) * reach
        direction = angle + rng.choice([0, np.pi]) + rng.normal(0, 0.15)
        points = bent_line(start, direction, reach * rng.uniform(0.4, 1.0), rng, bend=0.4)
        widths = np.full(23, rng.uniform(0.7, 1.6) * unit)
        draw_stroke(layer, points, widths, np.linspace(0.6, 0.1, 23))
    light = canvas.colour_at(spot) + np.array([28.0, 26.0, 20.0])
    return blend(image, light, soften(layer, blur_px=0.7 * unit) * canvas.foreground)


def _smear(
    canvas: Canvas, image: Array, spot: Array, rng: Generator, *, angle: float = 0.3
) -> Array:
    """Ink dragged over the shell."""
    unit = canvas.frame.unit
    radii = (rng.uniform(14, 34) * unit, rng.uniform(7, 16) * unit)
    region = fill_shape(canvas.shape, rough_blob(spot, radii, angle, rng), blur_px=2.5 * unit)
    drawn = canvas.streaks(rng, angle, width=3.5, length=20)
    patch = np.clip(0.4 + 0.8 * drawn, 0, 1) * region
    tint = canvas.colour_at(spot) * 0.5 + np.array([92.0, 84.0, 84.0])
    return blend(image, tint, patch * canvas.foreground * rng.uniform(0.25, 0.6))


def _erase(canvas: Canvas, ink: Array, bare: Array, rng: Generator) -> DefectLayer:
    """The whole print missing, sometimes with a faint rest; its mask is one large patch."""
    unit = canvas.frame.unit
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] > 150 * unit**2
    large[0] = False
    wide = cv2.dilate(large[labels].astype(np.uint8), disc(14 * unit))
    alpha = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), max(0.5, 1.5 * unit))
    alpha *= rng.choice([1.0, rng.uniform(0.75, 1)])
    image = blend(canvas.image, canvas.regrain(bare, alpha), alpha)
    points = cv2.findNonZero(wide)
    if points is None:
        return DefectLayer(canvas.image)
    patch = cv2.fillConvexPoly(np.zeros(canvas.shape, np.uint8), cv2.convexHull(points), 1)
    return DefectLayer(image, cv2.dilate(patch, disc(2 * rng.uniform(2, 14) * unit)))
