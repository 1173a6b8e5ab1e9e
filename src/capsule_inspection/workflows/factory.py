"""Builds the network, data module and LightningModule of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.training_crops import input_sizes
from capsule_inspection.models.base import BuiltModel, Model
from capsule_inspection.models.factory import BUILDERS, resolve_encoder
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.types import (
    CALIBRATION,
    TEST,
    TRAIN,
    VAL,
    DataIndex,
    RunError,
    RunFiles,
    WeightsError,
    WeightsRecord,
)
from capsule_inspection.workflows.hardware import RuntimeConfig

if TYPE_CHECKING:
    from capsule_inspection.data.module import BatchTransform, InspectionDataModule
    from capsule_inspection.tasks.base import InspectionModule

_MOST_FURTHER = 150_000_000
"""Parameters that a network may have beyond those of its weights, while it is built."""
_MOST_BUFFERS = 1 << 26
"""Values in its buffers, most of which it computes from its settings."""


def build_model(config: DictConfig, *, num_classes: int, weights: str | None = None) -> BuiltModel:
    """The configured network. `weights` replaces `model.weights`, for one that is loaded later.

    `model.encoder=auto` is resolved in place.
    """
    if "encoder" in config.model:
        config.model.encoder = resolve_encoder(config.model.encoder, weights=config.model.weights)
    settings: Any = OmegaConf.to_container(config.model, resolve=True)
    builder = BUILDERS[settings.pop("builder")]
    if weights is not None:
        settings["weights"] = weights
    known = {
        "num_classes": num_classes,
        "image_size": list(config.data.image_size),
        "crop_size": config.task.get("crop_size"),
        # Weights that are loaded later were fitted to the sizes before.
        "input_sizes": input_sizes(config) if weights is None else [],
    }
    parameters = inspect.signature(builder).parameters
    settings |= {name: value for name, value in known.items() if name in parameters}
    return builder(**settings)


@contextmanager
def limit_parameters(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise RunError where a network gets far more parameters than these weights have.

    Before they are written to: a few characters of a configuration can fill any memory.
    """
    left = {
        "parameters": _MOST_FURTHER + 2 * sum(tensor.numel() for tensor in weights.values()),
        "buffers": _MOST_BUFFERS,
    }

    def count(kind: str, module: nn.Module, name: str, tensor: Tensor | None) -> None:
        left[kind] -= 0 if tensor is None else tensor.numel()
        if left[kind] < 0:
            raise RunError(
                f"model.name: the network of {RunFiles.CONFIG} has far more {kind} than its "
                f"checkpoint. Use the checkpoint and the {RunFiles.CONFIG} of one and the same run."
            )

    hooks = (
        register_module_parameter_registration_hook(partial(count, "parameters")),
        register_module_buffer_registration_hook(partial(count, "buffers")),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
    from capsule_inspection.data.module import InspectionDataModule

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
