"""Adds defects to good training images: synthetic ones, and real ones of other images.

Works on raw batches on the CPU. `samplers.MixtureSampler` chooses the defect of each sample. Each
image has random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from capsule_inspection.data.augmentation import sample_generators
from capsule_inspection.data.copy_paste import CopyPasteSource, paste_defect
from capsule_inspection.data.defect_bank import SyntheticDefectBank
from capsule_inspection.data.samplers import (
    COPY_PASTE,
    SINGLE_PROCESS,
    SYNTHETIC,
    DistributedShard,
    MixtureWeights,
)
from capsule_inspection.data.training_crops import CropSchedule
from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.types import GOOD_LABEL

_STREAM = 2


class DefectAugmentation:
    """Adds the defects of their samples to good images, and crops around them.

    `bank` holds synthetic defects, `labels` the class of each of its types, `sources` real defects
    of training images. Without a bank, real defects replace the synthetic ones. With `relabel` an
    image gets one defect at most, whose class becomes its label, and real defects of all classes
    are pasted equally often.
    """

    def __init__(
        self,
        crops: CropSchedule,
        *,
        seed: int,
        bank: SyntheticDefectBank | None,
        labels: Mapping[str, int],
        sources: list[CopyPasteSource],
        relabel: bool = False,
    ) -> None:
        self.crops = crops
        self.seed = seed
        self.bank = bank
        self.labels = labels
        self.sources = sources
        self.relabel = relabel
        self._sources_by_class: dict[int, list[CopyPasteSource]] = {}
        for source in sources:
            self._sources_by_class.setdefault(source.label, []).append(source)

    def __call__(
        self,
        raw: Mapping[str, Tensor],
        *,
        training: bool,
        epoch: int,
        shard: DistributedShard = SINGLE_PROCESS,
    ) -> dict[str, Tensor]:
        """In training the batch with defects, cropped; in validation the unchanged batch."""
        if not training:
            return dict(raw)
        raw = self.crops.take_used(raw, epoch, shard)
        image, mask = raw["image"].numpy().copy(), raw["mask"].numpy().copy()
        centres, label = np.empty((len(image), 2)), raw["label"].clone()
        rngs = sample_generators(
            seed=self.seed, epoch=epoch, index=raw["index"], repeat=raw["repeat"], stream=_STREAM
        )
        for n, rng in enumerate(rngs):
            foreground, row = raw["foreground"][n].numpy(), int(raw["index"][n])
            added = int(raw["added_defect"][n])
            if added == SYNTHETIC and self.bank is not None:
                self.bank.add_random(
                    image[n], mask[n], row, rng, labels=self.labels, single=self.relabel
                )
                label[n] = dominant_class(mask[n])
            elif added in (SYNTHETIC, COPY_PASTE) and self.sources:
                sources = self._choose_sources(rng)
                label[n] = paste_defect(sources, image[n], mask[n], foreground, rng)
            centres[n] = self.crops.sample_centre(mask[n], foreground, rng, epoch=epoch)
        changed = {**raw, "image": torch.from_numpy(image), "mask": torch.from_numpy(mask)}
        cropped = self.crops.crop(changed, centres, epoch)
        if self.relabel:
            cropped["label"] = label
        return cropped

    def _choose_sources(self, rng: np.random.Generator) -> list[CopyPasteSource]:
        """All sources; with `relabel` those of a random class."""
        if not self.relabel:
            return self.sources
        classes = sorted(self._sources_by_class)
        return self._sources_by_class[classes[int(rng.integers(len(classes)))]]

    def added_classes(self) -> set[int]:
        """The classes of the defects that good images can get."""
        return {*self._synthetic_classes(), *self._sources_by_class}

    def _synthetic_classes(self) -> list[int]:
        """The class of each type in the bank."""
        if self.bank is None:
            return []
        return [label for name, label in self.labels.items() if name in self.bank.type_counts]

    def class_frequencies(self, weights: MixtureWeights, counts: Sequence[int]) -> list[float]:
        """Fraction of each class among the samples of a training, the good one first.

        `counts` are the training images of each class.
        """
        synthetic, copy_paste = weights.synthetic, weights.copy_paste
        if self.bank is None:
            synthetic, copy_paste = 0.0, synthetic + copy_paste
        real = [label for label, count in enumerate(counts) if label != GOOD_LABEL and count]
        frequencies = np.zeros(len(counts))
        for labels, weight in (
            (self._synthetic_classes(), synthetic),
            (self._sources_by_class, copy_paste),
            (real, weights.real),
        ):
            for label in labels:
                frequencies[label] += weight / len(labels)
        if not real:  # other components replace them, see mixture_order
            frequencies /= 1 - weights.real
        frequencies[GOOD_LABEL] = 1 - frequencies.sum()
        found: list[float] = frequencies.tolist()
        return found


def dominant_class(mask: np.ndarray) -> int:
    """The class of most pixels in a mask (H, W) of class indices; good where it is empty."""
    return int(np.bincount(mask[defect_pixels(mask)], minlength=1).argmax())
