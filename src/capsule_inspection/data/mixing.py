"""Batches to learn segmentation from: real defects, good images, and good ones given a defect.

Which image is drawn, and what is done to it, is decided by `sampling.mixed_order`; here it is done,
on raw batches before they go to the device, and windows around defects are cut. Each image has
random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from capsule_inspection.data.augmentation import generators
from capsule_inspection.data.corruption import (
    SECOND_DEFECT,
    WINDOW_SHIFT,
    as_many_pixels,
    cut_around,
    point_of_interest,
)
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.data.pasting import Donor, paste
from capsule_inspection.data.sampling import PAINTED, PASTED

_STREAM = 2


@dataclass(frozen=True)
class MixingSettings:
    """What of each image is seen in training: a `window` (h, w) in pixels, None for the whole.

    From the epoch `whole_from` on the whole, of as many images as have the pixels of a batch of
    windows; None for never.
    """

    window: tuple[int, int] | None
    whole_from: int | None


class DefectMixing:
    """Gives good images the defects that their draws ask for, and cuts windows.

    `pool` holds painted defects, `labels` the class of each of its kinds, `donors` real defects of
    training images, which are pasted instead where there is no pool.
    """

    def __init__(
        self,
        settings: MixingSettings,
        *,
        seed: int,
        pool: PaintedPool | None,
        labels: Mapping[str, int],
        donors: list[Donor],
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.pool = pool
        self.labels = labels
        self.donors = donors

    def window_at(self, epoch: int) -> tuple[int, int] | None:
        whole_from = self.settings.whole_from
        return None if whole_from is not None and epoch >= whole_from else self.settings.window

    def spoil(self, raw: Mapping[str, Tensor], *, training: bool, epoch: int) -> dict[str, Tensor]:
        if not training:
            return dict(raw)
        window = self.window_at(epoch)
        if window is None and self.settings.window is not None:
            raw = as_many_pixels(raw, window=self.settings.window)
        image, mask = raw["image"].numpy().copy(), raw["mask"].numpy().copy()
        centres = np.empty((len(image), 2))
        numbers = generators(
            seed=self.seed, epoch=epoch, index=raw["index"], draw=raw["draw"], stream=_STREAM
        )
        for n, rng in enumerate(numbers):
            foreground, row = raw["foreground"][n].numpy(), int(raw["index"][n])
            change = int(raw["change"][n])
            if change == PAINTED and self.pool is None:
                change = PASTED
            if change == PAINTED:
                self._paint(image[n], mask[n], row, rng)
            elif change == PASTED and self.donors:
                paste(self.donors, image[n], mask[n], foreground, rng)
            centres[n] = point_of_interest(mask[n], foreground, rng)
            if window is not None:
                centres[n] += WINDOW_SHIFT * (rng.random(2) - 0.5) * window
        mixed = {**raw, "image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}
        return mixed if window is None else cut_around(mixed, centres, window=window)

    def _paint(
        self, image: np.ndarray, mask: np.ndarray, row: int, rng: np.random.Generator
    ) -> None:
        assert self.pool is not None
        count = 1 + int(rng.random() < SECOND_DEFECT)
        self.pool.paint(image, mask, row, rng.random(count).tolist(), labels=self.labels)
