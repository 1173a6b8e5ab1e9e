"""The LightningDataModule of all tasks: cached images to augmented, normalised batches.

The decoded cache is read in the main process (a batch takes about a millisecond); conversion,
augmentation and normalisation happen after the transfer, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from capsule_inspection.data.augmentation import AugmentationSettings, augment, uniform_numbers
from capsule_inspection.data.cache import ImageCache
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
    """How batches are made; `batch_size` is that of all processes of a training together.

    In training each image is used `repeats` times an epoch, in validation `val_repeats` times, in
    batches of `eval_batch_size`.
    """

    batch_size: int
    sampling: str
    mixup: float
    seed: int
    channels_last: bool
    augmentation: AugmentationSettings
    repeats: int = 1
    val_repeats: int = 1
    eval_batch_size: int | None = None
    """None for that of training."""
    mixture: MixtureWeights | None = None
    """Replaces `sampling` where a batch transform adds defects."""


@dataclass(frozen=True, eq=False)
class EvaluationBatch:
    """Images to predict: index (N,) int64 into the data index, inputs see `InferenceModel`."""

    index: np.ndarray
    inputs: dict[str, np.ndarray]


class CachedDataset(Dataset[dict[str, Tensor]]):
    """Raw batches from the decoded cache; indexed by whole batches of samples.

    Returns uint8 image (N, H, W, 3) and mask (N, H, W), bool valid and foreground (N, H, W), int64
    label, index, repeat and added_defect (N,), see `samplers.SampleRef`.
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
    """Batches of each stage, as `contracts.Batch`, for one data index with a split."""

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
        """`select(stage, label)` says which images a task uses; None uses all.

        A `batch_transform` changes the images of training and validation.
        """
        super().__init__()
        self.index = index
        self.settings = settings
        self.labels = np.array([record.label for record in index.samples], np.int64)
        self.stages = np.array([record.split for record in index.samples])
        self.select = select
        self.batch_transform = batch_transform
        self.dataset = CachedDataset(cache, self.labels)
        self.normalise = v2.Normalize(list(normalisation.mean), list(normalisation.std))
        self.normalisation = normalisation
        self.mix = mixup(settings.mixup, len(index.classes))

    def indices(self, stage: str, *, every_label: bool = False) -> list[int]:
        """Which rows of the data index belong to a stage, of those that the task uses or of all."""
        members = np.flatnonzero(self.stages == stage).tolist()
        if self.select is None or every_label:
            return members
        return [index for index in members if self.select(stage, int(self.labels[index]))]

    @property
    def samples_per_epoch(self) -> int:
        """How many samples an epoch of training has, as many as with those left out."""
        return self.settings.repeats * (len(self.indices(TRAIN)) + len(self.indices(LEFT_OUT)))

    def num_used_samples(self, epoch: int, *, batches: int) -> int:
        """How many samples so many batches of an epoch of training use, in all processes.

        Fewer than the batches hold, where full images take the place of crops.
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

    def class_counts(self, stage: str = TRAIN) -> list[int]:
        """Images of each class in a stage, in the order of the classes."""
        labels = self.labels[self.indices(stage)]
        counts: list[int] = np.bincount(labels, minlength=len(self.index.classes)).tolist()
        return counts

    def loader(self, stage: str, *, repeats: int = 1, every_label: bool = False) -> DataLoader:
        """Each image of the stage `repeats` times, in order, without augmentation."""
        members = self.indices(stage, every_label=every_label)
        refs = [SampleRef(row, repeat) for row in members for repeat in range(repeats)]
        if not refs:
            raise DataError(f"the split has no {stage} images. Choose another stage or split.")
        shard = self._shard()
        batch_size = self.settings.eval_batch_size or self.settings.batch_size
        if shard.world_size == 1:
            return self._loader(sampler=refs, batch_size=batch_size)
        if len(refs) < shard.world_size:
            raise DataError(
                f"{len(refs)} {stage} images are too few for {shard.world_size} processes: set "
                "trainer.devices=1."
            )
        return self._loader(batch_sampler=shard.of_evaluation(refs, batch_size=batch_size))

    def train_dataloader(self) -> DataLoader:
        members, shard, settings = self.indices(TRAIN), self._shard(), self.settings
        labels = self.labels[members].tolist()
        shared: dict[str, Any] = {
            "seed": settings.seed,
            "shard": shard,
            "repeats": settings.repeats,
            "num_left_out": len(self.indices(LEFT_OUT)),
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
        return self._loader(sampler=sampler, batch_size=settings.batch_size // shard.world_size)

    @property
    def mixture(self) -> MixtureWeights | None:
        """The weights of the training's samples; None where no defects are added."""
        return None if self.batch_transform is None else self.settings.mixture

    def _shard(self) -> DistributedShard:
        if self.trainer is None:
            return SINGLE_PROCESS
        return DistributedShard(self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> DataLoader:
        return self.loader(VAL, repeats=self.settings.val_repeats)

    def test_dataloader(self) -> DataLoader:
        return self.loader(TEST)

    def evaluation_batches(
        self, split: str, *, every_label: bool = False
    ) -> Iterator[EvaluationBatch]:
        """The images of a split in order, as they are predicted: not augmented, not normalised."""
        members = np.array(self.indices(split, every_label=every_label), np.int64)
        size = self.settings.eval_batch_size or self.settings.batch_size
        for first in range(0, len(members), size):
            index = members[first : first + size]
            yield EvaluationBatch(index, self.dataset.cache.model_inputs(index))

    def _loader(self, **batches: Any) -> DataLoader:  # torch's own argument names
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
        """A raw batch on the device made into what tasks see."""
        image, mask, valid = self._as_float(raw["image"]), raw["mask"], raw["valid"]
        target = self._as_float(raw["target"]) if "target" in raw else None
        if training:
            self._seed_batch(raw, epoch)
            uniform = uniform_numbers(
                seed=self.settings.seed, epoch=epoch, index=raw["index"], repeat=raw["repeat"]
            )
            image, mask, valid, target = augment(
                image,
                mask,
                valid,
                uniform.to(image.device),
                self.settings.augmentation,
                target=target,
                crop_size=self._crop_size(epoch),
            )
        batch = Batch(
            image=self.normalise(image),
            label=raw["label"],
            mask=mask,
            index=raw["index"],
            valid=valid,
        )
        if target is not None:
            batch["target"] = self.normalise(target)
        if training and self.mix is not None:
            batch["image"], batch["label_weight"] = self.mix(batch["image"], batch["label"])
        return batch

    def _as_float(self, image: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) as (N, 3, H, W) in [0, 1]; the cache's layout is channels-last."""
        image = image.permute(0, 3, 1, 2).float().div_(255)
        return image if self.settings.channels_last else image.contiguous()

    def _crop_size(self, epoch: int) -> tuple[int, int] | None:
        """The middle of what the batch transform has cut out is used in training."""
        return None if self.batch_transform is None else self.batch_transform.crops.size_at(epoch)

    def _seed_batch(self, raw: Mapping[str, Tensor], epoch: int) -> None:
        """Make torch's random numbers (mixup, noise, dropout) depend on seed, epoch and images."""
        first = (self.settings.seed, epoch, int(raw["index"][0]), int(raw["repeat"][0]))
        torch.manual_seed(int(np.random.SeedSequence(first).generate_state(1, np.uint64)[0] >> 1))


def mixup(alpha: float, num_classes: int) -> v2.MixUp | None:
    """Torchvision's mixup (Zhang et al. 2018), or None where alpha is 0."""
    return v2.MixUp(alpha=alpha, num_classes=num_classes) if alpha > 0 else None
