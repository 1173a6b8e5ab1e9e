"""Spoiling good images on purpose, for networks that learn to repair them.

Sources: noise, Vincent et al. 2010; cutout, DeVries and Taylor 2017 (arXiv:1708.04552); painted
defects and natural patches come from synthesis by way of painted.py.
On raw batches, before they go to the device; each image has random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from capsule_inspection.data.augmentation import generators
from capsule_inspection.data.painted import PaintedPool

_STREAM = 1
_NOISE_DEVIATION = 0.12
_NOISE_GRAINS = (1, 4, 16)
"""Pixels: fine, middle and coarse noise, one of them for each image."""
_MOST_HOLES = 4
_HOLE_SHARE = (0.05, 0.3)
"""Sides of a hole against those of the image."""
SECOND_DEFECT = 0.3
WINDOW_SHIFT = 0.7
"""Of a window's size: how far what was spoilt lies from its centre at most, on both sides."""
_ROOM = 0.15
"""Of a window's size: what is cut out beyond it on each side, for augmentation to turn and move."""


@dataclass(frozen=True)
class CorruptionSettings:
    """`kind` is none, noise, cutout or painted; `share` of the training images are spoilt.

    In training a `window` (h, w) in pixels of each image is seen, None for the whole; from the
    epoch `whole_from` on the whole, of as many images as have the pixels of a batch of windows.
    """

    kind: str
    share: float
    window: tuple[int, int] | None = None
    whole_from: int | None = None


class Corruption:
    """Spoils raw batches; `pool` holds painted defects, for `kind` painted."""

    def __init__(
        self, settings: CorruptionSettings, *, seed: int, pool: PaintedPool | None = None
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.pool = pool

    def spoil(self, raw: Mapping[str, Tensor], *, training: bool, epoch: int) -> dict[str, Tensor]:
        """The batch with a clean `target`, and image and mask spoilt where the numbers say so.

        In validation every second draw of an image is spoilt, always in the same way. In training
        what comes back is the surroundings of what was spoilt, or else of a point of the part,
        somewhat larger than the window; all arrays alike. Shapes of raw: see `CachedImages`.
        """
        window = self.window_at(epoch) if training else None
        if training and window is None and self.settings.window is not None:
            raw = as_many_pixels(raw, window=self.settings.window)
        image, mask = raw["image"].numpy().copy(), np.zeros_like(raw["mask"].numpy())
        numbers = generators(
            seed=self.seed,
            epoch=epoch if training else 0,
            index=raw["index"],
            draw=raw["draw"],
            stream=_STREAM,
        )
        centres = np.empty((len(image), 2))
        for n, rng in enumerate(numbers):
            chosen = rng.random() < self.settings.share
            if chosen if training else int(raw["draw"][n]) % 2 == 1:
                self._spoil_one(image[n], mask[n], int(raw["index"][n]), rng)
            centres[n] = point_of_interest(mask[n], raw["foreground"][n].numpy(), rng)
            if window is not None:
                centres[n] += WINDOW_SHIFT * (rng.random(2) - 0.5) * window
        spoilt = {
            **raw,
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "target": raw["image"],
        }
        return spoilt if window is None else cut_around(spoilt, centres, window=window)

    def window_at(self, epoch: int) -> tuple[int, int] | None:
        """The part of each image that is seen in an epoch of a training, None for the whole."""
        whole_from = self.settings.whole_from
        return None if whole_from is not None and epoch >= whole_from else self.settings.window

    def _spoil_one(
        self, image: np.ndarray, mask: np.ndarray, row: int, rng: np.random.Generator
    ) -> None:
        if self.settings.kind == "painted":
            assert self.pool is not None
            count = 1 + int(rng.random() < SECOND_DEFECT)
            self.pool.paint(image, mask, row, rng.random(count).tolist())
        elif self.settings.kind == "cutout":
            cut_holes(image, mask, rng)
        elif self.settings.kind == "noise":
            add_noise(image, rng)


def cut_holes(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Fill rectangles with one colour each, in place. Shapes: (H, W, 3) uint8 and (H, W) uint8."""
    height, width = mask.shape
    for _ in range(rng.integers(1, _MOST_HOLES + 1)):
        rows, columns = (
            max(2, round(side * rng.uniform(*_HOLE_SHARE))) for side in (height, width)
        )
        y, x = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        image[y : y + rows, x : x + columns] = rng.integers(0, 256, 3)
        mask[y : y + rows, x : x + columns] = 1


def add_noise(image: np.ndarray, rng: np.random.Generator) -> None:
    """Add Gaussian noise of one of three grains to (H, W, 3) uint8, in place."""
    height, width = image.shape[:2]
    grain = int(rng.choice(_NOISE_GRAINS))
    size = (max(1, height // grain), max(1, width // grain), 3)
    noise = rng.standard_normal(size, np.float32) * np.float32(255 * _NOISE_DEVIATION)
    grown = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    image[:] = np.clip(image + grown, 0, 255)


def point_of_interest(
    mask: np.ndarray, foreground: np.ndarray, rng: np.random.Generator
) -> tuple[int, int]:
    """Row and column of a random pixel of the mask, else of the foreground, else of the image."""
    for area in (mask, foreground):
        places = np.flatnonzero(area)
        if len(places):
            row, column = divmod(int(places[rng.integers(len(places))]), mask.shape[1])
            return row, column
    return int(rng.integers(mask.shape[0])), int(rng.integers(mask.shape[1]))


def as_many_pixels(raw: Mapping[str, Tensor], *, window: tuple[int, int]) -> dict[str, Tensor]:
    """The first images of a batch, as many as have the pixels of its windows; at least one."""
    height, width = raw["mask"].shape[1:]
    count = whole_images(len(raw["mask"]), window=window, image_size=(height, width))
    return {key: value[:count] for key, value in raw.items()}


def whole_images(windows: int, *, window: tuple[int, int], image_size: tuple[int, int]) -> int:
    """How many images have as many pixels as so many windows of them; at least one."""
    return max(1, round(windows * window[0] * window[1] / (image_size[0] * image_size[1])))


def cut_around(
    raw: Mapping[str, Tensor], centres: np.ndarray, *, window: tuple[int, int]
) -> dict[str, Tensor]:
    """The surroundings of a window in each image: all of `raw` that has pixels, cut alike.

    `centres` (N, 2) are rows and columns; what would reach beyond an image is moved back into it.
    Cut before anything is computed: of a window a tenth of an image large, nine tenths need not be
    made into numbers, turned and coloured.
    """
    height, width = raw["mask"].shape[1:]
    rows, columns = (
        min(side, round(part * (1 + 2 * _ROOM)))
        for side, part in zip((height, width), window, strict=True)
    )
    top = np.clip(np.rint(centres[:, 0] - rows / 2), 0, height - rows).astype(int)
    left = np.clip(np.rint(centres[:, 1] - columns / 2), 0, width - columns).astype(int)

    def cut(pixels: Tensor) -> Tensor:
        parts = [
            of_one[y : y + rows, x : x + columns]
            for of_one, y, x in zip(pixels, top, left, strict=True)
        ]
        return torch.stack(parts)

    return {key: value if value.ndim < 3 else cut(value) for key, value in raw.items()}
