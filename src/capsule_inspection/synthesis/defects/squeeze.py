"""Squeeze: the capsule pinched, its outline dented or bent, with creases in the shell.

The capsule is lifted off its paper, bent and laid back: the paper itself does not move.
"""

from __future__ import annotations

import cv2
import numpy as np

from capsule_inspection.synthesis.defects.canvas import Canvas, choose, edge_point
from capsule_inspection.synthesis.texture import Array, blend

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def paint_squeeze(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Squeeze the capsule in one of three ways, about as often as they are seen."""
    return choose((_dent_edge, _pinch, _dent_end), (0.42, 0.33, 0.25), rng)(canvas, rng)


def _dent_edge(canvas: Canvas, rng: np.random.Generator) -> Array:
    """A long edge pushed in, with folds that run together above the dent."""
    frame, unit = canvas.frame, canvas.frame.unit
    point = edge_point(canvas, rng, lighter=0.6)
    inwards = frame.normal * np.sign((frame.centre - point) @ frame.normal)
    depth, reach = rng.uniform(7, 24), rng.uniform(24, 80)
    along, across = canvas.local(point, float(np.arctan2(inwards[1], inwards[0])) - np.pi / 2)
    left, right = rng.uniform(0.5, 1.4, 2) * reach
    place = np.where(along < 0, along / left, along / right)
    push = _hill(place, sharp=rng.uniform(0.9, 1.8)) * _hill(
        np.maximum(across, 0) / (3 * depth + 10)
    )
    image, alpha = _bend(canvas, inwards, depth * push)
    apex = point + inwards * depth * rng.uniform(1.8, 3.4) * unit
    apex = apex + frame.axis * rng.normal(0, 0.2) * reach * unit
    deep = point + inwards * depth * unit
    sign = float(np.sign(inwards[1] or 1))
    for end in (deep - frame.axis * left * 0.9 * unit, deep + frame.axis * right * 0.9 * unit):
        image = _fold(canvas, image, alpha, (end, apex), rng, toward=sign)
    return _fold(canvas, image, alpha, (deep, apex), rng, toward=sign)


def _pinch(canvas: Canvas, rng: np.random.Generator) -> Array:
    """Pressed flat between two fingers: wider at a fold across, narrower beside it."""
    frame, unit = canvas.frame, canvas.frame.unit
    middle = frame.at(rng.uniform(-0.3, 0.45), 0)
    along, across = canvas.local(middle, frame.angle)
    reach = rng.uniform(70, 150)
    wide, narrow = rng.uniform(1, 8), rng.uniform(3, 12)
    profile = np.interp(
        np.abs(along) / reach, (0, 0.45, 0.85, 1.5), (wide, 0, -narrow, 0), right=0
    ).astype(np.float32)
    half = frame.half_width / unit
    taper = np.clip(across / half, -1.1, 1.1)
    image, alpha = _bend(canvas, frame.normal, profile * taper * np.abs(taper))
    top, bottom = (middle + s * frame.normal * frame.half_width for s in (-0.97, 0.97))
    centre = middle + frame.normal * rng.uniform(-0.4, 0.4) * frame.half_width
    image = _fold(canvas, image, alpha, (top, centre), rng, toward=1)
    image = _fold(canvas, image, alpha, (centre, bottom), rng, toward=1)
    for tip in (top, bottom):
        for side in (-1, 1):
            foot = centre + side * frame.axis * reach * rng.uniform(0.3, 0.7) * unit
            if rng.random() < 0.6:
                image = _fold(canvas, image, alpha, (tip, foot), rng, toward=side)
    return image


def _dent_end(canvas: Canvas, rng: np.random.Generator) -> Array:
    """An end pushed in askew, with a step where the shell folds."""
    frame, unit = canvas.frame, canvas.frame.unit
    side = 1 if rng.random() < 0.6 else -1
    turn = rng.uniform(-1.1, 1.1)
    inwards = -(side * np.cos(turn) * frame.axis + np.sin(turn) * frame.normal)
    point = frame.at(side, 0) - side * frame.axis * frame.half_width * (1 - np.cos(turn))
    point = point + frame.normal * np.sin(turn) * frame.half_width
    depth, reach = rng.uniform(10, 26), rng.uniform(26, 60)
    along, across = canvas.local(point, float(np.arctan2(inwards[1], inwards[0])) - np.pi / 2)
    push = _hill(along / reach, sharp=rng.uniform(1.0, 2.5))
    push = push * _hill(np.maximum(across, 0) / (2.2 * depth + 10), sharp=1.5)
    image, alpha = _bend(canvas, inwards, depth * push)
    tangent = np.array([-inwards[1], inwards[0]])
    deep = point + inwards * depth * rng.uniform(1.1, 1.8) * unit
    for way in (-1, 1):
        end = deep + tangent * way * reach * rng.uniform(0.6, 1.1) * unit
        end = end + inwards * rng.normal(0, 6) * unit
        image = _fold(canvas, image, alpha, (end, deep), rng, toward=way)
    return image


def _hill(place: Array, *, sharp: float = 1.0) -> Array:
    """1 at 0, falling smoothly to exactly 0 at about 2; larger `sharp` for a flatter top."""
    bell = np.exp(-0.5 * np.abs(place) ** (1 + sharp))
    return (np.maximum(bell - 0.06, 0) / 0.94).astype(np.float32)


def _bend(canvas: Canvas, direction: Array, shift: Array) -> tuple[Array, Array]:
    """Move the capsule by `shift` units (h, w) along a direction, and lay it on its paper.

    Returns the image and the moved capsule's soft shape (h, w).
    """
    unit = canvas.frame.unit
    shape = cv2.GaussianBlur(canvas.foreground.astype(np.float32), (0, 0), max(0.4, 1.0 * unit))
    near = cv2.dilate(canvas.foreground, _disc(7 * unit))
    paper = _extended(canvas.image, 1 - near)
    paper = np.where(near[..., None] > 0, canvas.regrain(paper, near), canvas.image)
    skin = _extended(canvas.image, cv2.erode(canvas.foreground, _disc(3 * unit)))
    rows, columns = np.indices(canvas.shape, dtype=np.float32)
    shift_px = shift * np.float32(unit)
    maps = columns - shift_px * np.float32(direction[0]), rows - shift_px * np.float32(direction[1])
    skin, shape = (
        cv2.remap(layer, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for layer in (skin, shape)
    )
    moved = np.clip(np.abs(shift_px) * 3, 0, 1)
    return blend(canvas.image, blend(paper, skin, shape), moved), shape


def _disc(radius_px: float) -> Array:
    side = 2 * round(radius_px) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _extended(image: Array, known: Array) -> Array:
    """Image whose unknown pixels (known 0) continue the nearest known ones, coarse to fine."""
    weight = known.astype(np.float32)
    if min(image.shape[:2]) <= 4 or weight.min() > 0:
        return image
    size = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
    sums = cv2.resize(image * weight[..., None], size, interpolation=cv2.INTER_AREA)
    counts = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    means = sums / np.maximum(counts, 1e-3)[..., None]
    coarse = _extended(means, (counts > 0.05).astype(np.uint8))
    fine = cv2.resize(coarse, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.where(weight[..., None] > 0, image, fine)


def _fold(
    canvas: Canvas,
    image: Array,
    alpha: Array,
    ends: tuple[Array, Array],
    rng: np.random.Generator,
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
    ridge = np.exp(-0.5 * (across / rng.uniform(1.0, 3.0)) ** 2) * rng.uniform(-0.08, 0.22)
    amount = rng.uniform(0.06, 0.2) * np.sign(toward) * np.where(facet < 0, 1.2, 0.8)
    shade = (amount * facet + ridge) * reach * np.clip(alpha * 2 - 0.8, 0, 1)
    luminance = np.maximum(image @ _LUMINANCE, 48)[..., None]
    ground = 0.7 * image + 0.3 * luminance
    return image + shade.astype(np.float32)[..., None] * np.maximum(ground, 42)
