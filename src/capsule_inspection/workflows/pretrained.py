"""The weights of a run's best epoch as a file that other runs begin with, and its card.

Half precision: half the size, and what it costs is far below what a training changes. Boundary:
gathers what a card says; models/weight_cards.py writes, reads and checks it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save
from torch import Tensor

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.files import whole_file
from capsule_inspection.models.base import Network
from capsule_inspection.models.encoder_weights import whole_name
from capsule_inspection.models.weight_cards import FILE, PAINTED, WeightsCard, write_card
from capsule_inspection.models.weight_files import SEEN_KEY
from capsule_inspection.types import (
    TRAIN,
    VAL,
    Figures,
    RunError,
    RunFiles,
    WeightsRecord,
)

log = logging.getLogger(__name__)

DRAWN = "synthetic"
LICENCES = {
    PAINTED: "MIT. Trained on drawn images only: no photograph has been seen.",
    FILE: (
        "That of the project's code is MIT. These weights come from photographs or from other "
        "weights too, whose owners have a say in what may be done with them."
    ),
}
_PLACES = ("root", "path", "cache_folder", "workers", "verify")
"""Settings of the data that say nothing of the weights, but of the machine."""


def keep_weights(
    folder: Path,
    network: Network,
    *,
    config: DictConfig,
    data: InspectionDataModule,
    first: WeightsRecord,
    record: Mapping[str, Any],
    figures: Figures,
) -> None:
    """Write weights.safetensors and weights.json, both or neither.

    `first` are the weights that the training began from, `record` is that of run.json.
    Raises RunError where a weight is not finite.
    """
    path = folder / RunFiles.WEIGHTS
    seen, source = seen_images(config, data, first), source_of(config, first)
    metadata = {"format": "pt", "source": source, SEEN_KEY: json.dumps(seen)}
    content = save(halved(network.state_dict()), metadata)
    height, width = config.data.image_size
    card = WeightsCard(
        name=network_name(config),
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        classes=data.index.classes,
        image_size=(height, width),
        normalisation=network.normalisation,
        model=_plain(config.model),
        data=_data(config, record),
        seen_sha256=tuple(seen),
        command=_command(record["command"]),
        training=_training(config, first, record),
        figures=figures,
        licence=LICENCES[source],
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=record["versions"],
    )
    # Both are written before either gets its name.
    with whole_file(path) as weights, whole_file(folder / RunFiles.WEIGHTS_CARD) as beside:
        weights.write_bytes(content)
        write_card(card, beside)
    log.info("Weights:    %s (for model.weights of another run)", path)


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors on the CPU, those of floating point as float16.

    One with values beyond half precision stays as it is.
    Raises RunError, naming the layer, where one is not finite.
    """
    found = {}
    for key, value in state.items():
        kept = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        if not kept.isfinite().all():
            raise RunError(
                f"save_weights=true: {key} has values that are not finite: the training has "
                "diverged, and no weights were written. Lower optimizer.lr, or set "
                "trainer.precision=32-true."
            )
        half = kept.half() if kept.is_floating_point() else kept
        found[key] = half if half.isfinite().all() else kept
    return found


def network_name(config: DictConfig) -> str:
    """What the weights are of: the model, or a segmentation network's architecture and encoder."""
    if config.model.get("architecture"):
        return whole_name(config.model.architecture, config.model.encoder)
    return str(config.model.name).partition(".")[0]  # without the tag that timm gives to weights


def seen_images(config: DictConfig, data: InspectionDataModule, first: WeightsRecord) -> list[str]:
    """SHA-256 of all photographs that the weights have seen: none of them is a drawn image.

    Validation images count, since they chose the epoch, and what the first weights had seen.
    """
    own = [] if config.data.name == DRAWN else data.index.records
    return sorted(first.seen | {row.sha256 for row in own if row.split in (TRAIN, VAL)})


def source_of(config: DictConfig, first: WeightsRecord) -> str:
    """Painted where drawn images are all that the weights, and those before them, have seen."""
    is_drawn = config.data.name == DRAWN and not first.seen
    return PAINTED if is_drawn and first.source in ("random", PAINTED) else FILE


def _plain(settings: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(settings, resolve=True)  # type: ignore[return-value]


def _data(config: DictConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in _plain(config.data).items() if key not in _PLACES}
    return settings | {key: record["data"][key] for key in ("images", "fingerprint")}


def _command(arguments: Sequence[str]) -> str:
    script, *rest = arguments
    return shlex.join(["python", Path(script).name, *rest])


def _training(
    config: DictConfig, first: WeightsRecord, record: Mapping[str, Any]
) -> dict[str, Any]:
    """What it took, and what it began from."""
    told = ("epochs", "best_epoch", "monitor", "training_time_s", "hardware", "git_commit")
    return {
        "task": config.task.name,
        "began_from": first.source,
        "images_shown": record["images_shown"],
        **{key: record[key] for key in told},
    }
