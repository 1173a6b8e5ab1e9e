"""Crops of training images: first around defects or the part, later the full images.

Works on raw batches on the CPU.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from capsule_inspection.data.samplers import DistributedShard
from capsule_inspection.metrics.target_masks import defect_pixels

log = logging.getLogger(__name__)

AUTO = "auto"
_MAX_OFFSET = 0.7
"""Range of a crop's centre around its point of interest, as a fraction of the crop's size."""
_MARGIN = 0.15
"""Context around a crop on each side, for augmentation, as a fraction of its size."""
_AUTO_FULL_FROM = 0.5
"""Fraction of the epochs on crops with `task.full_image_from=auto` and an untrained decoder."""
_MIN_EPOCHS_UNTRAINED = 90
"""With an untrained decoder; with 30, masks were poor (docs/experiments/segmentation.md)."""


@dataclass(frozen=True)
class CropSchedule:
    """Training uses a crop of `size` (h, w) in pixels of each image; None for full images.

    From the epoch `full_image_from` on it uses full images, None for never. A batch of full images
    has about as many pixels as one of crops.
    """

    size: tuple[int, int] | None = None
    full_image_from: int | None = None

    def size_at(self, epoch: int) -> tuple[int, int] | None:
        """Size of the crops in an epoch, None for full images."""
        is_full = self.full_image_from is not None and epoch >= self.full_image_from
        return None if is_full else self.size

    def effective_batch_size(
        self, batch_size: int, *, epoch: int, image_size: tuple[int, int]
    ) -> int:
        """The number of used images of a batch: fewer where they are full images."""
        if self.size is None or self.size_at(epoch) is not None:
            return batch_size
        return full_image_batch_size(batch_size, crop_size=self.size, image_size=image_size)

    def take_used(
        self, raw: Mapping[str, Tensor], epoch: int, shard: DistributedShard
    ) -> Mapping[str, Tensor]:
        """The batch, or its first images where full images take the place of crops.

        The number depends on the batch of all processes; each process uses at least one image.
        """
        height, width = raw["mask"].shape[1:]
        own = len(raw["mask"])
        used = self.effective_batch_size(
            own * shard.world_size, epoch=epoch, image_size=(height, width)
        )
        count = max(1, len(range(shard.rank, used, shard.world_size)))
        return raw if count == own else {key: value[:count] for key, value in raw.items()}

    def sample_centre(
        self, mask: np.ndarray, foreground: np.ndarray, rng: Generator, *, epoch: int
    ) -> np.ndarray:
        """Row and column of the centre of an image's crop: around its mask, else on the part."""
        centre = np.array(sample_point(mask, foreground, rng), np.float64)
        size = self.size_at(epoch)
        return centre if size is None else centre + _MAX_OFFSET * (rng.random(2) - 0.5) * size

    def crop(self, raw: Mapping[str, Tensor], centres: np.ndarray, epoch: int) -> dict[str, Tensor]:
        """Cut each image's crop with some context around it; see `crop_around`."""
        size = self.size_at(epoch)
        return dict(raw) if size is None else crop_around(raw, centres, size=size)


FULL_IMAGES = CropSchedule()


def sample_point(mask: np.ndarray, foreground: np.ndarray, rng: Generator) -> tuple[int, int]:
    """Row and column of a random pixel of a defect, else of the foreground, else of the image."""
    for area in (defect_pixels(mask), foreground):
        pixels = np.flatnonzero(area)
        if len(pixels):
            row, column = divmod(int(pixels[rng.integers(len(pixels))]), mask.shape[1])
            return row, column
    return int(rng.integers(mask.shape[0])), int(rng.integers(mask.shape[1]))


def full_image_batch_size(
    batch_size: int, *, crop_size: tuple[int, int] | None, image_size: tuple[int, int]
) -> int:
    """The number of full images with the pixels of a batch of crops; at least one."""
    if crop_size is None:
        return batch_size
    pixels = batch_size * crop_size[0] * crop_size[1]
    return max(1, round(pixels / (image_size[0] * image_size[1])))


def crop_around(
    raw: Mapping[str, Tensor], centres: np.ndarray, *, size: tuple[int, int]
) -> dict[str, Tensor]:
    """Cut a crop and its context from each image, in all arrays of `raw` that have pixels.

    `centres` (N, 2) are rows and columns; a crop beyond an image is moved back into it. Cutting
    comes before augmentation, which then processes a tenth of the pixels.
    """
    height, width = raw["mask"].shape[1:]
    rows, columns = (
        min(side, round(part * (1 + 2 * _MARGIN)))
        for side, part in zip((height, width), size, strict=True)
    )
    top = np.clip(np.rint(centres[:, 0] - rows / 2), 0, height - rows).astype(int)
    left = np.clip(np.rint(centres[:, 1] - columns / 2), 0, width - columns).astype(int)

    def cut(pixels: Tensor) -> Tensor:
        crops = [
            image[y : y + rows, x : x + columns]
            for image, y, x in zip(pixels, top, left, strict=True)
        ]
        return torch.stack(crops)

    return {key: value if value.ndim < 3 else cut(value) for key, value in raw.items()}


def num_epochs(config: DictConfig) -> int:
    """Epochs of a training; those of the task where steps or time limit it instead."""
    limit = config.trainer.max_epochs
    return int(config.task.epochs if limit is None or limit < 0 else limit)


def crop_schedule(config: DictConfig) -> CropSchedule:
    """The crops of a configured training, once `task.full_image_from` is resolved.

    With `data.tiling` these are tiles, in every epoch.
    """
    size = _crop_size(config)
    fraction = config.task.get("full_image_from", 0.0)
    if _is_tiled(config) or fraction == 1:
        return CropSchedule(size)
    return CropSchedule(size, round(fraction * num_epochs(config)))


def input_sizes(config: DictConfig) -> list[list[int]]:
    """The sizes (height, width) of a network's input, in training and in inference."""
    full, size = list(config.data.image_size), _crop_size(config)
    if size is None:
        return [full]
    if _is_tiled(config) or config.task.get("full_image_from") == 1:
        return [list(size)]
    return [list(size), full]


def resolve_full_image_from(config: DictConfig, *, has_pretrained_decoder: bool) -> bool:
    """Resolve `task.full_image_from=auto` in place; returns whether it was `auto`.

    A pretrained decoder segments full images and would unlearn it on crops. An untrained one needs
    more epochs than the default, otherwise a warning is logged.
    """
    if config.task.get("full_image_from") != AUTO:
        return False
    config.task.full_image_from = 0.0 if has_pretrained_decoder else _AUTO_FULL_FROM
    if not has_pretrained_decoder and num_epochs(config) < _MIN_EPOCHS_UNTRAINED:
        log.warning(
            "task.epochs=%d: few for an untrained decoder. Expected task.epochs=%d or more, or "
            "model.weights=synthetic where weights are bundled.",
            num_epochs(config),
            _MIN_EPOCHS_UNTRAINED,
        )
    return True


def _is_tiled(config: DictConfig) -> bool:
    return OmegaConf.select(config, "data.tiling.size") is not None


def _crop_size(config: DictConfig) -> tuple[int, int] | None:
    """Size of crops or tiles, never larger than the image; None for full images."""
    size = config.data.tiling.size if _is_tiled(config) else config.task.get("crop_size")
    if size is None:
        return None
    height, width = config.data.image_size
    return min(size[0], height), min(size[1], width)
