"""What every defect is painted on: the capsule's part of an image, with its measures.

A unit is 1/680 of the capsule's length, about 1/800 of the side of a usual photograph; positions
on the capsule are (along, across), both -1 to 1 between its ends and between its edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from capsule_inspection.synthetic.texture import Array, blend, grain, grain_strength, smooth_noise
from capsule_inspection.types import DataError

T = TypeVar("T")
_LENGTH_UNITS = 680.0
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


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
    noise of unit deviation for what is painted anew. `window` are the image's rows and columns.
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
        strength = grain_strength(layer @ _LUMINANCE) * alpha * np.float32(gain)
        return layer + self.grain * strength[..., None]

    def local(self, origin: Array, angle: float) -> tuple[Array, Array]:
        """Each pixel's distance (h, w) from a point in units: along a direction, and across it."""
        rows, columns = self.shape
        dx = (np.arange(columns, dtype=np.float32) - np.float32(origin[0]))[None, :]
        dy = (np.arange(rows, dtype=np.float32) - np.float32(origin[1]))[:, None]
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        unit = np.float32(self.frame.unit)
        return (dx * cosine + dy * sine) / unit, (dy * cosine - dx * sine) / unit


@dataclass(frozen=True)
class Spoilt:
    """What a painter makes of a canvas: image float32 (h, w, 3) levels.

    `region` (h, w), nonzero where someone would draw the defect's outline, in place of where it
    shows; for kinds whose real masks are no outline of the visible change.
    """

    image: Array
    region: Array | None = None


def open_canvas(image: Array, foreground: Array, rng: np.random.Generator) -> Canvas:
    """Measure the capsule and cut the window around it.

    Raises DataError where the foreground is empty or not of the image's size.
    """
    if foreground.shape[:2] != image.shape[:2]:
        raise DataError(
            f"foreground is {foreground.shape[1]}x{foreground.shape[0]}, its image is "
            f"{image.shape[1]}x{image.shape[0]}. Give a mask of the image's size."
        )
    rows, columns = np.nonzero(foreground)
    if len(rows) == 0:
        raise DataError(
            "foreground is empty: there is no capsule to paint a defect on. Check how the "
            "foreground was found, or leave this image out."
        )
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
    along, across = centred @ axis, centred @ np.array([-axis[1], axis[0]])
    centre = mean + axis * (along.max() + along.min()) / 2
    centre += np.array([-axis[1], axis[0]]) * (across.max() + across.min()) / 2
    half_length = max(1.0, float(np.ptp(along) + 1) / 2)
    half_width = max(1.0, float(np.ptp(across) + 1) / 2)
    return Frame(centre, axis, half_length, half_width, 2 * half_length / _LENGTH_UNITS)


def pick_point(
    canvas: Canvas, rng: np.random.Generator, *, lighter: float = 0.7, reach: float = 0.8
) -> Array:
    """A random pixel position (2,) well on the capsule.

    `lighter` is the chance that it lies on the lighter half, where most real defects are seen;
    `reach` keeps it from the edges, 1 being the edge.
    """
    frame = canvas.frame
    left, right = (canvas.colour_at(frame.at(s, 0.3), radius=20).sum() for s in (-0.45, 0.45))
    side = (1 if right >= left else -1) * (1 if rng.random() < lighter else -1)
    for _ in range(40):
        point = frame.at(side * rng.uniform(0.08, 0.92), rng.uniform(-reach, reach))
        if canvas.is_inside(point):
            return point
    return frame.at(0, 0)


def edge_point(canvas: Canvas, rng: np.random.Generator, *, lighter: float = 0.7) -> Array:
    """A random pixel position (2,) on one of the capsule's long edges."""
    frame = canvas.frame
    along = pick_point(canvas, rng, lighter=lighter, reach=0.3)
    step = frame.normal * (1 if rng.random() < 0.5 else -1) * max(0.5, frame.unit)
    point = along
    for _ in range(int(2 * frame.half_width / max(0.5, frame.unit)) + 2):
        if not canvas.is_inside(point + step):
            break
        point = point + step
    return point


def without_print(canvas: Canvas) -> Array:
    """The capsule as it would look unprinted: float32 (h, w, 3), smooth along its axis.

    Light strokes narrower than a digit are opened away along the axis.
    """
    unit = canvas.frame.unit
    length = 2 * round(30 * unit) + 1
    size = (length, 1) if abs(canvas.frame.axis[0]) >= abs(canvas.frame.axis[1]) else (1, length)
    smooth = cv2.GaussianBlur(canvas.image, (0, 0), max(0.5, 1.6 * unit))
    opened = cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones(size[::-1], np.uint8))
    return cv2.GaussianBlur(opened + 0.8, (0, 0), max(0.5, 1.5 * unit))


def mottle(
    canvas: Canvas, rng: np.random.Generator, *, size: float, amount: float, centre: float = 1.0
) -> Array:
    """Factor (h, w) around `centre` with lumps of `size` units and a deviation of `amount`."""
    sigma = max(0.8, size * canvas.frame.unit)
    return centre + np.float32(amount) * smooth_noise(canvas.shape, sigma, rng)


def streaks(
    canvas: Canvas, rng: np.random.Generator, angle: float, *, width: float, length: float
) -> Array:
    """Noise (h, w) of about unit deviation drawn out along a direction; lengths in units."""
    along, across = canvas.local(canvas.frame.centre, angle)
    grid = rng.standard_normal((128, 128), dtype=np.float32)
    return cv2.remap(
        grid,
        np.mod(along / np.float32(length) + 200, 120) + 4,
        np.mod(across / np.float32(width) + 200, 120) + 4,
        cv2.INTER_CUBIC,
    )


def largest_channel(image: Array) -> Array:
    """The largest of three channels, (h, w, 3) to (h, w); several times as fast as max(axis=2)."""
    red, green, blue = cv2.split(image)
    return cv2.max(cv2.max(red, green), blue)


def disc(diameter_px: float) -> Array:
    """A round kernel, uint8, of an odd side of at least 1."""
    side = 2 * round(diameter_px / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def choose(options: Sequence[T], chances: Sequence[float], rng: np.random.Generator) -> T:
    """One of the options, each with its chance; chances sum to 1."""
    return options[int(rng.choice(len(options), p=chances))]


def shifted(alpha: Array, dx: float, dy: float) -> Array:
    """A layer (h, w) moved by a part of pixels."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(alpha, matrix, (alpha.shape[1], alpha.shape[0]), flags=cv2.INTER_LINEAR)


def emboss(canvas: Canvas, image: Array, alpha: Array, colour: Array, *, height: float) -> Array:
    """Light above a shape and shade below it, `height` units wide, as under a lamp from above."""
    reach = height * canvas.frame.unit
    soft = cv2.GaussianBlur(alpha, (0, 0), max(0.4, 0.5 * reach))
    light = np.clip(shifted(soft, -0.2 * reach, -reach) - soft, 0, 1)
    shade = np.clip(shifted(soft, 0.3 * reach, reach) - soft, 0, 1)
    image = blend(image, colour * 0.55, shade * 0.75)
    return blend(image, np.minimum(colour * 1.1 + 45, 240), light * 0.7)


def find_joint(canvas: Canvas) -> float:
    """Position along the axis, -1 to 1, where the colour changes most in the middle part."""
    places = np.linspace(-0.4, 0.4, 61)
    colours = np.array([canvas.colour_at(canvas.frame.at(p, 0.45), radius=4) for p in places])
    change = np.abs(colours[2:] - colours[:-2]).sum(axis=1)
    return float(places[1:-1][np.argmax(change)])
