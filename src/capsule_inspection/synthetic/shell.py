"""The capsule's shell: outline, colours of the two halves, prints and reflections.

The curves are levels measured on real images; lengths are units in the capsule's own
frame (see `pose`).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic import prints, reflections
from capsule_inspection.synthetic.pose import Pose, View, open_view
from capsule_inspection.synthetic.texture import Array, blend, fill_shape, smooth_noise

_Y_DARK = (-111, -96, -72, -26, -18, -12, 2, 6, 12, 17, 23, 31, 45, 60, 80, 96, 111)
_DARK = np.array(
    [
        (31, 30, 35), (30, 29, 34), (28, 27, 32), (26.5, 26, 31), (24, 24, 28), (20, 20, 23),
        (21, 21, 23), (26, 26, 28), (26, 26, 28), (23, 22, 25), (20, 20, 23), (18, 18, 21),
        (18, 18, 21), (19, 19, 22), (22, 22, 25), (30, 30, 32), (34, 34, 36),
    ],
    np.float32,
)  # fmt: skip
_DARK_DOME = np.array([29, 28.5, 32.5], np.float32)
_Y_WARM = (-106, -89, -73, -57, -33, -17, -9, -1, 7, 15, 19, 23, 31, 39, 55, 71, 83, 92, 104)
_WARM = np.array(
    [
        (160, 87, 73), (160, 87, 73), (160, 86, 71), (159, 84, 68), (155, 84, 67), (149, 82, 66),
        (144, 79, 63), (141, 78, 62), (144, 82, 66), (142, 82, 66), (136, 76, 60), (132, 72, 56),
        (127, 66, 51), (123, 64, 49), (118, 63, 47), (114, 63, 48), (113, 63, 49), (113, 64, 50),
        (113, 64, 50),
    ],
    np.float32,
)  # fmt: skip
_Y_WARM_DOME, _WARM_DOME = (-104, 104), np.array([(161, 87, 72), (113, 63, 48)], np.float32)
_X_WARM = np.array([346, 356, 366, 380, 440, 516, 556, 590, 606, 620, 640, 660, 685])
_GAIN_WARM = (0.80, 0.86, 0.91, 0.935, 0.945, 0.95, 0.98, 1.01, 1.0, 0.96, 0.90, 0.875, 0.86)
_PAPER = np.array([190, 176, 168], np.float32)
_NUMBER_INK = np.array([104, 88, 88], np.float32)
_NAME_INK = np.array([84, 96, 99], np.float32)
_WARM_RADIUS, _WARM_LIFT = 6.5, 2.5
"""The right half slides into the left: it is thinner, and its axis is higher."""


def add_capsule(image: Array, pose: Pose, rng: Generator) -> Array:
    """Draw the capsule into image, float32 (S, S, 3) levels, in place.

    Returns the foreground, uint8 (S, S) of 0 and 1.
    """
    size_px = image.shape[0]
    coverage = np.zeros((size_px, size_px), np.float32)
    warm_view = open_view(size_px, pose, left=pose.joint - 24, right=pose.length)
    dark_view = open_view(size_px, pose, left=0, right=pose.joint)
    warm = _cover(coverage, warm_view, _warm_outline(pose), softness=1.1)
    dark = _cover(coverage, dark_view, _dark_outline(pose, rng), softness=0.9)
    foreground = (coverage > 0.5).astype(np.uint8)
    depth = cv2.distanceTransform(foreground, cv2.DIST_L2, 3) / np.float32(size_px / 800)
    for view, alpha, render in ((warm_view, warm, _warm_half), (dark_view, dark, _dark_half)):
        image[view.window] = blend(image[view.window], render(view, depth[view.window], rng), alpha)
    return foreground


def _cover(coverage: Array, view: View, outline: Array, *, softness: float) -> Array:
    """Soft shape (h, w) of an outline; also joined to the coverage of the whole image."""
    alpha = fill_shape(view.shape, view.to_px(outline), blur_px=softness * view.scale)
    coverage[view.window] = np.maximum(coverage[view.window], alpha)
    return alpha


def _warm_outline(pose: Pose) -> Array:
    """Outline of the right half, reaching under the left one."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 60)
    dome, half, start = 95.0, pose.half_width - _WARM_RADIUS, pose.joint - 20
    end = np.stack(
        [pose.length - dome + dome * np.cos(turn), half * np.sin(turn) - _WARM_LIFT], axis=1
    )
    top, bottom = (start, -half - _WARM_LIFT - 1.5), (start, half - _WARM_LIFT + 1.0)
    return np.concatenate([[top], end, [bottom]])


def _dark_outline(pose: Pose, rng: Generator) -> Array:
    """Outline of the left half, with the slight step where its cap widens to the joint."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 60)
    dome, half = 108.0, pose.half_width - 1.8
    end = np.stack([dome - dome * np.cos(turn), half * np.sin(turn)], axis=1)
    lip = np.array([(135, half), (160, half + 1.3), (pose.joint, half + 1.8)])
    lip[:, 1] += rng.normal(0, 0.25, 3)
    return np.concatenate([lip[::-1] * (1, -1), end, lip])


def _curve(position: Array, knots: tuple[float, ...], levels: Array) -> Array:
    """Interpolate colours (K, 3) at positions (H, W) through a fine table."""
    fine = np.linspace(knots[0], knots[-1], 512)
    table = np.stack([np.interp(fine, knots, levels[:, c]) for c in range(3)], axis=1)
    step = (knots[-1] - knots[0]) / 511
    index = np.clip((position - knots[0]) / step, 0, 511).astype(np.int32)
    return table.astype(np.float32)[index]


def _warm_half(view: View, depth: Array, rng: Generator) -> Array:
    """Colour of the right half with its print, float32 (h, w, 3).

    Shapes: depth (h, w), distance from the capsule's outline in units.
    """
    pose, x, y = view.pose, view.x, view.y
    swell = np.clip((x - (pose.length - 110)) / 110, 0, 1)
    colour = blend(
        _curve(y, _Y_WARM, _WARM),
        _curve(y, _Y_WARM_DOME, _WARM_DOME),
        np.clip(swell * 2 - 0.5, 0, 1) ** 0.7,
    )
    gain = np.interp(x, _X_WARM + pose.joint - 346, _GAIN_WARM).astype(np.float32)
    gain *= 1 + 0.012 * smooth_noise(view.shape, 40 * view.scale, rng)
    colour = colour * gain[..., None] * np.array(pose.tone, np.float32)
    colour = reflections.add_light(colour, view, reflections.warm_shades(pose, rng), (112, 56, 45))
    colour = reflections.add_light(
        colour, view, reflections.warm_reflections(pose, rng), (165, 104, 84)
    )
    ink = _ink(view, prints.number_texture(), rng, roll=pose.number_roll, left=pose.number_left)
    colour = blend(colour, colour * 0.42 + _NUMBER_INK, ink * 0.93)
    colour = reflections.add_dust(colour, view, rng, left=pose.joint + 12, right=pose.length - 40)
    haze = 0.21 + 0.08 * np.clip(y / 30, 0, 1) + 0.05 * swell
    haze = np.exp(-((depth / 9) ** 1.2)) * haze
    return blend(colour, _PAPER, haze.astype(np.float32))


def _dark_half(view: View, depth: Array, rng: Generator) -> Array:
    """Colour of the left half with its print, float32 (h, w, 3); shapes as for the right one."""
    pose, x, y = view.pose, view.x, view.y
    arc = 78 - 55 * (y / 105) ** 2 - np.clip(y, 0, None) * 0.12
    dome = np.clip(0.5 - (x - arc) / 10, 0, 1)
    colour = blend(_curve(y, _Y_DARK, _DARK), _DARK_DOME, dome)
    facet = np.clip(1 - np.abs(x - arc + 10) / 16, 0, 1) * (np.abs(y) < 70)
    colour += (facet * 3.0)[..., None] + np.float32(rng.normal(-0.5, 1.0))
    colour += rng.normal(0, 0.35, 3).astype(np.float32)
    colour = reflections.add_light(
        colour, view, reflections.dark_reflections(pose, rng), (58, 60, 58)
    )
    ink = _ink(view, prints.name_texture(), rng, roll=pose.name_roll, left=pose.name_left)
    colour = blend(colour, _NAME_INK, ink * 0.85)
    colour = reflections.add_dust(colour, view, rng, left=40, right=pose.joint - 12)
    return colour + (34 * np.exp(-depth / 5.0) + 5 * np.exp(-depth / 18.0))[..., None]


def _ink(view: View, texture: Array, rng: Generator, *, roll: float, left: float) -> Array:
    """Ink (h, w) of a print as it is visible on the rolled capsule."""
    worn = prints.wear_print(texture, rng, wear=rng.beta(1, 3), px_per_unit=view.scale)
    radius = view.pose.half_width - 4
    return np.clip(
        prints.roll_print(worn, view.x, view.y, left=left, roll=roll, radius=radius), 0, 1.2
    )
