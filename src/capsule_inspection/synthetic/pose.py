"""How one capsule lies and is built, and the window of the image that it is rendered into.

Lengths are units (1/800 of the image's side). In the capsule's own frame it lies level, its left
end at x = 0 and its axis at y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capsule_inspection.synthetic.texture import Array, rotation

_MARGIN = 12


@dataclass(frozen=True)
class Pose:
    """Position, roll and build of a capsule; lengths in units, angles in radians.

    `x` and `y` are its centre in the image; `joint`, `number_left` and `name_left` are measured
    from its left end; `tone` is a gain of each colour channel.
    """

    x: float
    y: float
    tilt: float
    half_length: float
    half_width: float
    joint: float
    number_roll: float
    name_roll: float
    number_left: float
    name_left: float
    tone: tuple[float, ...]

    @property
    def length(self) -> float:
        """From end to end."""
        return 2 * self.half_length

    @property
    def joint_x(self) -> float:
        """Where the halves meet, in the image."""
        return self.x - self.half_length + self.joint


def sample_pose(rng: np.random.Generator) -> Pose:
    """Sample the position, the roll of both halves and the small differences between capsules."""
    joint = rng.normal(346, 3.8)
    return Pose(
        x=rng.normal(405, 2.2),
        y=rng.normal(399.5, 1.2),
        tilt=rng.normal(0, 0.0022),
        half_length=rng.normal(341, 1.2),
        half_width=rng.normal(109.8, 0.5),
        joint=joint,
        number_roll=rng.normal(0.03, 0.12),
        name_roll=rng.uniform(-0.2, 1.55) if rng.random() < 0.52 else rng.uniform(1.55, 4.5),
        number_left=joint + rng.normal(41, 3),
        name_left=joint - rng.normal(211, 4),
        tone=tuple((1 + rng.normal(0, 0.012, 3) + rng.normal(0, 0.012)).tolist()),
    )


@dataclass(frozen=True)
class View:
    """A window of the image in the capsule's frame.

    Shapes: x and y (h, w) float32, each pixel's position in the capsule's frame; `window` are the
    rows and columns of the image. `scale` is the number of pixels in a unit.
    """

    pose: Pose
    scale: float
    window: tuple[slice, slice]
    x: Array
    y: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.x.shape[0], self.x.shape[1]

    def to_px(self, points: Array) -> Array:
        """Pixel positions (N, 2) in the window of points (N, 2) in the capsule's frame."""
        centred = np.asarray(points, float) - (self.pose.half_length, 0)
        placed = centred @ rotation(self.pose.tilt).T + (self.pose.x, self.pose.y)
        corner = np.array([self.window[1].start, self.window[0].start])
        return placed * self.scale - 0.5 - corner


def open_view(size_px: int, pose: Pose, *, left: float, right: float) -> View:
    """The window around the part of the capsule between `left` and `right` of its frame."""
    scale = size_px / 800
    start = pose.x - pose.half_length
    columns = _span(start + left, start + right, size_px)
    rows = _span(pose.y - pose.half_width, pose.y + pose.half_width, size_px)
    across = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) / scale - pose.x
    down = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) / scale - pose.y
    x, y = np.meshgrid(across, down)
    along, away = x + y * pose.tilt + pose.half_length, y - x * pose.tilt
    return View(pose, scale, (rows, columns), along, away)


def _span(low: float, high: float, size_px: int) -> slice:
    scale = size_px / 800
    start = max(0, int((low - _MARGIN) * scale))
    return slice(start, min(size_px, int((high + _MARGIN) * scale) + 1))
