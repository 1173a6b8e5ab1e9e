"""Corrupts good images, for networks that learn to repair them (denoising autoencoders).

Sources: noise, Vincent et al. 2010; cutout, DeVries and Taylor 2017 (arXiv:1708.04552); synthetic
defects come from the defect bank. Works on raw batches on the CPU. Each image has random numbers
of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from capsule_inspection.data.augmentation import sample_generators
from capsule_inspection.data.defect_bank import SyntheticDefectBank
from capsule_inspection.data.samplers import SINGLE_PROCESS, DistributedShard
from capsule_inspection.data.training_crops import FULL_IMAGES, CropSchedule
from capsule_inspection.types import IGNORE_INDEX

SYNTHETIC_DEFECTS = "synthetic_defects"
_STREAM = 1
_NOISE_STD = 0.12
_NOISE_GRAINS_PX = (1, 4, 16)
"""Fine, middle and coarse noise, one of them for each image."""
_MAX_HOLES = 4
_HOLE_FRACTION = (0.05, 0.3)
"""Sides of a hole as fractions of those of the image."""


class Corruption:
    """Adds a clean `target` to batches and corrupts a fraction of their images.

    `method` is none, noise, cutout or synthetic_defects; the last needs a `bank`.
    """

    def __init__(
        self,
        method: str,
        *,
        probability: float,
        seed: int,
        crops: CropSchedule = FULL_IMAGES,
        bank: SyntheticDefectBank | None = None,
    ) -> None:
        self.method = method
        self.probability = probability
        self.seed = seed
        self.crops = crops
        self.bank = bank

    def __call__(
        self,
        raw: Mapping[str, Tensor],
        *,
        training: bool,
        epoch: int,
        shard: DistributedShard = SINGLE_PROCESS,
    ) -> dict[str, Tensor]:
        """The batch with a `target`, and corrupted image and mask.

        In validation every second repeat of an image is corrupted, always in the same way. In
        training all arrays are cut to the surroundings of a crop around the corruption, or else
        around a point of the part. Ignored pixels stay so, unless they are corrupted. Shapes of
        raw: see `CachedDataset`.
        """
        if training:
            raw = self.crops.take_used(raw, epoch, shard)
        image, mask = raw["image"].numpy().copy(), raw["mask"].numpy()
        mask = np.where(mask == IGNORE_INDEX, mask, 0)
        rngs = sample_generators(
            seed=self.seed,
            epoch=epoch if training else 0,
            index=raw["index"],
            repeat=raw["repeat"],
            stream=_STREAM,
        )
        centres = np.empty((len(image), 2))
        for n, rng in enumerate(rngs):
            is_chosen = rng.random() < self.probability
            if is_chosen if training else int(raw["repeat"][n]) % 2 == 1:
                self._corrupt(image[n], mask[n], int(raw["index"][n]), rng)
            if training:
                foreground = raw["foreground"][n].numpy()
                centres[n] = self.crops.sample_centre(mask[n], foreground, rng, epoch=epoch)
        corrupted = {
            **raw,
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "target": raw["image"],
        }
        return self.crops.crop(corrupted, centres, epoch) if training else corrupted

    def _corrupt(self, image: np.ndarray, mask: np.ndarray, row: int, rng: Generator) -> None:
        if self.method == SYNTHETIC_DEFECTS:
            assert self.bank is not None
            self.bank.add_random(image, mask, row, rng)
        elif self.method == "cutout":
            cut_holes(image, mask, rng)
        elif self.method == "noise":
            add_noise(image, rng)


def cut_holes(image: np.ndarray, mask: np.ndarray, rng: Generator) -> None:
    """Fill rectangles with one colour each, in place. Shapes: (H, W, 3) uint8 and (H, W) uint8."""
    height, width = mask.shape
    for _ in range(rng.integers(1, _MAX_HOLES + 1)):
        rows, columns = (
            max(2, round(side * rng.uniform(*_HOLE_FRACTION))) for side in (height, width)
        )
        y, x = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        image[y : y + rows, x : x + columns] = rng.integers(0, 256, 3)
        mask[y : y + rows, x : x + columns] = 1


def add_noise(image: np.ndarray, rng: Generator) -> None:
    """Add Gaussian noise of one of three grains to (H, W, 3) uint8, in place."""
    height, width = image.shape[:2]
    grain = int(rng.choice(_NOISE_GRAINS_PX))
    size = (max(1, height // grain), max(1, width // grain), 3)
    noise = rng.standard_normal(size, np.float32) * np.float32(255 * _NOISE_STD)
    resized = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    image[:] = np.clip(image + resized, 0, 255)
