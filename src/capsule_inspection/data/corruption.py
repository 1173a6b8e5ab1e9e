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
from capsule_inspection.data.sampling import Share
from capsule_inspection.data.windows import ALONE, WHOLE_IMAGES, Windows

_STREAM = 1
_NOISE_DEVIATION = 0.12
_NOISE_GRAINS = (1, 4, 16)
"""Pixels: fine, middle and coarse noise, one of them for each image."""
_MOST_HOLES = 4
_HOLE_SHARE = (0.05, 0.3)
"""Sides of a hole against those of the image."""
SECOND_DEFECT = 0.3


@dataclass(frozen=True)
class CorruptionSettings:
    """`kind` is none, noise, cutout or painted; `share` of the training images are spoilt."""

    kind: str
    share: float
    windows: Windows = WHOLE_IMAGES


class Corruption:
    """Spoils raw batches; `pool` holds painted defects, for `kind` painted."""

    def __init__(
        self, settings: CorruptionSettings, *, seed: int, pool: PaintedPool | None = None
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.pool = pool

    def spoil(
        self, raw: Mapping[str, Tensor], *, training: bool, epoch: int, share: Share = ALONE
    ) -> dict[str, Tensor]:
        """The batch with a clean `target`, and image and mask spoilt where the numbers say so.

        In validation every second draw of an image is spoilt, always in the same way. In training
        what comes back is the surroundings of what was spoilt, or else of a point of the part,
        somewhat larger than the window; all arrays alike. Shapes of raw: see `CachedImages`.
        """
        windows = self.settings.windows
        if training:
            raw = windows.of_batch(raw, epoch, share)
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
            if training:
                foreground = raw["foreground"][n].numpy()
                centres[n] = windows.place(mask[n], foreground, rng, epoch=epoch)
        spoilt = {
            **raw,
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "target": raw["image"],
        }
        return windows.cut(spoilt, centres, epoch) if training else spoilt

    def window_at(self, epoch: int) -> tuple[int, int] | None:
        return self.settings.windows.at(epoch)

    def shown_of(self, drawn: int, *, epoch: int, image_size: tuple[int, int]) -> int:
        return self.settings.windows.shown_of(drawn, epoch=epoch, image_size=image_size)

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
