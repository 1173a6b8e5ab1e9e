"""The canvas on which defects are rendered: the window around the capsule, with its measures.

A unit is 1/680 of the capsule's length, about 1/800 of the side of a usual image; positions on the
capsule are (along, across), both -1 to 1 between its ends and between its edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.random import Generator

from capsule_inspection.synthetic.texture import (
    LUMINANCE,
    Array,
    blend,
    disc,
    grain,
    grain_strength,
    shift_layer,
    smooth_noise,
)

T = TypeVar("T")
_LENGTH_UNITS = 680.0


@dataclass(frozen=True)
class Frame:
    """The capsule's own frame: centre (2,) in pixels, unit vector (2,) along it, half extents.

    `unit` is the number of pixels in a unit.
    """

    centre: Array
    axis: Array
    half_length: float
    half_width: float
    unit: float

    @property
    def normal(self) -> Array:
        """Unit vector (2,) across the capsule."""
        return np.array([-self.axis[1], self.axis[0]])

    @property
    def angle(self) -> float:
        """Direction of the axis in radians."""
        return float(np.arctan2(self.axis[1], self.axis[0]))

    def at(self, along: float, across: float) -> Array:
        """Pixel position (2,) of a position on the capsule."""
        return (
            self.centre
            + along * self.half_length * self.axis
            + across * self.half_width * self.normal
        )


@dataclass(frozen=True)
class Canvas:
    """The window of an image around its capsule.

    Shapes: image float32 (h, w, 3) levels; foreground uint8 (h, w) of 0 and 1; grain (h, w, 3),
    noise of unit deviation for new surfaces. `window` are the image's rows and columns.
    """

    image: Array
    foreground: Array
    grain: Array
    frame: Frame
    window: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the window in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def is_inside(self, point: Array) -> bool:
        """Whether a pixel position (2,) lies on the capsule."""
        x, y = (round(float(v)) for v in point)
        inside = 0 <= x < self.shape[1] and 0 <= y < self.shape[0]
        return inside and bool(self.foreground[y, x])

    def colour_at(self, point: Array, *, radius: float = 12.0) -> Array:
        """Median colour (3,) of the capsule around a pixel position, `radius` in units."""
        reach = max(1, round(radius * self.frame.unit))
        x, y = (round(float(v)) for v in point)
        rows = slice(max(0, y - reach), max(1, y + reach + 1))
        columns = slice(max(0, x - reach), max(1, x + reach + 1))
        pixels = self.image[rows, columns][self.foreground[rows, columns] > 0]
        return np.median(pixels, axis=0) if len(pixels) else self.image.mean(axis=(0, 1))

    def regrain(self, layer: Array, alpha: Array) -> Array:
        """Add the camera's grain to a layer (h, w, 3) where alpha (h, w) covers the image."""
        gain = min(1.0, 0.4 + 0.6 * self.frame.unit)
        strength = grain_strength(layer @ LUMINANCE) * alpha * np.float32(gain)
        return layer + self.grain * strength[..., None]

    def keep_inside(self, image: Array, *, slack: float = 0.0) -> Array:
        """Undo changes farther than `slack` units outside of the capsule."""
        allowed = cv2.dilate(self.foreground, disc(2 * slack * self.frame.unit))
        return np.where(allowed[..., None] > 0, image, self.image)

    def local(self, origin: Array, angle: float) -> tuple[Array, Array]:
        """Each pixel's distance (h, w) from a point in units: along a direction, and across it."""
        rows, columns = self.shape
        dx = (np.arange(columns, dtype=np.float32) - np.float32(origin[0]))[None, :]
        dy = (np.arange(rows, dtype=np.float32) - np.float32(origin[1]))[:, None]
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        unit = np.float32(self.frame.unit)
        return (dx * cosine + dy * sine) / unit, (dy * cosine - dx * sine) / unit

    def sample_side(self, rng: Generator, *, lighter: float) -> int:
        """Side of the axis, -1 or 1: that of the lighter half with the chance `lighter`.

        Most real defects lie on the lighter half.
        """
        left, right = (
            self.colour_at(self.frame.at(side, 0.3), radius=20).sum() for side in (-0.45, 0.45)
        )
        return (1 if right >= left else -1) * (1 if rng.random() < lighter else -1)

    def sample_point(self, rng: Generator, *, lighter: float = 0.7, reach: float = 0.8) -> Array:
        """A random pixel position (2,) well on the capsule.

        `lighter` is the chance of the lighter half; `reach` keeps off the edges, 1 being the edge.
        """
        side = self.sample_side(rng, lighter=lighter)
        for _ in range(40):
            point = self.frame.at(side * rng.uniform(0.08, 0.92), rng.uniform(-reach, reach))
            if self.is_inside(point):
                return point
        return self.frame.at(0, 0)

    def sample_edge_point(self, rng: Generator, *, lighter: float = 0.7) -> Array:
        """A random pixel position (2,) on one of the capsule's long edges."""
        frame = self.frame
        point = self.sample_point(rng, lighter=lighter, reach=0.3)
        step = frame.normal * (1 if rng.random() < 0.5 else -1) * max(0.5, frame.unit)
        for _ in range(int(2 * frame.half_width / max(0.5, frame.unit)) + 2):
            if not self.is_inside(point + step):
                break
            point = point + step
        return point

    def find_joint(self) -> float:
        """Position along the axis, -1 to 1, where the colour changes most in the middle part."""
        positions = np.linspace(-0.4, 0.4, 61)
        colours = np.array([self.colour_at(self.frame.at(p, 0.45), radius=4) for p in positions])
        change = np.abs(colours[2:] - colours[:-2]).sum(axis=1)
        return float(positions[1:-1][np.argmax(change)])

    def remove_print(self) -> Array:
        """The capsule without its print: float32 (h, w, 3), smooth along its axis.

        Light strokes narrower than a digit are opened away along the axis.
        """
        unit = self.frame.unit
        length = 2 * round(30 * unit) + 1
        size = (length, 1) if abs(self.frame.axis[0]) >= abs(self.frame.axis[1]) else (1, length)
        smooth = cv2.GaussianBlur(self.image, (0, 0), max(0.5, 1.6 * unit))
        opened = cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones(size[::-1], np.uint8))
        return cv2.GaussianBlur(opened + 0.8, (0, 0), max(0.5, 1.5 * unit))

    def mottle(self, rng: Generator, *, size: float, amount: float, centre: float = 1.0) -> Array:
        """Factor (h, w) around `centre` with lumps of `size` units and a deviation of `amount`."""
        sigma = max(0.8, size * self.frame.unit)
        return centre + np.float32(amount) * smooth_noise(self.shape, sigma, rng)

    def streaks(self, rng: Generator, angle: float, *, width: float, length: float) -> Array:
        """Noise (h, w) of about unit deviation drawn out along a direction; lengths in units."""
        along, across = self.local(self.frame.centre, angle)
        grid = rng.standard_normal((128, 128), dtype=np.float32)
        return cv2.remap(
            grid,
            np.mod(along / np.float32(length) + 200, 120) + 4,
            np.mod(across / np.float32(width) + 200, 120) + 4,
            cv2.INTER_CUBIC,
        )

    def emboss(self, image: Array, alpha: Array, colour: Array, *, height: float) -> Array:
        """Light above a shape and shade below it, `height` units wide: the lamp is above."""
        reach = height * self.frame.unit
        soft = cv2.GaussianBlur(alpha, (0, 0), max(0.4, 0.5 * reach))
        light = np.clip(shift_layer(soft, -0.2 * reach, -reach) - soft, 0, 1)
        shade = np.clip(shift_layer(soft, 0.3 * reach, reach) - soft, 0, 1)
        image = blend(image, colour * 0.55, shade * 0.75)
        return blend(image, np.minimum(colour * 1.1 + 45, 240), light * 0.7)


@dataclass(frozen=True)
class DefectLayer:
    """A canvas with a defect: image float32 (h, w, 3) levels.

    `region` (h, w) is nonzero where an annotator would outline the defect, for types whose real
    masks are no outline of the visible change; None for the visible change.
    """

    image: Array
    region: Array | None = None


def open_canvas(image: Array, foreground: Array, rng: Generator) -> Canvas:
    """Measure the capsule and cut the window around it. The foreground is not empty."""
    rows, columns = np.nonzero(foreground)
    margin = round(0.06 * max(np.ptp(rows), np.ptp(columns))) + 4
    top, left = max(0, int(rows.min()) - margin), max(0, int(columns.min()) - margin)
    window = (
        slice(top, int(rows.max()) + margin + 1),
        slice(left, int(columns.max()) + margin + 1),
    )
    inner = (foreground[window] > 0).astype(np.uint8)
    frame = _measure(columns - left, rows - top)
    noise = grain((inner.shape[0], inner.shape[1]), rng, sigma_px=0.78 * min(frame.unit, 1.3))
    return Canvas(image[window].astype(np.float32), inner, noise, frame, window)


def _measure(x: Array, y: Array) -> Frame:
    """Principal axis and extents of the foreground's pixels; the axis points right (or down)."""
    points = np.stack([x, y], axis=1).astype(float)
    mean = points.mean(axis=0)
    centred = points - mean
    _, vectors = np.linalg.eigh(centred.T @ centred / len(points) + np.eye(2) * 1e-9)
    axis = vectors[:, 1]
    if np.ptp(x) == np.ptp(y):
        axis = np.array([1.0, 0.0])
    if axis[np.argmax(np.abs(axis))] < 0:
        axis = -axis
    normal = np.array([-axis[1], axis[0]])
    along, across = centred @ axis, centred @ normal
    centre = mean + axis * (along.max() + along.min()) / 2
    centre += normal * (across.max() + across.min()) / 2
    half_length = max(1.0, float(np.ptp(along) + 1) / 2)
    half_width = max(1.0, float(np.ptp(across) + 1) / 2)
    return Frame(centre, axis, half_length, half_width, 2 * half_length / _LENGTH_UNITS)


def choose(options: Sequence[T], chances: Sequence[float], rng: Generator) -> T:
    """One of the options, each with its chance; chances sum to 1."""
    return options[int(rng.choice(len(options), p=chances))]
