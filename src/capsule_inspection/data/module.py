"""The LightningDataModule of all tasks: cached images to augmented, normalised batches.

The decoded cache is read in the main process (a batch takes about a millisecond); conversion,
augmentation and normalisation happen after the transfer, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from capsule_inspection.data.augmentation import AugmentationSettings, augment, uniform_numbers
from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.progress import Progress
from capsule_inspection.data.samplers import (
    SINGLE_PROCESS,
    DistributedShard,
    EpochSampler,
    MixtureSampler,
    MixtureWeights,
    SampleRef,
)
from capsule_inspection.data.training_crops import CropSchedule
from capsule_inspection.types import (
    IGNORE_INDEX,
    LEFT_OUT,
    TEST,
    TRAIN,
    VAL,
    Batch,
    DataError,
    DataIndex,
    Normalisation,
)


class BatchTransform(Protocol):
    """Corrupts raw batches or adds defects to them, before they go to the device."""

    crops: CropSchedule

    def __call__(
        self, raw: Mapping[str, Tensor], *, training: bool, epoch: int, shard: DistributedShard
    ) -> dict[str, Tensor]:
        """The shard of a batch with changed images and masks. Shapes: see `CachedDataset`."""
        ...


@dataclass(frozen=True)
class BatchSettings:
    """Settings of batches; `batch_size` is the sum over all processes.

    An epoch of training uses each image `repeats` times, and further ones as often as there are
    images in the split `left_out`, unless `count_left_out` is false. Validation uses it
    `val_repeats` times, in batches of `eval_batch_size`, which is `batch_size` where it is None.
    Without `augmentation` images stay as they are, and draw no random numbers. `mixture` replaces
    `sampling` where a batch transform adds defects.
    """

    batch_size: int
    sampling: str
    mixup: float
    seed: int
    channels_last: bool
    augmentation: AugmentationSettings | None
    repeats: int = 1
    val_repeats: int = 1
    eval_batch_size: int | None = None
    mixture: MixtureWeights | None = None
    count_left_out: bool = True


@dataclass(frozen=True, eq=False)
class EvaluationBatch:
    """Images to predict: index (N,) int64 into the data index, inputs see `InferenceModel`."""

    index: np.ndarray
    inputs: dict[str, np.ndarray]


class CachedDataset(Dataset[dict[str, Tensor]]):
    """Raw batches from the decoded cache; indexed by whole batches of samples.

    Returns uint8 image (N, H, W, 3) and mask (N, H, W), with ignored pixels; bool valid, false on
    padding, and foreground (N, H, W); int64 label, index, repeat and added_defect (N,), see
    `samplers.SampleRef`.
    """

    def __init__(self, cache: ImageCache, labels: np.ndarray) -> None:
        self.cache = cache
        self.labels = labels

    def __getitem__(self, ref: SampleRef) -> dict[str, Tensor]:
        return self.__getitems__([ref])

    def __getitems__(self, refs: Sequence[SampleRef]) -> dict[str, Tensor]:
        index = np.array([ref.row for ref in refs], np.int64)
        return {
            "image": torch.from_numpy(self.cache.images[index]),
            "mask": torch.from_numpy(self.cache.masks[index]),
            "valid": torch.from_numpy(self.cache.valid(index)),
            "foreground": torch.from_numpy(self.cache.foregrounds[index] > 0),
            "label": torch.from_numpy(self.labels[index]),
            "index": torch.from_numpy(index),
            "repeat": torch.tensor([ref.repeat for ref in refs]),
            "added_defect": torch.tensor([ref.added_defect for ref in refs]),
        }


class InspectionDataModule(L.LightningDataModule):
    """Batches (`types.Batch`) of each split of a data index."""

    def __init__(
        self,
        index: DataIndex,
        cache: ImageCache,
        *,
        normalisation: Normalisation,
        settings: BatchSettings,
        select: Callable[[str, int], bool] | None = None,
        batch_transform: BatchTransform | None = None,
    ) -> None:
        """`select(split, label)` is true for the images that the task uses; None uses all.

        The `batch_transform` changes the images of training and validation.
        """
        super().__init__()
        self.index = index
        self.settings = settings
        self.labels = np.array([record.label for record in index.samples], np.int64)
        self.splits = np.array([record.split for record in index.samples])
        self.groups = np.array([record.group for record in index.samples])
        self.select = select
        self.batch_transform = batch_transform
        self.dataset = CachedDataset(cache, self.labels)
        self.normalise = v2.Normalize(list(normalisation.mean), list(normalisation.std))
        self.normalisation = normalisation
        self.mixup: v2.MixUp | None = None
        if settings.mixup > 0:  # Zhang et al. 2018
            self.mixup = v2.MixUp(alpha=settings.mixup, num_classes=len(index.classes))

    def indices(self, split: str, *, every_label: bool = False) -> list[int]:
        """Rows of the data index in a split: those that the task uses, or all."""
        members = np.flatnonzero(self.splits == split).tolist()
        if self.select is None or every_label:
            return members
        return [index for index in members if self.select(split, int(self.labels[index]))]

    @cached_property
    def has_ignored(self) -> bool:
        """Whether any mask ignores pixels."""
        return bool((self.dataset.cache.ignored_fraction > 0).any())

    @property
    def samples_per_epoch(self) -> int:
        """Samples of an epoch of training."""
        return self.settings.repeats * (len(self.indices(TRAIN)) + self._num_left_out)

    @property
    def _num_left_out(self) -> int:
        """Images that count for the length of an epoch only."""
        return len(self.indices(LEFT_OUT)) if self.settings.count_left_out else 0

    def num_used_samples(self, epoch: int, *, batches: int) -> int:
        """The number of samples in the first batches of an epoch of training, in all processes.

        Where full images replace crops, only a part of each batch is used.
        """
        size, world_size = self.settings.batch_size, self._shard().world_size
        total = self.samples_per_epoch // world_size * world_size
        counts = [min(size, total - first) for first in range(0, total, size)][:batches]
        if self.batch_transform is None:
            return sum(counts)
        height, width = self.dataset.cache.images.shape[1:3]
        crops = self.batch_transform.crops
        used = [
            crops.effective_batch_size(count, epoch=epoch, image_size=(height, width))
            for count in counts
        ]
        return sum(max(count, world_size) for count in used)

    def class_counts(self, split: str = TRAIN) -> list[int]:
        """Numbers of images of each class in a split, in the order of the classes."""
        labels = self.labels[self.indices(split)]
        counts: list[int] = np.bincount(labels, minlength=len(self.index.classes)).tolist()
        return counts

    def _eval_dataloader(self, split: str, *, repeats: int = 1) -> DataLoader:
        """Each image of a split `repeats` times, in order, without augmentation."""
        refs = [SampleRef(row, repeat) for row in self.indices(split) for repeat in range(repeats)]
        if not refs:
            raise DataError(f"the split has no {split} images. Choose another split.")
        shard = self._shard()
        batch_size = self.settings.eval_batch_size or self.settings.batch_size
        if shard.world_size == 1:
            return self._dataloader(sampler=refs, batch_size=batch_size)
        if len(refs) < shard.world_size:
            raise DataError(
                f"{len(refs)} {split} images are too few for {shard.world_size} processes: set "
                "trainer.devices=1."
            )
        return self._dataloader(batch_sampler=shard.of_evaluation(refs, batch_size=batch_size))

    def train_dataloader(self) -> DataLoader:
        members, shard, settings = self.indices(TRAIN), self._shard(), self.settings
        labels = self.labels[members].tolist()
        shared: dict[str, Any] = {
            "seed": settings.seed,
            "shard": shard,
            "repeats": settings.repeats,
            "num_left_out": self._num_left_out,
        }
        sampler: EpochSampler
        if self.batch_transform is None or self.mixture is None:
            sampler = EpochSampler(members, labels, order=settings.sampling, **shared)
        else:
            height, width = self.dataset.cache.masks.shape[1:]
            crops, batch_size = self.batch_transform.crops, settings.batch_size
            sampler = MixtureSampler(
                members,
                labels,
                weights=self.mixture,
                batch_size=batch_size,
                effective_batch_size=lambda epoch: crops.effective_batch_size(
                    batch_size, epoch=epoch, image_size=(height, width)
                ),
                **shared,
            )
        return self._dataloader(sampler=sampler, batch_size=settings.batch_size // shard.world_size)

    @property
    def mixture(self) -> MixtureWeights | None:
        """Fractions of the samples of an epoch; None where no defects are added."""
        return None if self.batch_transform is None else self.settings.mixture

    def _shard(self) -> DistributedShard:
        if self.trainer is None:
            return SINGLE_PROCESS
        return DistributedShard(self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> DataLoader:
        return self._eval_dataloader(VAL, repeats=self.settings.val_repeats)

    def test_dataloader(self) -> DataLoader:
        return self._eval_dataloader(TEST)

    def evaluation_batches(
        self, split: str, *, every_label: bool = False, progress: Progress | None = None
    ) -> Iterator[EvaluationBatch]:
        """The images of a split in order, neither augmented nor normalised."""
        members = np.array(self.indices(split, every_label=every_label), np.int64)
        size = self.settings.eval_batch_size or self.settings.batch_size
        for first in range(0, len(members), size):
            index = members[first : first + size]
            yield EvaluationBatch(index, self.dataset.cache.model_inputs(index))
            if progress is not None:
                progress(min(first + size, len(members)), len(members))

    def _dataloader(self, **batches: Any) -> DataLoader:  # torch's own argument names
        return DataLoader(self.dataset, collate_fn=lambda batch: batch, num_workers=0, **batches)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer is None or not (self.trainer.training or self.trainer.validating):
            return batch
        return self.transform_raw(batch, training=bool(self.trainer.training), epoch=self._epoch())

    def transform_raw(
        self, raw: Mapping[str, Tensor], *, training: bool, epoch: int
    ) -> Mapping[str, Tensor]:
        """The raw batch, changed by the task's batch transform."""
        if self.batch_transform is None:
            return raw
        return self.batch_transform(raw, training=training, epoch=epoch, shard=self._shard())

    def on_after_batch_transfer(self, batch: Mapping[str, Tensor], dataloader_idx: int) -> Batch:
        training = bool(self.trainer and self.trainer.training)
        return self.transform(batch, training=training, epoch=self._epoch())

    def _epoch(self) -> int:
        return int(self.trainer.current_epoch) if self.trainer else 0

    def transform(self, raw: Mapping[str, Tensor], *, training: bool, epoch: int) -> Batch:
        """A batch for the task from a raw batch on the device."""
        image, mask, valid = self._as_float(raw["image"]), raw["mask"], raw["valid"]
        target = self._as_float(raw["target"]) if "target" in raw else None
        if training and self.settings.augmentation is not None:
            self._seed_batch(raw, epoch)
            uniform = uniform_numbers(
                seed=self.settings.seed, epoch=epoch, index=raw["index"], repeat=raw["repeat"]
            )
            crop_size = None
            if self.batch_transform is not None:  # which has kept some context around the crop
                crop_size = self.batch_transform.crops.size_at(epoch)
            image, mask, valid, target = augment(
                image,
                mask,
                valid,
                uniform.to(image.device),
                self.settings.augmentation,
                target=target,
                crop_size=crop_size,
            )
        batch = Batch(
            image=self.normalise(image),
            label=raw["label"],
            mask=mask,
            index=raw["index"],
            valid=valid,
        )
        if self.has_ignored:
            ignored = mask == IGNORE_INDEX
            batch["ignored"], batch["valid"] = ignored, valid & ~ignored
            batch["mask"] = mask.masked_fill(ignored, 0)
        if target is not None:
            batch["target"] = self.normalise(target)
        if training and self.mixup is not None:
            batch["image"], batch["label_weight"] = self.mixup(batch["image"], batch["label"])
        return batch

    def _as_float(self, image: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) as (N, 3, H, W) in [0, 1]; the cache's layout is channels-last."""
        image = image.permute(0, 3, 1, 2).float().div_(255)
        return image if self.settings.channels_last else image.contiguous()

    def _seed_batch(self, raw: Mapping[str, Tensor], epoch: int) -> None:
        """Make torch's random numbers (mixup, noise, dropout) depend on seed, epoch and images."""
        first = (self.settings.seed, epoch, int(raw["index"][0]), int(raw["repeat"][0]))
        torch.manual_seed(int(np.random.SeedSequence(first).generate_state(1, np.uint64)[0] >> 1))
