"""Batches to learn defects from: real ones, good images, and good ones given a defect.

Which image is drawn, and what is done to it, is decided by `sampling.mixed_order`; here it is done,
on raw batches before they go to the device, and windows around defects are cut. Each image has
random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from capsule_inspection.data.augmentation import generators
from capsule_inspection.data.corruption import SECOND_DEFECT
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.data.pasting import Donor, paste
from capsule_inspection.data.sampling import PAINTED, PASTED, Share, Shares
from capsule_inspection.data.windows import ALONE, Windows
from capsule_inspection.types import GOOD_LABEL

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
        """With `names_images` an image that is given a defect has that defect's class from then on.

        It is given one only, and real defects of all classes are pasted equally often.
        """
        self.windows = windows
        self.seed = seed
        self.pool = pool
        self.labels = labels
        self.donors = donors
        self._lenders: dict[int, list[Donor]] = {}
        for donor in donors:
            self._lenders.setdefault(donor.label, []).append(donor)
        self.names_images = names_images

    def window_at(self, epoch: int) -> tuple[int, int] | None:
        return self.windows.at(epoch)

    def shown_of(self, drawn: int, *, epoch: int, image_size: tuple[int, int]) -> int:
        return self.windows.shown_of(drawn, epoch=epoch, image_size=image_size)

    def spoil(
        self, raw: Mapping[str, Tensor], *, training: bool, epoch: int, share: Share = ALONE
    ) -> dict[str, Tensor]:
        if not training:
            return dict(raw)
        raw = self.windows.of_batch(raw, epoch, share)
        image, mask = raw["image"].numpy().copy(), raw["mask"].numpy().copy()
        centres, label = np.empty((len(image), 2)), raw["label"].clone()
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
                label[n] = label_given(mask[n])
            elif change == PASTED and self.donors:
                label[n] = paste(self._choose_donors(rng), image[n], mask[n], foreground, rng)
            centres[n] = self.windows.place(mask[n], foreground, rng, epoch=epoch)
        mixed = {**raw, "image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}
        cut = self.windows.cut(mixed, centres, epoch)
        if self.names_images:
            cut["label"] = label
        return cut

    def _choose_donors(self, rng: np.random.Generator) -> list[Donor]:
        """All, or those of a class, each as often as any other."""
        if not self.names_images:
            return self.donors
        labels = sorted(self._lenders)
        return self._lenders[labels[int(rng.integers(len(labels)))]]

    def given(self) -> set[int]:
        """The classes of the defects that good images can be given."""
        return {*self._paintable(), *self._lenders}

    def _paintable(self) -> list[int]:
        """The class of each kind that the pool has."""
        if self.pool is None:
            return []
        return [label for kind, label in self.labels.items() if kind in self.pool.kinds]

    def frequencies(self, shares: Shares, counts: Sequence[int]) -> list[float]:
        """How often a training shows each class, the good one first.

        `counts` are the training images of each class.
        """
        painted, pasted, plain = shares.painted, shares.pasted, shares.defects
        if self.pool is None:
            painted, pasted = 0.0, painted + pasted
        paintable = self._paintable()
        real = [label for label, count in enumerate(counts) if label != GOOD_LABEL and count]
        shown = np.zeros(len(counts))
        for labels, share in ((paintable, painted), (self._lenders, pasted), (real, plain)):
            for label in labels:
                shown[label] += share / len(labels)
        if not real:  # others take their place, see mixed_order
            shown /= 1 - plain
        shown[GOOD_LABEL] = 1 - shown.sum()
        found: list[float] = shown.tolist()
        return found

    def _paint(
        self, image: np.ndarray, mask: np.ndarray, row: int, rng: np.random.Generator
    ) -> None:
        assert self.pool is not None
        count = 1 if self.names_images else 1 + int(rng.random() < SECOND_DEFECT)
        self.pool.paint(image, mask, row, rng.random(count).tolist(), labels=self.labels)


def label_given(mask: np.ndarray) -> int:
    """The class that most pixels of a mask (H, W) of class indices show; good where it is empty."""
    return int(np.bincount(mask[mask > 0], minlength=1).argmax())
