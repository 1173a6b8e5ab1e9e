"""A training of ours, in this process, from the same parts and in the same order as train.py.

Differs from workflows/train.py: no record, no final figures, and a clock among the callbacks.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from benchmarks.sizes import DATA_FOLDER, REPOSITORY, Sizes
from capsule_inspection.config.resolvers import register_resolvers
from capsule_inspection.config.schema import register_schemas
from capsule_inspection.data import training_crops
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.types import TRAIN, VAL, RunFiles
from capsule_inspection.workflows import dataset, factory, hardware, loggers
from capsule_inspection.workflows.callbacks import (
    EpochMetricsWriter,
    InterruptHandler,
    build_callbacks,
)
from capsule_inspection.workflows.trainer import build_trainer

LABELS_ALONE = (
    "model.mask_loss_weight=0",
    "data.synthetic_defects=0",
    "data.copy_paste=0",
    "task.repeats=1",
)


@dataclass(frozen=True)
class Parts:
    """What train.py builds before it trains."""

    config: DictConfig
    runtime: hardware.RuntimeConfig
    data: InspectionDataModule
    task: InspectionModule

    @property
    def images(self) -> int:
        """Images of an epoch."""
        return len(self.data.indices(TRAIN))


@dataclass(frozen=True)
class EpochTimes:
    """Seconds of an epoch: its training batches, and the whole with validation and checkpoints."""

    training: float
    whole: float


def overrides(sizes: Sizes) -> list[str]:
    """ResNet18 from random weights, four fifths of the drawn images, nothing cut out.

    From labels alone, as the plain loop learns.
    """
    return [
        "model=resnet18",
        "model.weights=none",
        *LABELS_ALONE,
        *data_overrides(sizes),
        f"task.image_size=[{sizes.image_size[0]},{sizes.image_size[1]}]",
        f"task.batch_size={sizes.batch_size}",
        "data.roi=none",
    ]


def data_overrides(sizes: Sizes) -> list[str]:
    """The drawn images of the benchmarks, 262 of 328 for training."""
    return [*drawn_overrides(sizes), "split.val=0.2", "split.test=0.0"]


def drawn_overrides(sizes: Sizes) -> list[str]:
    """The drawn images of the benchmarks."""
    counts = json.dumps(sizes.counts).replace('"', "")
    return [
        f"data.root={DATA_FOLDER / 'drawn'}",
        f"data.cache_folder={DATA_FOLDER / 'cache'}",
        f"data.size_px={sizes.size_px}",
        f"data.counts={counts}",
    ]


def one_class_overrides(sizes: Sizes) -> list[str]:
    """The autoencoder on windows alone, which cost more to make than images; else at its defaults.

    Painting comes before the epochs that are timed.
    """
    return [
        "model=autoencoder",
        *drawn_overrides(sizes),
        "data.synthesis.variants=4",
        "task.full_image_from=1",
        *sizes.one_class_overrides,
    ]


def mask_overrides(sizes: Sizes) -> list[str]:
    """ResNet18 at its default settings, learning from masks; painting comes before."""
    return [
        "model=resnet18",
        "model.weights=none",
        *data_overrides(sizes),
        "task.repeats=1",
        "data.synthesis.variants=4",
        *sizes.mask_overrides,
    ]


def segmentation_overrides(sizes: Sizes) -> list[str]:
    """The U-Net at its default settings; painting comes before the epochs that are timed."""
    return [
        "model=unet",
        *data_overrides(sizes),
        "split.val=0.1",
        "split.test=0.1",
        "data.synthesis.variants=4",
        "task.repeats=1",
        *sizes.segmentation_overrides,
    ]


def compose(arguments: Sequence[str]) -> DictConfig:
    """The configuration of `python train.py <arguments>`."""
    register_schemas()
    register_resolvers()
    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        return hydra.compose("train", overrides=list(arguments))


def prepare(arguments: Sequence[str]) -> Parts:
    """Data, network and task as train.py makes them; draws and caches what is not there yet."""
    config = compose(arguments)
    runtime = hardware.resolve_runtime(config.trainer)
    hardware.apply_runtime(runtime)
    L.seed_everything(config.seed, verbose=False)
    index, cache = dataset.load_dataset(config.data)
    task = get_task(config)
    index = task.assign_split(index)
    built = factory.build_model(config, num_classes=len(index.classes))
    training_crops.resolve_full_image_from(
        config, has_pretrained_decoder=built.model.has_pretrained_decoder
    )
    if runtime.channels_last:
        built.model.to(memory_format=torch.channels_last)
    data = factory.build_data_module(
        config,
        index,
        cache,
        built.model,
        runtime,
        batch_transform=task.batch_transform(index, cache),
    )
    return Parts(config, runtime, data, factory.build_lightning_module(config, built.model, data))


def time_epochs(arguments: Sequence[str], folder: Path, *, epochs: int = 2) -> EpochTimes:
    """Train for some epochs in `folder` and time the last: the first one fills caches."""
    parts = prepare([*arguments, f"task.epochs={epochs}"])
    clock = EpochClock()
    # The order of workflows/train.py, with the clock before all.
    callbacks: list[Callback] = [
        clock,
        EpochMetricsWriter(folder / RunFiles.EPOCHS),
        *build_callbacks(parts.config, parts.task, folder),
        *loggers.build_image_callbacks(parts.config, parts.task, parts.data),
        InterruptHandler(),
    ]
    trainer = build_trainer(
        parts.config,
        parts.runtime,
        callbacks=callbacks,
        loggers=loggers.build_loggers(parts.config, folder, first_epoch=0),
    )
    trainer.fit(parts.task, datamodule=parts.data)
    for logger in trainer.loggers:
        logger.finalize("success")
    return clock.last


def paths_of(parts: Parts, stage: str) -> list[tuple[Path, int]]:
    """Path and label of each image of a stage."""
    records = parts.data.index.samples
    return [
        (parts.data.index.path_of(records[row].path), records[row].label)
        for row in parts.data.indices(stage)
    ]


def trained_and_validated(parts: Parts) -> dict[str, list[tuple[Path, int]]]:
    """Files of the two stages that an epoch reads."""
    return {stage: paths_of(parts, stage) for stage in (TRAIN, VAL)}


class EpochClock(Callback):
    """Times of each epoch; waits for the GPU only where an epoch begins or ends."""

    def __init__(self) -> None:
        self._began = 0.0
        self._trained = 0.0
        self.last = EpochTimes(0.0, 0.0)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = _now()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            self._trained = _now()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.last = EpochTimes(self._trained - self._began, _now() - self._began)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
