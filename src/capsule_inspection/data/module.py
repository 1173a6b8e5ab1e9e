"""The LightningDataModule of all tasks: cached images to augmented, normalised batches.

The decoded cache is read in the main process (a batch takes about a millisecond); conversion,
augmentation and normalisation happen after the transfer, on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from capsule_inspection.data.augmentation import (
    AugmentationSettings,
    Window,
    augment,
    uniform_numbers,
)
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.sampling import Draw, EpochSampler, Share, Shares, Shown
from capsule_inspection.data.windows import ALONE
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


class Spoiling(Protocol):
    """What a task does to raw batches, before they go to the device."""

    def spoil(
        self, raw: Mapping[str, Tensor], *, training: bool, epoch: int, share: Share = ALONE
    ) -> dict[str, Tensor]:
        """A process's share of a batch with other images and masks. Shapes: see `CachedImages`."""
        ...

    def window_at(self, epoch: int) -> tuple[int, int] | None:
        """The part of each image that is seen in an epoch of a training, None for the whole."""
        ...

    def shown_of(self, drawn: int, *, epoch: int, image_size: tuple[int, int]) -> int:
        """How many images of a training's batch of so many are shown in an epoch."""
        ...


@dataclass(frozen=True)
class BatchSettings:
    """How batches are made; `batch_size` is that of all processes of a training together.

    In training each image is drawn `views` times an epoch, in validation `val_views` times, in
    batches of `eval_batch_size`.
    """

    batch_size: int
    sampling: str
    mixup: float
    seed: int
    channels_last: bool
    augmentation: AugmentationSettings
    views: int = 1
    val_views: int = 1
    eval_batch_size: int | None = None
    """None for that of training."""
    shares: Shares | None = None
    """Of what training is made, instead of by `sampling`, where a corruption mixes it."""


class CachedImages(Dataset[dict[str, Tensor]]):
    """Raw batches from the decoded cache; asked for whole batches of draws.

    Returns uint8 image (N, H, W, 3) and mask (N, H, W), bool valid and foreground (N, H, W), int64
    label, index, draw and change (N,), see `sampling.Draw`.
    """

    def __init__(self, cache: DecodedCache, labels: np.ndarray) -> None:
        self.cache = cache
        self.labels = labels

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        index = np.array([draw.row for draw in draws], np.int64)
        return {
            "image": torch.from_numpy(self.cache.images[index]),
            "mask": torch.from_numpy(self.cache.masks[index]),
            "valid": torch.from_numpy(self.cache.valid(index)),
            "foreground": torch.from_numpy(self.cache.foregrounds[index] > 0),
            "label": torch.from_numpy(self.labels[index]),
            "index": torch.from_numpy(index),
            "draw": torch.tensor([draw.number for draw in draws]),
            "change": torch.tensor([draw.change for draw in draws]),
        }


class InspectionDataModule(L.LightningDataModule):
    """Batches of each stage, as `contracts.Batch`, for one data index with a split."""

    def __init__(
        self,
        index: DataIndex,
        cache: DecodedCache,
        *,
        normalisation: Normalisation,
        settings: BatchSettings,
        select: Callable[[str, int], bool] | None = None,
        corruption: Spoiling | None = None,
    ) -> None:
        """`select(stage, label)` says which images a task uses; None uses all.

        With a `corruption` the images of training and validation are spoilt.
        """
        super().__init__()
        self.index = index
        self.settings = settings
        self.labels = np.array([record.label for record in index.records], np.int64)
        self.stages = np.array([record.split for record in index.records])
        self.select = select
        self.corruption = corruption
        self.dataset = CachedImages(cache, self.labels)
        self.normalise = v2.Normalize(list(normalisation.mean), list(normalisation.std))
        self.normalisation = normalisation
        self.predict_stage = TEST
        self.predict_every_label = False
        self.mix = mixup(settings.mixup, len(index.classes))

    def indices(self, stage: str, *, every_label: bool = False) -> list[int]:
        """Which rows of the data index belong to a stage, of those that the task uses or of all."""
        members = np.flatnonzero(self.stages == stage).tolist()
        if self.select is None or every_label:
            return members
        return [index for index in members if self.select(stage, int(self.labels[index]))]

    @property
    def images_drawn(self) -> int:
        """How many images an epoch of training draws, as many as with those left out."""
        return self.settings.views * (len(self.indices(TRAIN)) + len(self.indices(LEFT_OUT)))

    def images_shown(self, epoch: int, *, batches: int) -> int:
        """How many images so many batches of an epoch of training show, in all processes.

        Fewer than are drawn, where whole images take the place of windows.
        """
        size, processes = self.settings.batch_size, self._share().processes
        drawn = self.images_drawn // processes * processes
        counts = [min(size, drawn - first) for first in range(0, drawn, size)][:batches]
        if self.corruption is None:
            return sum(counts)
        height, width = self.dataset.cache.images.shape[1:3]
        shown = [
            self.corruption.shown_of(count, epoch=epoch, image_size=(height, width))
            for count in counts
        ]
        return sum(max(count, processes) for count in shown)

    def class_counts(self, stage: str = TRAIN) -> list[int]:
        """Images of each class in a stage, in the order of the classes."""
        labels = self.labels[self.indices(stage)]
        counts: list[int] = np.bincount(labels, minlength=len(self.index.classes)).tolist()
        return counts

    def loader(self, stage: str, *, views: int = 1, every_label: bool = False) -> DataLoader:
        """Each image of the stage `views` times, in order, without augmentation."""
        members = self.indices(stage, every_label=every_label)
        draws = [Draw(index, view) for index in members for view in range(views)]
        if not draws:
            raise DataError(f"the split has no {stage} images. Choose another stage or split.")
        share = self._share()
        batch_size = self.settings.eval_batch_size or self.settings.batch_size
        if share.processes == 1:
            return self._loader(sampler=draws, batch_size=batch_size)
        if len(draws) < share.processes:
            raise DataError(
                f"{len(draws)} {stage} images are too few for {share.processes} processes: set "
                "trainer.devices=1."
            )
        return self._loader(batch_sampler=share.of_evaluation(draws, batch_size=batch_size))

    def train_dataloader(self) -> DataLoader:
        members, share, settings = self.indices(TRAIN), self._share(), self.settings
        sampler = EpochSampler(
            members,
            self.labels[members].tolist(),
            kind=settings.sampling,
            seed=settings.seed,
            share=share,
            views=settings.views,
            shares=self.shares,
            shown=self._shown(),
            left_out=len(self.indices(LEFT_OUT)),
        )
        return self._loader(sampler=sampler, batch_size=settings.batch_size // share.processes)

    def _shown(self) -> Shown | None:
        if self.corruption is None or self.shares is None:
            return None
        size, drawn = self.dataset.cache.masks.shape[1:], self.settings.batch_size
        shown_of = self.corruption.shown_of
        return Shown(drawn, lambda epoch: shown_of(drawn, epoch=epoch, image_size=size))

    @property
    def shares(self) -> Shares | None:
        """Of what training is made; None where nothing can be mixed in."""
        return None if self.corruption is None else self.settings.shares

    def _share(self) -> Share:
        if self.trainer is None:
            return Share()
        return Share(self.trainer.global_rank, self.trainer.world_size)

    def val_dataloader(self) -> DataLoader:
        return self.loader(VAL, views=self.settings.val_views)

    def test_dataloader(self) -> DataLoader:
        return self.loader(TEST)

    def predict_dataloader(self) -> DataLoader:
        return self.loader(self.predict_stage, every_label=self.predict_every_label)

    def _loader(self, **batches: Any) -> DataLoader:  # torch's own argument names
        return DataLoader(self.dataset, collate_fn=lambda batch: batch, num_workers=0, **batches)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer is None or not (self.trainer.training or self.trainer.validating):
            return batch
        return self.spoil(batch, training=bool(self.trainer.training), epoch=self._epoch())

    def spoil(
        self, raw: Mapping[str, Tensor], *, training: bool, epoch: int
    ) -> Mapping[str, Tensor]:
        """The raw batch, spoilt where this task wants it."""
        if self.corruption is None:
            return raw
        return self.corruption.spoil(raw, training=training, epoch=epoch, share=self._share())

    def on_after_batch_transfer(self, batch: Mapping[str, Tensor], dataloader_idx: int) -> Batch:
        training = bool(self.trainer and self.trainer.training)
        return self.transform(batch, training=training, epoch=self._epoch())

    def _epoch(self) -> int:
        return int(self.trainer.current_epoch) if self.trainer else 0

    def transform(self, raw: Mapping[str, Tensor], *, training: bool, epoch: int) -> Batch:
        """A raw batch on the device made into what tasks see."""
        image, mask, valid = self._as_float(raw["image"]), raw["mask"], raw["valid"]
        target = self._as_float(raw["target"]) if "target" in raw else None
        foreground = raw["foreground"]
        if training:
            self._seed_batch(raw, epoch)
            uniform = uniform_numbers(
                seed=self.settings.seed, epoch=epoch, index=raw["index"], draw=raw["draw"]
            )
            image, mask, valid, target = augment(
                image,
                mask,
                valid,
                uniform.to(image.device),
                self.settings.augmentation,
                target=target,
                window=self._window(image, epoch),
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
        if not training:
            batch["foreground"] = foreground
        if training and self.mix is not None:
            batch["image"], batch["label_weight"] = self.mix(batch["image"], batch["label"])
        return batch

    def _as_float(self, image: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) as (N, 3, H, W) in [0, 1]; the cache's layout is channels-last."""
        image = image.permute(0, 3, 1, 2).float().div_(255)
        return image if self.settings.channels_last else image.contiguous()

    def _window(self, image: Tensor, epoch: int) -> Window | None:
        """What is shown in training: the middle of what the corruption has cut out, if it has."""
        size = None if self.corruption is None else self.corruption.window_at(epoch)
        return None if size is None else Window(size, image.new_full((len(image), 2), 0.5))

    def _seed_batch(self, raw: Mapping[str, Tensor], epoch: int) -> None:
        """Make torch's random numbers (mixup, noise, dropout) depend on seed, epoch and images."""
        first = (self.settings.seed, epoch, int(raw["index"][0]), int(raw["draw"][0]))
        torch.manual_seed(int(np.random.SeedSequence(first).generate_state(1, np.uint64)[0] >> 1))


def mixup(alpha: float, num_classes: int) -> v2.MixUp | None:
    """Torchvision's mixup (Zhang et al. 2018), or None where alpha is 0."""
    return v2.MixUp(alpha=alpha, num_classes=num_classes) if alpha > 0 else None
