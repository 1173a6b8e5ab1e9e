"""The run that is exported: its network, its images, and what it says of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig

from capsule_inspection.data import splits
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_engine import TorchEngine
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.types import (
    AS_TRAINED,
    TEST,
    VAL,
    ConfigurationError,
    RunError,
    RunFiles,
)
from capsule_inspection.workflows import building, hardware, inputs
from capsule_inspection.workflows.crops import Crops, evenly
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.opening import OpenedRun, open_run


class Source(NamedTuple):
    """A run; `reference` computes in float32 on the processor, whatever the run computed with."""

    stored: DictConfig
    inspector: Inspector
    reference: Predictor
    data: InspectionDataModule
    threads: int

    def to_compare(self, most: int) -> Crops:
        """At most so many images of val and test. Raises RunError where there is none."""
        members = [
            number for stage in (VAL, TEST) for number in self.data.indices(stage, every_label=True)
        ]
        if not members:
            raise RunError(
                "the run's split has no images of val or test that an exported model could be "
                "held against. Export a run that has some."
            )
        return Crops(self.data, evenly(members, most))


def open_source(config: DictConfig) -> Source:
    """The run that `conf/export.yaml` names.

    Raises RunError where it cannot be used, DataError where its images are gone, and
    ConfigurationError for images that are not its own.
    """
    if config.data.name != AS_TRAINED:
        raise ConfigurationError(
            f"data={config.data.name}: an exported model is held against its run on the run's own "
            "images. Where they have moved, say data.root=<folder>."
        )
    run = Path(config.run)
    opened = open_run(run)
    threads = hardware.available_cores() if config.threads == "auto" else int(config.threads)
    torch.set_num_threads(threads)
    data = _open_images(config, run, opened, threads=threads)
    engine = TorchEngine(opened.inspector, device="cpu", half=False, channels_last=False)
    reference = Predictor(opened.description, engine)
    return Source(opened.config, opened.inspector, reference, data, threads)


def _open_images(
    config: DictConfig, run: Path, opened: OpenedRun, *, threads: int
) -> InspectionDataModule:
    """The run's own images, with its own split."""
    stored = opened.config
    stored.data = inputs.as_trained(stored.data, config.data)
    index, cache = inputs.find_images(
        stored.data,
        classes=opened.description.classes,
        further=not kind_of(stored).names_defects,
    )
    return building.build_data_module(
        stored,
        splits.from_manifest(index, run / RunFiles.SPLIT),
        cache,
        normalisation=opened.inspector.normalisation,
        choices=hardware.Choices("cpu", "32-true", channels_last=False, threads=threads),
    )
