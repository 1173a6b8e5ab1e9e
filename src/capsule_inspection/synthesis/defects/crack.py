"""Crack: broken shell, long and jagged, often begun at the rim or the joint.

White powder, the shell's inside or the other half's colour shows through. Told from a poke by
its shape: several times longer than wide, along the axis, the rim or the joint.
"""

from __future__ import annotations

import cv2
import numpy as np

from capsule_inspection.synthesis.defects.canvas import (
    Canvas,
    choose,
    edge_point,
    emboss,
    find_joint,
    mottle,
    pick_point,
    shifted,
)
from capsule_inspection.synthesis.texture import (
    Array,
    bent_line,
    blend,
    draw_stroke,
    fill_shape,
    rough_blob,
    soften,
)

_POWDER = np.array([233.0, 220.0, 212.0], np.float32)
_INNER_SHELL = np.array([186.0, 132.0, 106.0], np.float32)


def paint_crack(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Break the shell in one of five ways, about as often as they are seen."""
    ways = (_along_rim, _on_shell, _flap, _chipped_joint, _broken_end)
    return choose(ways, (0.32, 0.2, 0.16, 0.12, 0.2), rng)(canvas, rng)


def _along_rim(canvas: Canvas, rng: np.random.Generator) -> Array:
    """A ragged split along a long edge, pale or full of powder that stands over the edge."""
    point = edge_point(canvas, rng, lighter=0.75)
    inwards = canvas.frame.normal * np.sign((canvas.frame.centre - point) @ canvas.frame.normal)
    point = point + inwards * rng.uniform(1, 15) * canvas.frame.unit
    angle = canvas.frame.angle + rng.normal(0, 0.03)
    return _keep(canvas, _split(canvas, point, angle, rng), slack=5.0)


def _on_shell(canvas: Canvas, rng: np.random.Generator) -> Array:
    """A split on the open shell, along the axis more or less."""
    point = pick_point(canvas, rng, lighter=0.75, reach=0.85)
    angle = canvas.frame.angle + rng.normal(0, 0.2)
    return _keep(canvas, _split(canvas, point, angle, rng), slack=0.0)


def _split(canvas: Canvas, point: Array, angle: float, rng: np.random.Generator) -> Array:
    """A long jagged opening around a point, with a finer continuation."""
    half_length = rng.uniform(24, 68)
    half_width = rng.gamma(3.0, 1.3) + 1.2
    alpha = _ragged(canvas, point, angle, (half_length, half_width), rng)
    colour = canvas.colour_at(point)
    filling = choose(("powder", "pale", "torn"), (0.3, 0.4, 0.3), rng)
    inside = {"powder": _POWDER, "pale": _pale(colour, rng), "torn": colour * 0.62}[filling]
    image = _tail(canvas, point, angle, half_length, rng)
    image = emboss(canvas, image, alpha, colour, height=rng.uniform(1.2, 2.6))
    image = _fill(canvas, image, alpha, inside, rng)
    if filling != "powder" and rng.random() < 0.6:
        return _patches(canvas, image, alpha, colour, rng)
    return image


def _broken_end(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Broken pieces and powder at one of the ends."""
    frame = canvas.frame
    side = 1 if rng.random() < 0.65 else -1
    point = frame.at(side * rng.uniform(0.76, 0.93), rng.uniform(-0.75, 0.75))
    colour = canvas.colour_at(point)
    angle = frame.angle + rng.uniform(-0.9, 0.9)
    alpha = _ragged(canvas, point, angle, (rng.uniform(20, 42), rng.uniform(7, 17)), rng)
    image = emboss(canvas, canvas.image, alpha, colour, height=rng.uniform(1.2, 2.5))
    image = _fill(canvas, image, alpha, _pale(colour, rng), rng)
    return _keep(canvas, _patches(canvas, image, alpha, colour, rng), slack=3.0)


def _flap(canvas: Canvas, rng: np.random.Generator) -> Array:
    """A piece broken loose at the joint; the other half's colour shows beside it."""
    frame, unit = canvas.frame, canvas.frame.unit
    joint = find_joint(canvas)
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
    image = emboss(canvas, image, piece, colour, height=rng.uniform(1.2, 2.5))
    image = _fill(canvas, image, piece, colour * rng.uniform(1.0, 1.2) + 2, rng, rough=0.02)
    return _keep(canvas, image, slack=0.0)


def _chipped_joint(canvas: Canvas, rng: np.random.Generator) -> Array:
    """The lip of the joint chipped over a part of its length, with crumbs beside it."""
    frame = canvas.frame
    joint = find_joint(canvas)
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
    return _keep(canvas, blend(image, _POWDER, soften(crumbs, blur_px=0.8 * frame.unit)), slack=1.0)


def _ragged(
    canvas: Canvas, point: Array, angle: float, reach: tuple[float, float], rng: np.random.Generator
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
    rough = mottle(canvas, rng, size=2.6, amount=0.2 * reach[1] + 0.35, centre=0)
    rough += mottle(canvas, rng, size=6.5, amount=0.25 * reach[1], centre=0)
    edge = (width - np.abs(offset) + rough).astype(np.float32)
    edge = np.where(np.abs(position) < 1, edge, -1)
    alpha = np.clip(edge * np.float32(max(canvas.frame.unit, 0.3)) + 0.4, 0, 1)
    return cv2.GaussianBlur(alpha, (0, 0), max(0.3, 0.7 * canvas.frame.unit))


def _fill(
    canvas: Canvas,
    image: Array,
    alpha: Array,
    inside: Array,
    rng: np.random.Generator,
    *,
    rough: float = 0.06,
) -> Array:
    """Fill a soft shape with uneven material of a colour (3,)."""
    factor = mottle(canvas, rng, size=3.5, amount=rough) * mottle(
        canvas, rng, size=11, amount=rough
    )
    layer = np.clip(np.asarray(inside, np.float32) * factor[..., None], 0, 242)
    return blend(image, canvas.regrain(layer, alpha), alpha * np.float32(rng.uniform(0.75, 1)))


def _patches(
    canvas: Canvas, image: Array, alpha: Array, colour: Array, rng: np.random.Generator
) -> Array:
    """Powder, shade and bare shell in patches within a tear."""
    for inside, chance in ((_INNER_SHELL, 0.5), (_POWDER, 0.35), (colour * 0.55, 0.5)):
        if rng.random() < chance:
            part = np.clip(mottle(canvas, rng, size=9, amount=1.0, centre=-0.35), 0, 1) * alpha
            image = _fill(canvas, image, part, inside, rng)
    return emboss(canvas, image, alpha * 0.5, colour, height=1.0)


def _tail(
    canvas: Canvas, point: Array, angle: float, half_length: float, rng: np.random.Generator
) -> Array:
    """A fine line that continues a split, light with a shade under it."""
    unit = canvas.frame.unit
    start = point + half_length * 0.7 * unit * np.array([np.cos(angle), np.sin(angle)])
    points = bent_line(start, angle, half_length * rng.uniform(0.5, 1.6) * unit, rng, bend=0.2)
    layer = np.zeros(canvas.shape, np.uint8)
    draw_stroke(layer, points, np.full(23, 1.4 * unit), np.linspace(0.9, 0.2, 23))
    alpha = soften(layer, blur_px=0.7 * unit) * np.float32(rng.uniform(0, 0.9))
    colour = canvas.colour_at(point)
    image = blend(canvas.image, colour * 0.6, shifted(alpha, 0, 1.6 * unit))
    return blend(image, colour + 38, alpha)


def _pale(colour: Array, rng: np.random.Generator) -> Array:
    """The shell's inside: paler and less coloured than its outside."""
    share = rng.uniform(0.15, 0.75)
    inner = _INNER_SHELL if colour.max() > 70 else np.array([90.0, 84.0, 82.0])
    return colour * (1 - share) + inner * share


def _keep(canvas: Canvas, image: Array, *, slack: float) -> Array:
    """Undo what lies farther than `slack` units outside of the capsule."""
    size = 2 * round(slack * canvas.frame.unit) + 1
    allowed = cv2.dilate(
        canvas.foreground, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    )
    return np.where(allowed[..., None] > 0, image, canvas.image)
