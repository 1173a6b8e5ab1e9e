"""Squeeze: the capsule pinched, its outline dented or bent, with creases in the shell.

The image itself is bent, with the paper and the shadow near the outline, so that every edge
keeps its sharpness. Real masks cover the area between the intended and the real outline, often a
sliver; those of a pinch also cover the folded shell from edge to edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.defects.canvas import Canvas, DefectLayer, choose
from capsule_inspection.synthetic.texture import LUMINANCE, Array, disc, largest_channel

_FOLD_LEVELS = 8.0
_ROOM_UNITS = 7.0
"""Around a moved outline, so that all of its soft edge lies within the mask."""
_EDGE_UNITS = 5.0
"""Width of the outline's own edge and shadow, which is moved as it is."""
_PAPER_UNITS = 22.0
_SPREAD_UNITS = 7.0
_PAPER_FOLLOWS = 0.35
"""How far the paper at the old outline is drawn along, as a fraction of the push."""


@dataclass(frozen=True)
class _Bent:
    """A bent image (h, w, 3) and the capsule's soft shape (h, w) in it.

    `between`, uint8 (h, w), is the area between the old and the new outline.
    """

    image: Array
    shape: Array
    between: Array


def render_squeeze(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Squeeze the capsule in one of three ways, about as often as in real images."""
    return choose((_dent_edge, _pinch, _dent_end), (0.36, 0.37, 0.27), rng)(canvas, rng)


def _dent_edge(canvas: Canvas, rng: Generator) -> DefectLayer:
    """A long edge pushed in, sometimes with folds that converge above the dent."""
    frame, unit = canvas.frame, canvas.frame.unit
    point = canvas.sample_edge_point(rng, lighter=0.6)
    inwards = frame.normal * np.sign((frame.centre - point) @ frame.normal)
    depth, reach = rng.uniform(4, 16), rng.uniform(60, 170)
    left, right = rng.uniform(0.5, 1.4, 2) * reach
    place = canvas.local(point, _along(inwards))[0]
    place = np.where(place < 0, place / left, place / right)
    push = depth * _hill(place, sharp=rng.uniform(0.2, 1.8))
    bent = _push(canvas, point, inwards, push, depth)
    if rng.random() < 0.45:
        return DefectLayer(bent.image, bent.between)
    apex = point + inwards * depth * rng.uniform(1.8, 3.4) * unit
    apex = apex + frame.axis * rng.normal(0, 0.2) * reach * unit
    deep = point + inwards * depth * unit
    sign = float(np.sign(inwards[1] or 1))
    ends = [deep - frame.axis * left * 0.6 * unit, deep + frame.axis * right * 0.6 * unit, deep]
    folds = [(end, apex, sign) for end in ends]
    return _add_folds(canvas, bent, folds, rng)


def _pinch(canvas: Canvas, rng: Generator) -> DefectLayer:
    """Pressed flat between two fingers: wider at a fold across, narrower beside it."""
    frame, unit = canvas.frame, canvas.frame.unit
    middle = frame.at(canvas.sample_side(rng, lighter=0.8) * rng.uniform(0.0, 0.52), 0)
    along, across = canvas.local(middle, frame.angle)
    reach = rng.uniform(65, 135)
    wide, narrow = rng.uniform(2, 9), rng.uniform(4, 12)
    profile = np.interp(
        np.abs(along) / reach, (0, 0.5, 0.9, 1.4), (wide, 0, -narrow, 0), right=0
    ).astype(np.float32)
    part = across / np.float32(frame.half_width / unit)
    beyond = np.maximum(np.abs(part) - 1, 0) * np.float32(frame.half_width / unit)
    fade = np.clip(1 - beyond / np.float32(_PAPER_UNITS), 0, 1)
    taper = np.sign(part) * np.minimum(np.abs(part), 1) ** 4 * fade
    bent = _bend(canvas, frame.normal, profile * taper)
    image = _creases(canvas, bent, middle, reach, rng)
    waist = rng.uniform(0.35, 0.75, (2, 1, 1)) + rng.uniform(0.1, 0.4) * np.abs(part) ** 2
    inner = np.where(along < 0, waist[0], waist[1]) * reach > np.abs(along)
    shell = cv2.morphologyEx(canvas.foreground | bent.between, cv2.MORPH_CLOSE, disc(5 * unit))
    return DefectLayer(image, bent.between | (inner.astype(np.uint8) & shell))


def _creases(canvas: Canvas, bent: _Bent, middle: Array, reach: float, rng: Generator) -> Array:
    """A fold from edge to edge, and a kite of facets beside it."""
    frame, unit = canvas.frame, canvas.frame.unit
    top, bottom = (middle + s * frame.normal * frame.half_width for s in (-0.97, 0.97))
    centre = middle + frame.normal * rng.uniform(-0.4, 0.4) * frame.half_width
    image = _fold(canvas, bent.image, bent.shape, (top, centre), rng, toward=1)
    image = _fold(canvas, image, bent.shape, (centre, bottom), rng, toward=1)
    for tip in (top, bottom):
        for side in (-1, 1):
            foot = centre + side * frame.axis * reach * rng.uniform(0.25, 0.5) * unit
            if rng.random() < 0.85:
                image = _fold(canvas, image, bent.shape, (tip, foot), rng, toward=side)
    return image


def _dent_end(canvas: Canvas, rng: Generator) -> DefectLayer:
    """An end pushed in askew, with a step where the shell folds."""
    frame, unit = canvas.frame, canvas.frame.unit
    side = 1 if rng.random() < 0.6 else -1
    turn = rng.uniform(-1.1, 1.1)
    inwards = -(side * np.cos(turn) * frame.axis + np.sin(turn) * frame.normal)
    point = frame.at(side, 0) - side * frame.axis * frame.half_width * (1 - np.cos(turn))
    point = point + frame.normal * np.sin(turn) * frame.half_width
    depth, reach = rng.uniform(8, 22), rng.uniform(35, 80)
    place = canvas.local(point, _along(inwards))[0] / np.float32(reach)
    push = depth * _hill(place, sharp=rng.uniform(0.6, 2.5))
    bent = _push(canvas, point, inwards, push, depth)
    if rng.random() < 0.3:
        return DefectLayer(bent.image, bent.between)
    tangent = np.array([-inwards[1], inwards[0]])
    deep = point + inwards * depth * rng.uniform(1.2, 2.2) * unit
    folds = []
    for way in (-1, 1):
        end = deep + tangent * way * reach * rng.uniform(0.6, 1.1) * unit
        folds.append((end + inwards * rng.normal(0, 6) * unit, deep, float(way)))
    return _add_folds(canvas, bent, folds, rng)


def _along(inwards: Array) -> float:
    """Angle of the outline, in radians, where it is pushed in this direction."""
    return float(np.arctan2(inwards[1], inwards[0])) - np.pi / 2


def _hill(place: Array, *, sharp: float = 1.0) -> Array:
    """1 at 0, falling smoothly to exactly 0 at about 2; larger `sharp` for a flatter top."""
    bell = np.exp(-0.5 * np.abs(place) ** (1 + sharp))
    return (np.maximum(bell - 0.06, 0) / 0.94).astype(np.float32)


def _push(canvas: Canvas, point: Array, inwards: Array, push: Array, depth: float) -> _Bent:
    """The outline pushed in by `push` units (h, w), the paper drawn after it."""
    across = canvas.local(point, _along(inwards))[1]
    left_empty = np.clip((across + _EDGE_UNITS) / np.maximum(push, 0.5), 0, 1)
    follow = _PAPER_FOLLOWS + (1 - _PAPER_FOLLOWS) * left_empty
    fade = np.where(
        across < 0, across / (0.3 * depth + 4), np.maximum(across - push, 0) / (depth + 6)
    )
    return _bend(canvas, inwards, push * follow * _hill(fade, sharp=1.5))


def _bend(canvas: Canvas, direction: Array, shift: Array) -> _Bent:
    """Move the image by `shift` units (h, w) along a direction."""
    unit = canvas.frame.unit
    rows, columns = np.indices(canvas.shape, dtype=np.float32)
    shift_px = (shift * unit).astype(np.float32)
    maps = columns - shift_px * np.float32(direction[0]), rows - shift_px * np.float32(direction[1])
    before = cv2.GaussianBlur(canvas.foreground.astype(np.float32), (0, 0), max(0.5, 2 * unit))
    image, after = (
        cv2.remap(layer, *maps, how, borderMode=cv2.BORDER_REPLICATE)
        for layer, how in ((canvas.image, cv2.INTER_CUBIC), (before, cv2.INTER_LINEAR))
    )
    between = ((before > 0.5) != (after > 0.5)).astype(np.uint8)
    image = _remove_step(canvas, image, (before, after))
    return _Bent(image, after, cv2.dilate(between, disc(_ROOM_UNITS * unit)))


def _remove_step(canvas: Canvas, image: Array, shapes: tuple[Array, Array]) -> Array:
    """The bent image, its paper as light as before the bend just outside of the old outline.

    Paper comes from farther out, with less of the capsule's shadow; a step would show at the mask.
    """
    unit = canvas.frame.unit
    before, after = shapes
    near = cv2.dilate((before > 0.1).astype(np.uint8), disc(_ROOM_UNITS * unit))
    band = near * (before < 0.1).astype(np.float32)
    change = np.dstack([(image - canvas.image) * band[..., None], band])
    spread = cv2.GaussianBlur(change, (0, 0), max(1.0, _SPREAD_UNITS * unit))
    step = spread[..., :3] / np.maximum(spread[..., 3:], 0.02)
    return image - step * np.clip(1 - 2 * after, 0, 1)[..., None]


def _add_folds(
    canvas: Canvas, bent: _Bent, folds: list[tuple[Array, Array, float]], rng: Generator
) -> DefectLayer:
    """Add folds (from, to, direction of the light); the region includes the visible ones."""
    unit = canvas.frame.unit
    folded = bent.image
    for start, end, toward in folds:
        folded = _fold(canvas, folded, bent.shape, (start, end), rng, toward=toward)
    change = cv2.GaussianBlur(
        largest_channel(np.abs(folded - bent.image)), (0, 0), max(0.5, 2 * unit)
    )
    region = bent.between | (change > _FOLD_LEVELS).astype(np.uint8)
    border = round(16 * unit) + 1
    closed = cv2.morphologyEx(np.pad(region, border), cv2.MORPH_CLOSE, disc(24 * unit))
    return DefectLayer(folded, np.ascontiguousarray(closed[border:-border, border:-border]))


def _fold(
    canvas: Canvas,
    image: Array,
    alpha: Array,
    ends: tuple[Array, Array],
    rng: Generator,
    *,
    toward: float,
) -> Array:
    """A crease between two points: one side of it turned to the light, one away, fading off."""
    step = ends[1] - ends[0]
    length = max(1.0, float(np.hypot(*step)) / canvas.frame.unit)
    along, across = canvas.local(ends[0], float(np.arctan2(step[1], step[0])))
    across = across + rng.normal(0, 0.06) * length * np.sin(np.clip(along / length, 0, 1) * np.pi)
    reach = np.clip(1 - np.abs(along / length - 0.5) * 2, -0.15, 1)
    reach = np.clip((reach + 0.15) * 2.2, 0, 1)
    wide = rng.uniform(7, 26)
    facet = np.clip(across * canvas.frame.unit / 1.5, -1, 1) * np.exp(-np.abs(across) / wide)
    ridge = np.exp(-0.5 * (across / rng.uniform(1.0, 3.0)) ** 2) * rng.uniform(-0.1, 0.14)
    amount = rng.uniform(0.06, 0.19) * np.sign(toward) * np.where(facet < 0, 1.2, 0.8)
    shade = (amount * facet + ridge) * reach * np.clip(alpha * 2 - 0.8, 0, 1)
    luminance = np.maximum(image @ LUMINANCE, 48)[..., None]
    ground = 0.7 * image + 0.3 * luminance
    return image + shade.astype(np.float32)[..., None] * np.maximum(ground, 42)
