"""The weights of a run's best epoch as a file for `model.weights` of other runs, with its card.

They are saved in half precision: half the size, and the rounding is far below what a training
changes. models/model_card.py writes, reads and checks cards.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save
from torch import Tensor, contiguous_format

from capsule_inspection.config.quoting import format_command
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import atomic_write
from capsule_inspection.models.base import Model
from capsule_inspection.models.factory import segmenter_name
from capsule_inspection.models.model_card import (
    FILE,
    IMAGENET_SYNTHETIC,
    SYNTHETIC,
    ModelCard,
    write_card,
)
from capsule_inspection.models.weight_files import SELECTION_HASHES, TRAINING_HASHES
from capsule_inspection.types import (
    TRAIN,
    VAL,
    Estimates,
    RunError,
    RunFiles,
    WeightsRecord,
)

log = logging.getLogger(__name__)

SYNTHETIC_DATA = "synthetic"
LICENCES = {
    SYNTHETIC: "MIT. Trained on synthetic images only.",
    IMAGENET_SYNTHETIC: (
        "The project's code is MIT. Trained from ImageNet weights, whose licence applies, on "
        "synthetic images only."
    ),
    FILE: (
        "The project's code is MIT. These weights were trained on images, or from weights, of "
        "others, whose licences apply."
    ),
}
_MACHINE_KEYS = ("root", "path", "cache_folder", "workers", "verify")
"""Settings of the data that describe the machine."""


def save_weights_with_card(
    folder: Path,
    model: Model,
    *,
    config: DictConfig,
    data: InspectionDataModule,
    initial: WeightsRecord,
    record: Mapping[str, Any],
    metrics: Estimates,
) -> None:
    """Write weights.safetensors and weights.json, both or neither.

    `initial` are the weights that the training started from, `record` is that of run.json.
    Raises RunError where a weight is not finite.
    """
    path = folder / RunFiles.WEIGHTS
    training, selection = find_image_hashes(config, data, initial)
    source = find_source(config, initial)
    metadata = {
        "format": "pt",
        "source": source,
        TRAINING_HASHES: json.dumps(training),
        SELECTION_HASHES: json.dumps(selection),
    }
    content = save(to_half_precision(model.state_dict()), metadata)
    height, width = config.data.image_size
    card = ModelCard(
        name=find_name(config),
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        classes=data.index.classes,
        image_size=(height, width),
        normalisation=model.normalisation,
        model=_to_dict(config.model),
        data=_describe_data(config, record),
        training_hashes=tuple(training),
        selection_hashes=tuple(selection),
        command=_join_command(record["command"]),
        training=_describe_training(config, initial, record),
        metrics={key: asdict(metric) for key, metric in metrics.items()},
        licence=LICENCES[source],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=record["versions"],
    )
    # Both are written before either gets its name.
    with atomic_write(path) as weights, atomic_write(folder / RunFiles.MODEL_CARD) as beside:
        weights.write_bytes(content)
        write_card(card, beside)
    log.info("Weights:    %s (for model.weights of another run)", path)


def to_half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, those of floating point as float16 unless a value exceeds its range.

    Raises RunError, naming the layer, where a value is not finite.
    """
    converted = {}
    for key, value in state.items():
        original = value.detach().cpu().clone(memory_format=contiguous_format)
        if not original.isfinite().all():
            raise RunError(
                f"save_weights=true: {key} has values that are not finite: the training has "
                "diverged, and no weights were written. Lower optimizer.lr, or set "
                "trainer.precision=32-true."
            )
        half = original.half() if original.is_floating_point() else original
        converted[key] = half if half.isfinite().all() else original
    return converted


def find_name(config: DictConfig) -> str:
    """The model's name, or architecture and encoder of a segmentation model."""
    if config.model.get("architecture"):
        return segmenter_name(config.model.architecture, config.model.encoder)
    return str(config.model.name).partition(".")[0]  # without timm's tag of weights


def find_image_hashes(
    config: DictConfig, data: InspectionDataModule, initial: WeightsRecord
) -> tuple[list[str], list[str]]:
    """SHA-256 of the images that trained the weights, and of those that selected the epoch.

    Those of the initial weights are included, and synthetic images left out.
    """
    samples = [] if config.data.name == SYNTHETIC_DATA else data.index.samples
    training = initial.training_hashes | {s.sha256 for s in samples if s.split == TRAIN}
    selection = initial.selection_hashes | {s.sha256 for s in samples if s.split == VAL}
    return sorted(training), sorted(selection)


def find_source(config: DictConfig, initial: WeightsRecord) -> str:
    """What the weights, and the initial ones, were trained on; see `ModelCard.source`."""
    if config.data.name != SYNTHETIC_DATA or initial.training_hashes:
        return FILE
    sources = {"random": SYNTHETIC, "imagenet": IMAGENET_SYNTHETIC}
    return sources.get(initial.source, initial.source)


def _to_dict(settings: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(settings, resolve=True)  # type: ignore[return-value]


def _describe_data(config: DictConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    settings = _to_dict(config.data)
    settings = {key: value for key, value in settings.items() if key not in _MACHINE_KEYS}
    return settings | {key: record["data"][key] for key in ("images", "fingerprint")}


def _join_command(arguments: Sequence[str]) -> str:
    script, *rest = arguments
    return format_command([Path(script).name, *rest])


def _describe_training(
    config: DictConfig, initial: WeightsRecord, record: Mapping[str, Any]
) -> dict[str, Any]:
    keys = ("epochs", "best_epoch", "monitor", "training_time_s", "hardware", "git_commit")
    return {
        "task": config.task.name,
        "initial_weights": initial.source,
        "training_samples": record["training_samples"],
        **{key: record[key] for key in keys},
    }
