"""Builds the network, data module and LightningModule of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import InstantiationException
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.module import BatchTransform, InspectionDataModule
from capsule_inspection.data.training_crops import input_sizes
from capsule_inspection.models.base import BuiltModel, Model
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.types import (
    CALIBRATION,
    TEST,
    TRAIN,
    VAL,
    DataIndex,
    InspectionError,
    WeightsError,
    WeightsRecord,
)
from capsule_inspection.workflows.hardware import RuntimeConfig


def build_model(config: DictConfig, *, num_classes: int, weights: str | None = None) -> BuiltModel:
    """The configured network. `weights` replaces `model.weights`, for one that is loaded later."""
    settings = dict(OmegaConf.to_container(config.model, resolve=True))  # type: ignore[arg-type]
    if weights is not None:
        settings["weights"] = weights
    known = {
        "num_classes": num_classes,
        "image_size": list(config.data.image_size),
        "crop_size": config.task.get("crop_size"),
        # Weights that are loaded later were fitted to the sizes before.
        "input_sizes": input_sizes(config) if weights is None else [],
    }
    parameters = inspect.signature(get_method(config.model._target_)).parameters
    settings |= {name: value for name, value in known.items() if name in parameters}
    with unwrap_hydra_errors():
        return instantiate(settings, _convert_="all")


@contextmanager
def unwrap_hydra_errors() -> Iterator[None]:
    """Raise an InspectionError of a target itself: Hydra wraps whatever a target raises."""
    own: InspectionError | None = None
    try:
        yield
    except InstantiationException as error:
        if not isinstance(error.__cause__, InspectionError):
            raise
        own = error.__cause__
    if own is not None:  # outside of the handler, where it would become its own context
        raise own


def refuse_training_images(weights: WeightsRecord, index: DataIndex) -> None:
    """Raise WeightsError where weights were trained, or selected, on images that measure them.

    Images that selected the epoch may do so again, as val.
    """
    measured = {s.sha256: s.path for s in index.samples if s.split in (TEST, CALIBRATION)}
    held_out = measured | {s.sha256: s.path for s in index.samples if s.split == VAL}
    for what, hashes, where, refused in (
        ("trained", weights.training_hashes, "val, calibration or test", held_out),
        ("selected", weights.selection_hashes, "calibration or test", measured),
    ):
        paths = sorted(refused[sha256] for sha256 in hashes & refused.keys())
        if paths:
            raise WeightsError(
                f"model.weights={weights.path}: these weights were {what} on {len(paths)} images "
                f"that are in {where} here, such as {paths[0]}. Use the split of the run that they "
                "come from (split=manifest split.path=<run>/split.csv), or other weights."
            )


def build_data_module(
    config: DictConfig,
    index: DataIndex,
    cache: ImageCache,
    network: Model,
    runtime: RuntimeConfig,
    *,
    batch_transform: BatchTransform | None = None,
) -> InspectionDataModule:
    """Batches as the task and `data.augmentation` configure them, normalised for a network."""
    task = get_task(config)
    return InspectionDataModule(
        index,
        cache,
        normalisation=network.normalisation,
        settings=task.batch_settings(channels_last=runtime.channels_last),
        select=task.uses,
        batch_transform=batch_transform,
    )


def build_lightning_module(
    config: DictConfig, network: Model, data: InspectionDataModule
) -> InspectionModule:
    """The LightningModule of the configured task."""
    module = get_task(config).lightning_module(network, data)
    module.extra_state = {
        "task": config.task.name,
        "model": config.model.name,
        "classes": list(data.index.classes),
    }
    samples = data.index.samples
    module.training_hashes = sorted({samples[row].sha256 for row in data.indices(TRAIN)})
    module.selection_hashes = sorted({samples[row].sha256 for row in data.indices(VAL)})
    return module
