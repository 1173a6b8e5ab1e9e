"""The two prints of a capsule, drawn with strokes and rolled onto its cylinder.

No font needs to be installed. A print is a float32 texture of ink in [0, 1], one
texel a unit (a unit is 1/800 of the image's side) times `_OVERSAMPLING`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from capsule_inspection.synthetic.texture import smooth_noise

_OVERSAMPLING = 4
_MARGIN = 8

_NUMBER_SIZE, _NAME_SIZE = (184, 66), (196, 58)
"""Width and height in units of "500", and of the name with its arc."""


@dataclass(frozen=True)
class Ink:
    """Ink of one print, float32 in [0, 1.2], at a resolution."""

    texture: np.ndarray
    texels_per_unit: float


@lru_cache(maxsize=1)
def number_texture() -> np.ndarray:
    """Ink of "500" in heavy digits."""
    canvas = _canvas(_NUMBER_SIZE)
    _five(canvas, 0.0)
    for left in (63.0, 130.0):
        _polygon(canvas, _superellipse(left + 26, 33, 25.5, 32, 2.5), 255)
        _polygon(canvas, _superellipse(left + 26, 33, 9.5, 15, 2.4), 0)
    return canvas.astype(np.float32) / 255


@lru_cache(maxsize=1)
def name_texture() -> np.ndarray:
    """Ink of the name in wide slanted letters, with the arc over its beginning."""
    canvas = _canvas(_NAME_SIZE)
    _arc(canvas)
    left = 40.0
    for letter, advance in zip("actavis", (25, 23, 17, 25, 24, 13, 23), strict=True):
        for stroke in _LETTERS[letter]:
            _polyline(canvas, _slant(np.array(stroke, float) * (20, 26) + (left, 29)), 6.6)
        left += advance
    return canvas.astype(np.float32) / 255


def wear_print(
    texture: np.ndarray, rng: np.random.Generator, *, wear: float, px_per_unit: float
) -> Ink:
    """Give ink its mottle, ragged edges and, with `wear` in [0, 1], thin places.

    `px_per_unit` is the image's resolution: where it is low, the texture is made coarser first.
    """
    detail = float(np.clip(_OVERSAMPLING / 2 * px_per_unit, 0.5, _OVERSAMPLING))
    if detail < _OVERSAMPLING:
        factor = detail / _OVERSAMPLING
        texture = cv2.resize(texture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    shape = (texture.shape[0], texture.shape[1])
    edge = cv2.GaussianBlur(texture, (0, 0), max(0.3, 1.2 * detail))
    ragged = edge - 0.5 + 0.08 * smooth_noise(shape, 1.6 * detail, rng)
    mottle = 1 + 0.05 * smooth_noise(shape, 1.2 * detail, rng)
    thin = np.clip(smooth_noise(shape, 7 * detail, rng) - 1.9 + 0.5 * wear, 0, 1) * wear
    worn = (np.clip(ragged * 1.45 + 0.5, 0, 1) * mottle * (1 - thin)).astype(np.float32)
    return Ink(worn, detail)


def roll_print(
    ink: Ink, x: np.ndarray, y: np.ndarray, *, left: float, roll: float, radius: float
) -> np.ndarray:
    """Visible ink at positions x and y (H, W), both in units, y measured from the capsule's axis.

    `roll` is the angle of the print's middle in radians, 0 towards the camera,
    positive downwards. Ink beyond the outline is not visible.
    """
    if abs(roll) > np.pi / 2 + 0.4:
        return np.zeros(x.shape, np.float32)
    turn = np.arcsin(np.clip(y / radius, -1, 1))
    texture, detail = ink.texture, ink.texels_per_unit
    along = (x - left + _MARGIN) * detail - 0.5
    across = (turn - roll) * radius * detail + texture.shape[0] / 2 - 0.5
    visible = cv2.remap(
        texture,
        along.astype(np.float32),
        across.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return visible * np.maximum(np.cos(turn), 0) ** np.float32(0.3)


_LETTERS: dict[str, list[list[tuple[float, float]]]] = {
    "a": [
        [(0.1, 0.12), (0.78, 0.12), (0.95, 0.3), (0.95, 0.92)],
        [(0.95, 0.5), (0.3, 0.5), (0.08, 0.6), (0.08, 0.82), (0.25, 0.92), (0.95, 0.92)],
    ],
    "c": [[(0.95, 0.12), (0.3, 0.12), (0.06, 0.32), (0.06, 0.72), (0.3, 0.92), (0.95, 0.92)]],
    "t": [[(0.22, -0.15), (0.22, 0.75), (0.38, 0.92), (0.65, 0.92)], [(0.1, 0.12), (0.65, 0.12)]],
    "v": [[(0.0, 0.1), (0.45, 0.92), (0.95, 0.1)]],
    "i": [[(0.2, 0.12), (0.2, 0.92)], [(0.2, -0.22), (0.2, -0.2)]],
    "s": [
        [(0.95, 0.12), (0.25, 0.12), (0.08, 0.25), (0.25, 0.5), (0.75, 0.52), (0.92, 0.75)],
        [(0.92, 0.75), (0.75, 0.92), (0.05, 0.92)],
    ],
}


def _canvas(size: tuple[int, int]) -> np.ndarray:
    width, height = ((side + 2 * _MARGIN) * _OVERSAMPLING for side in size)
    return np.zeros((height, width), np.uint8)


def _texels(points: np.ndarray) -> np.ndarray:
    return np.rint((np.asarray(points, float) + _MARGIN) * _OVERSAMPLING).astype(np.int32)


def _polygon(canvas: np.ndarray, points: np.ndarray, value: int) -> None:
    cv2.fillPoly(canvas, [_texels(points)], value, cv2.LINE_AA)


def _polyline(canvas: np.ndarray, points: np.ndarray, width: float) -> None:
    thickness = max(1, round(width * _OVERSAMPLING))
    cv2.polylines(canvas, [_texels(points)], isClosed=False, color=255, thickness=thickness)


def _superellipse(x: float, y: float, rx: float, ry: float, power: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    cosine, sine = np.cos(turn), np.sin(turn)
    bend = 2 / power
    across = x + rx * np.sign(cosine) * np.abs(cosine) ** bend
    down = y + ry * np.sign(sine) * np.abs(sine) ** bend
    return np.stack([across, down], axis=1)


def _five(canvas: np.ndarray, left: float) -> None:
    bowl = _superellipse(left + 23, 45, 25, 21, 2.3)
    _polygon(canvas, bowl, 255)
    counter = _superellipse(left + 20, 45.5, 9.5, 7.0, 2.2)
    _polygon(canvas, counter, 0)
    notch = np.array([(left - 4, 40), (left + 14, 40), (left + 14, 49), (left - 4, 46)])
    _polygon(canvas, notch, 0)
    stem = np.array([(2, 0), (45, 0), (45, 15), (19, 15), (18, 27), (14, 38), (1, 37)], float)
    _polygon(canvas, stem + np.array([left, 0]), 255)


def _slant(points: np.ndarray) -> np.ndarray:
    points = points.copy()
    points[:, 0] += (55 - points[:, 1]) * 0.16
    return points


def _arc(canvas: np.ndarray) -> None:
    turn = np.linspace(np.radians(130), np.radians(338), 60)
    outer = np.stack([35 + 34 * np.cos(turn), 31 + 29 * np.sin(turn)], axis=1)
    inner = np.stack([40 + 29 * np.cos(turn[::-1]), 35 + 22 * np.sin(turn[::-1])], axis=1)
    _polygon(canvas, np.concatenate([outer, inner]), 255)
    turn = np.linspace(np.radians(165), np.radians(262), 30)
    upper = np.stack([52 + 34 * np.cos(turn), 50 + 29 * np.sin(turn)], axis=1)
    lower = np.stack([56 + 32 * np.cos(turn[::-1]), 54 + 27 * np.sin(turn[::-1])], axis=1)
    _polygon(canvas, np.concatenate([upper, lower]), 255)
