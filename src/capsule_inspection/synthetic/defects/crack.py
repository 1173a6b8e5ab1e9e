"""Crack: broken shell, long and jagged, often begun at the rim or the joint.

White powder, the shell's inside or the other half's colour shows through; others are no more than
a row of specks, or a patch that came loose. It differs from a poke by position and shape: at the
rim, the ends or the joint, mostly several times longer than wide, without a hole in its middle.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.defects.canvas import Canvas, DefectLayer, choose
from capsule_inspection.synthetic.texture import (
    Array,
    bent_line,
    blend,
    draw_stroke,
    fill_shape,
    rough_blob,
    shift_layer,
    soften,
)

_POWDER = np.array([240.0, 229.0, 221.0], np.float32)
_INNER_SHELL = np.array([186.0, 132.0, 106.0], np.float32)


def render_crack(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Break the shell in one of seven ways, about as often as in real images."""
    ways = (_along_rim, _on_shell, _flap, _chipped_joint, _broken_end, _specks, _loose)
    return choose(ways, (0.26, 0.12, 0.1, 0.08, 0.16, 0.14, 0.14), rng)(canvas, rng)


def _along_rim(canvas: Canvas, rng: Generator) -> DefectLayer:
    """A ragged split along a long edge, pale or full of powder that stands over the edge."""
    point = canvas.sample_edge_point(rng, lighter=0.75)
    inwards = canvas.frame.normal * np.sign((canvas.frame.centre - point) @ canvas.frame.normal)
    point = point + inwards * rng.uniform(1, 15) * canvas.frame.unit
    angle = canvas.frame.angle + rng.normal(0, 0.03)
    return DefectLayer(canvas.keep_inside(_split(canvas, point, angle, rng), slack=5.0))


def _on_shell(canvas: Canvas, rng: Generator) -> DefectLayer:
    """A split on the open shell, along the axis more or less."""
    point = canvas.sample_point(rng, lighter=0.75, reach=0.85)
    angle = canvas.frame.angle + rng.normal(0, 0.2)
    return DefectLayer(canvas.keep_inside(_split(canvas, point, angle, rng)))


def _split(canvas: Canvas, point: Array, angle: float, rng: Generator) -> Array:
    """A long jagged opening around a point, with a finer continuation."""
    half_length = rng.uniform(28, 80)
    half_width = rng.gamma(3.0, 1.3) + 1.2
    alpha = _ragged(canvas, point, angle, (half_length, half_width), rng)
    colour = canvas.colour_at(point)
    filling = choose(("powder", "pale", "torn"), (0.33, 0.52, 0.15), rng)
    inside = {"powder": _POWDER, "pale": _pale(colour, rng), "torn": colour * 0.75}[filling]
    image = _tail(canvas, point, angle, half_length, rng)
    image = canvas.emboss(image, alpha * 0.5, colour, height=rng.uniform(1.2, 2.2))
    image = _fill(canvas, image, alpha, inside, rng)
    if filling != "powder" and rng.random() < 0.4:
        return _patches(canvas, image, alpha, colour, rng)
    return image


def _broken_end(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Broken pieces and powder at one of the ends."""
    frame = canvas.frame
    side = 1 if rng.random() < 0.65 else -1
    point = frame.at(side * rng.uniform(0.76, 0.93), rng.uniform(-0.75, 0.75))
    colour = canvas.colour_at(point)
    angle = frame.angle + rng.uniform(-0.9, 0.9)
    alpha = _ragged(canvas, point, angle, (rng.uniform(20, 42), rng.uniform(7, 17)), rng)
    image = canvas.emboss(canvas.image, alpha * 0.5, colour, height=rng.uniform(1.2, 2.2))
    if rng.random() < 0.2:
        image = _strip(canvas, image, point, rng)
    image = _fill(canvas, image, alpha, _pale(colour, rng), rng)
    image = _patches(canvas, image, alpha, colour, rng)
    return DefectLayer(canvas.keep_inside(image, slack=3.0))


def _strip(canvas: Canvas, image: Array, point: Array, rng: Generator) -> Array:
    """A gap torn on from a broken end towards the joint; the other half's colour shows in it."""
    frame, unit = canvas.frame, canvas.frame.unit
    joint = frame.at(canvas.find_joint(), 0)
    way = float(np.sign((joint - point) @ frame.axis))
    length = abs(float((joint - point) @ frame.axis)) * rng.uniform(0.4, 1.0)
    other = canvas.colour_at(joint + way * 30 * unit * frame.axis)
    angle = frame.angle + (0 if way > 0 else np.pi)
    points = bent_line(point, angle, length, rng, bend=0.7)
    layer = np.zeros(canvas.shape, np.uint8)
    widths = np.linspace(rng.uniform(6, 12), rng.uniform(1, 4), 23) * unit
    draw_stroke(layer, points, widths, np.full(23, 1.0))
    alpha = soften(layer, blur_px=0.9 * unit)
    image = canvas.emboss(image, alpha * 0.5, canvas.colour_at(point), height=1.5)
    return _fill(canvas, image, alpha, np.maximum(other * rng.uniform(0.6, 0.95), 24), rng)


def _specks(canvas: Canvas, rng: Generator) -> DefectLayer:
    """A hairline, hardly visible, with specks of powder along it; its mask has room around it."""
    frame, unit = canvas.frame, canvas.frame.unit
    side = 1 if rng.random() < 0.4 else -1
    middle = frame.at(side * rng.uniform(0.55, 0.9), rng.uniform(-0.7, 0.7))
    angle = rng.uniform(0, np.pi)
    half = rng.uniform(18, 45) * unit
    start = middle - half * np.array([np.cos(angle), np.sin(angle)])
    points = bent_line(start, angle, 2 * half, rng, bend=0.5)
    layer, region = (np.zeros(canvas.shape, np.uint8) for _ in range(2))
    strengths = rng.uniform(0, 0.6, 23) * rng.uniform(0.2, 1)
    draw_stroke(layer, points, rng.uniform(0.8, 1.8, 23) * unit, strengths)
    spread = rng.uniform(1.5, 6) * unit
    for spot in points[rng.integers(0, 24, rng.integers(10, 50))]:
        place = spot + np.clip(rng.normal(0, 0.6, 2), -1.2, 1.2) * spread
        ends = np.stack([place, place + rng.normal(0, 2.5, 2) * unit])
        draw_stroke(layer, ends, rng.gamma(2, 0.7, 1) * unit, rng.uniform(0.1, 0.9, 1))
    room = max(1.0, 2 * spread + 4 * unit)
    widths = room * np.interp(np.arange(23), (0, 8, 15, 22), rng.uniform(0.7, 2.2, 4))
    draw_stroke(region, points, widths, np.ones(23))
    alpha = soften(layer, blur_px=0.9 * unit) * canvas.foreground
    return DefectLayer(blend(canvas.image, _POWDER, alpha * rng.uniform(0.25, 0.9)), region)


def _loose(canvas: Canvas, rng: Generator) -> DefectLayer:
    """A patch of shell that came loose: paler, of low contrast, with a few dots."""
    frame, unit = canvas.frame, canvas.frame.unit
    side = 1 if rng.random() < 0.65 else -1
    point = frame.at(side * rng.uniform(0.5, 0.92), rng.uniform(-0.8, 0.8))
    angle = frame.angle + rng.normal(0, 0.5)
    length, width = rng.uniform(18, 48) * unit, rng.uniform(7, 18) * unit
    blob = rough_blob(point, (length, width), angle, rng, roughness=0.12)
    alpha = fill_shape(canvas.shape, blob, blur_px=1.6 * unit)
    colour = canvas.colour_at(point)
    image = canvas.emboss(canvas.image, alpha * 0.3, colour, height=rng.uniform(1, 1.8))
    if colour.max() < 70:
        lighter = colour + np.float32(rng.uniform(4, 16))
    else:
        lighter = colour + (_INNER_SHELL - colour) * np.float32(rng.uniform(0.08, 0.4))
    image = _fill(canvas, image, alpha, lighter, rng, rough=0.025)
    dots = np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.poisson(8)):
        spot = blob[rng.integers(len(blob))] + rng.normal(0, 2, 2) * unit
        ends = np.stack([spot, spot + rng.normal(0, 1.5, 2) * unit])
        draw_stroke(dots, ends, rng.uniform(1, 3, 1) * unit, rng.uniform(0.1, 0.7, 1))
    image = blend(image, _POWDER, soften(dots, blur_px=0.9 * unit))
    region = (alpha > 0.3).astype(np.uint8) & canvas.foreground
    return DefectLayer(canvas.keep_inside(image), region)


def _flap(canvas: Canvas, rng: Generator) -> DefectLayer:
    """A piece broken loose at the joint; the other half's colour shows beside it."""
    frame, unit = canvas.frame, canvas.frame.unit
    joint = canvas.find_joint()
    side = -1 if rng.random() < 0.75 else 1
    origin = frame.at(joint, rng.uniform(-0.85, 0.85))
    other = canvas.colour_at(origin - side * 30 * unit * frame.axis)
    colour = canvas.colour_at(origin + side * 30 * unit * frame.axis)
    depth, width = rng.uniform(12, 40) * unit, rng.uniform(6, 30) * unit
    middle = origin + side * frame.axis * depth * 0.8
    angle = frame.angle + rng.normal(0, 0.3)
    corners = rough_blob(middle, (depth, width), angle, rng, roughness=0.35, corners=8)
    gap = fill_shape(canvas.shape, corners, blur_px=0.9 * unit)
    image = _fill(canvas, canvas.image, gap, other * rng.uniform(0.55, 0.95), rng)
    turn = frame.normal * width * rng.uniform(-0.5, 0.5) + frame.axis * depth * rng.normal(0, 0.2)
    piece = fill_shape(canvas.shape, corners + turn, blur_px=0.9 * unit)
    image = canvas.emboss(image, piece, colour, height=rng.uniform(1.2, 2.5))
    image = _fill(canvas, image, piece, colour * rng.uniform(1.0, 1.2) + 2, rng, rough=0.02)
    return DefectLayer(canvas.keep_inside(image))


def _chipped_joint(canvas: Canvas, rng: Generator) -> DefectLayer:
    """The lip of the joint chipped over a part of its length, with crumbs beside it."""
    frame = canvas.frame
    joint = canvas.find_joint()
    half = rng.uniform(0.15, 0.8)
    middle = rng.uniform(-0.85 + half, 0.85 - half) if half < 0.8 else 0.0
    side = -1 if rng.random() < 0.7 else 1
    reach = rng.uniform(2.5, 8)
    origin = frame.at(joint, middle) + side * frame.axis * reach * 0.3 * frame.unit
    along = half * frame.half_width / frame.unit
    alpha = _ragged(canvas, origin, frame.angle + np.pi / 2, (along, reach), rng)
    other = canvas.colour_at(frame.at(joint - side * 0.12, middle))
    image = _fill(canvas, canvas.image, alpha, other * rng.uniform(0.75, 1.1), rng)
    crumbs = np.zeros(canvas.shape, np.uint8)
    for _ in range(rng.poisson(16)):
        spot = frame.at(joint, middle + rng.uniform(-1, 1) * half)
        spot = spot + frame.axis * side * rng.gamma(1.2, 4) * frame.unit
        end = spot + rng.normal(0, 1.5, 2) * frame.unit
        width = rng.uniform(0.8, 2.6) * frame.unit
        draw_stroke(crumbs, np.stack([spot, end]), np.array([width]), rng.uniform(0.1, 0.8, 1))
    image = blend(image, _POWDER, soften(crumbs, blur_px=0.8 * frame.unit))
    return DefectLayer(canvas.keep_inside(image, slack=1.0))


def _ragged(
    canvas: Canvas, point: Array, angle: float, reach: tuple[float, float], rng: Generator
) -> Array:
    """Soft shape (h, w) of a tear: long and uneven, with torn edges; `reach` in units."""
    along, across = canvas.local(point, angle)
    position = along / np.float32(reach[0])
    knots = np.linspace(-1, 1, 9)
    upper, lower = rng.gamma(2.0, 0.5, (2, 9)) * reach[1] * (1 - knots**2) ** 0.35
    middle = rng.normal(0, 0.35, 9) * reach[1] + rng.normal(0, 2.5) * (1 - knots**2)
    offset = across - np.interp(position, knots, middle).astype(np.float32)
    width = np.where(
        offset < 0, np.interp(position, knots, upper), np.interp(position, knots, lower)
    )
    rough = canvas.mottle(rng, size=3.2, amount=0.08 * reach[1] + 0.25, centre=0)
    rough += canvas.mottle(rng, size=9, amount=0.22 * reach[1], centre=0)
    edge = (width - np.abs(offset) + rough).astype(np.float32)
    edge = np.where(np.abs(position) < 1, edge, -1)
    alpha = np.clip(edge * np.float32(max(canvas.frame.unit, 0.3)) + 0.4, 0, 1)
    return cv2.GaussianBlur(alpha, (0, 0), max(0.3, 0.7 * canvas.frame.unit))


def _fill(
    canvas: Canvas,
    image: Array,
    alpha: Array,
    inside: Array,
    rng: Generator,
    *,
    rough: float = 0.06,
) -> Array:
    """Fill a soft shape with uneven material of a colour (3,)."""
    factor = canvas.mottle(rng, size=3.5, amount=rough) * canvas.mottle(rng, size=11, amount=rough)
    layer = np.clip(np.asarray(inside, np.float32) * factor[..., None], 0, 250)
    return blend(image, canvas.regrain(layer, alpha), alpha * np.float32(rng.uniform(0.5, 1)))


def _patches(canvas: Canvas, image: Array, alpha: Array, colour: Array, rng: Generator) -> Array:
    """Powder, shade and bare shell in patches within a tear."""
    for inside, chance in ((_INNER_SHELL, 0.5), (_POWDER, 0.55), (colour * 0.7, 0.3)):
        if rng.random() < chance:
            part = np.clip(canvas.mottle(rng, size=9, amount=1.0, centre=-0.35), 0, 1) * alpha
            image = _fill(canvas, image, part, inside, rng)
    return canvas.emboss(image, alpha * 0.5, colour, height=1.0)


def _tail(canvas: Canvas, point: Array, angle: float, half_length: float, rng: Generator) -> Array:
    """A fine line that continues a split, light with a shade under it."""
    unit = canvas.frame.unit
    start = point + half_length * 0.7 * unit * np.array([np.cos(angle), np.sin(angle)])
    points = bent_line(start, angle, half_length * rng.uniform(0.5, 1.6) * unit, rng, bend=0.2)
    layer = np.zeros(canvas.shape, np.uint8)
    draw_stroke(layer, points, np.full(23, 1.4 * unit), np.linspace(0.9, 0.2, 23))
    alpha = soften(layer, blur_px=0.7 * unit) * np.float32(rng.uniform(0, 0.9))
    colour = canvas.colour_at(point)
    image = blend(canvas.image, colour * 0.6, shift_layer(alpha, 0, 1.6 * unit))
    return blend(image, colour + 38, alpha)


def _pale(colour: Array, rng: Generator) -> Array:
    """The shell's inside: paler and less coloured than its outside."""
    weight = rng.uniform(0.1, 0.6)
    inner = _INNER_SHELL if colour.max() > 70 else np.array([90.0, 84.0, 82.0])
    return colour * (1 - weight) + inner * weight
