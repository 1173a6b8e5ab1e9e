"""Batches to learn defects from: real ones, good images, and good ones given a defect.

Which image is drawn, and what is done to it, is decided by `sampling.mixed_order`; here it is done,
on raw batches before they go to the device, and windows around defects are cut. Each image has
random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from capsule_inspection.data.augmentation import generators
from capsule_inspection.data.corruption import SECOND_DEFECT
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.data.pasting import Donor, paste
from capsule_inspection.data.sampling import PAINTED, PASTED
from capsule_inspection.data.windows import Windows

_STREAM = 2


class DefectMixing:
    """Gives good images the defects that their draws ask for, and cuts windows.

    `pool` holds painted defects, `labels` the class of each of its kinds, `donors` real defects of
    training images, which are pasted instead where there is no pool.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        seed: int,
        pool: PaintedPool | None,
        labels: Mapping[str, int],
        donors: list[Donor],
        names_images: bool = False,
    ) -> None:
        """With `names_images` the label of each image becomes that of the defect it then shows."""
        self.windows = windows
        self.seed = seed
        self.pool = pool
        self.labels = labels
        self.donors = donors
        self.names_images = names_images

    def window_at(self, epoch: int) -> tuple[int, int] | None:
        return self.windows.at(epoch)

    def spoil(self, raw: Mapping[str, Tensor], *, training: bool, epoch: int) -> dict[str, Tensor]:
        if not training:
            return dict(raw)
        raw = self.windows.of_batch(raw, epoch)
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
            centres[n] = self.windows.place(mask[n], foreground, rng, epoch=epoch)
        mixed = {**raw, "image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}
        cut = self.windows.cut(mixed, centres, epoch)
        if self.names_images:
            cut["label"] = labels_seen(cut["mask"], mixed["mask"], raw["label"])
        return cut

    def _paint(
        self, image: np.ndarray, mask: np.ndarray, row: int, rng: np.random.Generator
    ) -> None:
        assert self.pool is not None
        count = 1 if self.names_images else 1 + int(rng.random() < SECOND_DEFECT)
        self.pool.paint(image, mask, row, rng.random(count).tolist(), labels=self.labels)


def labels_seen(shown: Tensor, whole: Tensor, label: Tensor) -> Tensor:
    """The class of each image by what is shown of its mask: the defect that most pixels show.

    Good where all of a mask was cut off; images that never had one keep their label.
    Shapes: shown (N, h, w) and whole (N, H, W), class indices; label (N,). Returns (N,).
    """
    counts = [torch.bincount(mask[mask > 0].long(), minlength=1) for mask in shown.flatten(1)]
    seen = torch.tensor([int(count.argmax()) for count in counts])
    return torch.where((whole > 0).flatten(1).any(1), seen, label)
