"""Training in this process, built from the same parts and in the same order as by train.py.

Differs from workflows/train.py: no record, no final evaluation, and a clock as first callback.
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
from capsule_inspection.types import TRAIN, RunFiles
from capsule_inspection.workflows import dataset, factory, hardware, loggers
from capsule_inspection.workflows.callbacks import build_callbacks
from capsule_inspection.workflows.epochs import EpochMetricsWriter
from capsule_inspection.workflows.interrupts import InterruptHandler
from capsule_inspection.workflows.trainer import build_trainer

LABELS_ONLY = (
    "model.mask_loss_weight=0",
    "data.synthetic_defects=0",
    "data.copy_paste=0",
    "task.repeats=1",
)


@dataclass(frozen=True)
class TrainingParts:
    """Data and network of a training."""

    config: DictConfig
    runtime: hardware.RuntimeConfig
    data: InspectionDataModule
    module: InspectionModule

    @property
    def images(self) -> int:
        """Number of training images."""
        return len(self.data.indices(TRAIN))


@dataclass(frozen=True)
class EpochTimes:
    """Seconds of an epoch: of the training batches, and with validation and checkpoints."""

    training: float
    whole: float


def label_overrides(sizes: Sizes) -> list[str]:
    """ResNet18 with random weights, trained on whole images and their labels, as the plain loop."""
    return [
        "model=resnet18",
        "model.weights=none",
        *LABELS_ONLY,
        *data_overrides(sizes),
        f"task.image_size=[{sizes.image_size[0]},{sizes.image_size[1]}]",
        f"task.batch_size={sizes.batch_size}",
        "data.roi=none",
    ]


def data_overrides(sizes: Sizes) -> list[str]:
    """The synthetic images of the benchmarks, 262 of 328 for training."""
    return [*synthetic_overrides(sizes), "split.val=0.2", "split.test=0.0"]


def synthetic_overrides(sizes: Sizes) -> list[str]:
    """The synthetic images of the benchmarks."""
    counts = json.dumps(sizes.counts).replace('"', "")
    return [
        f"data.root={DATA_FOLDER / 'synthetic'}",
        f"data.cache_folder={DATA_FOLDER / 'cache'}",
        f"data.size_px={sizes.size_px}",
        f"data.counts={counts}",
    ]


def autoencoder_overrides(sizes: Sizes) -> list[str]:
    """The autoencoder on crops only, which cost more than images; synthetic defects are cached."""
    return [
        "model=autoencoder",
        *synthetic_overrides(sizes),
        "data.synthesis.variants=4",
        "task.full_image_from=1",
        *sizes.autoencoder_overrides,
    ]


def mask_overrides(sizes: Sizes) -> list[str]:
    """ResNet18 at its defaults, trained with masks; synthetic defects are cached."""
    return [
        "model=resnet18",
        "model.weights=none",
        *data_overrides(sizes),
        "task.repeats=1",
        "data.synthesis.variants=4",
        *sizes.mask_overrides,
    ]


def segmentation_overrides(sizes: Sizes) -> list[str]:
    """The U-Net at its defaults; synthetic defects are cached."""
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


def build_parts(arguments: Sequence[str]) -> TrainingParts:
    """Build data and network as train.py does; renders and caches the images where needed."""
    config = compose(arguments)
    runtime = hardware.resolve_runtime(config.trainer)
    hardware.apply_runtime(runtime)
    L.seed_everything(config.seed, verbose=False)
    index, cache = dataset.load_dataset(config.data)
    task = get_task(config)
    index = task.assign_split(index)
    built = factory.build_model(config, num_classes=len(index.classes))
    runtime = hardware.prepare_network(
        runtime, built.model, channels_last=config.trainer.channels_last
    )
    training_crops.resolve_full_image_from(
        config, has_pretrained_decoder=built.model.has_pretrained_decoder
    )
    data = factory.build_data_module(
        config,
        index,
        cache,
        built.model,
        runtime,
        batch_transform=task.batch_transform(index, cache),
    )
    module = factory.build_lightning_module(config, built.model, data)
    return TrainingParts(config, runtime, data, module)


def time_epochs(arguments: Sequence[str], folder: Path, *, epochs: int = 2) -> EpochTimes:
    """Train in `folder` and time the last epoch; the first fills caches."""
    parts = build_parts([*arguments, f"task.epochs={epochs}"])
    clock = EpochClock()
    callbacks: list[Callback] = [
        clock,
        *build_callbacks(
            parts.config, parts.module, folder, EpochMetricsWriter(folder / RunFiles.EPOCHS)
        ),
        *loggers.build_image_callbacks(parts.config, parts.module, parts.data),
        InterruptHandler(folder),
    ]
    trainer = build_trainer(
        parts.config,
        parts.runtime,
        callbacks=callbacks,
        loggers=loggers.build_loggers(parts.config, folder, first_epoch=0),
    )
    trainer.fit(parts.module, datamodule=parts.data)
    for logger in trainer.loggers:
        logger.finalize("success")
    return clock.last


def labelled_files(parts: TrainingParts, stage: str) -> list[tuple[Path, int]]:
    """Path and label of each image of a split."""
    samples = parts.data.index.samples
    return [
        (parts.data.index.path_of(samples[row].path), samples[row].label)
        for row in parts.data.indices(stage)
    ]


class EpochClock(Callback):
    """Times the last epoch; synchronizes the GPU only where an epoch begins or ends."""

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
