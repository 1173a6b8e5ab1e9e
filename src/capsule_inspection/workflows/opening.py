"""A finished run made into something that answers for single photographs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.existing_run import refuse_evaluation
from capsule_inspection.config.resume import load_stored
from capsule_inspection.data.reading import MAX_PIXELS
from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
from capsule_inspection.inference.description import Description
from capsule_inspection.inference.exported import is_exported, open_exported
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_engine import TorchEngine
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.reports.run_folder import read_record
from capsule_inspection.types import ConfigurationError, RunError, RunFiles
from capsule_inspection.workflows import building, hardware
from capsule_inspection.workflows.inputs import sees_tiles
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.record import FINISHED


class OpenedRun(NamedTuple):
    """A run's settings, what describes its model, and the trained network with its scoring."""

    config: DictConfig
    description: Description
    inspector: Inspector


def open_run(folder: Path) -> OpenedRun:
    """Read a finished run; nothing that it holds is executed.

    Raises RunError where it is not finished, or a file is missing, damaged or of another version.
    """
    record = read_record(folder)
    _require_finished(folder, record)
    config = load_stored(folder / RunFiles.CONFIG)
    kind, classes = kind_of(config), tuple(record["data"]["classes"])
    path = folder / RunFiles.BEST
    checkpoint = read_checkpoint(path)
    network = building.build_network(config, num_classes=len(classes), weights="none").network
    restore_network(network, checkpoint, path=path)
    inspector = kind.inspector(config, network, checkpoint, where=str(path))
    fitted = checkpoint["inspection"].get("fitted") or {}
    height, width = config.data.image_size
    roi = config.data.roi
    description = Description(
        task=config.task.name,
        model=config.model.name,
        classes=classes,
        image_size=(height, width),
        roi=roi if isinstance(roi, str) else tuple(float(edge) for edge in roi),
        roi_margin=config.data.roi_margin,
        enlarge=not sees_tiles(config.data),
        max_pixels=OmegaConf.select(config, "data.max_pixels", default=MAX_PIXELS),
        threshold=_threshold(fitted),
        decision=Decision.from_dict(fitted["decision"]) if "decision" in fitted else None,
        names_defects=kind.names_defects,
        appearance=_appearance(folder),
        origin=_origin(folder, record),
    )
    return OpenedRun(config, description, inspector.eval())


def choose(path: Path, trainer: DictConfig) -> hardware.Choices:
    """How a run or an exported file shall compute, as `hardware.choose` says of this machine.

    Raises ConfigurationError for what it cannot do.
    """
    if not _holds_export(path):
        choices = hardware.choose(trainer)
        if choices.precision not in (hardware.FULL, hardware.HALF):
            raise ConfigurationError(
                f"trainer.precision={trainer.precision}: photographs are answered in "
                f"{hardware.FULL} or {hardware.HALF}. Name one of these."
            )
        return choices
    for key, can in (
        ("accelerator", ("auto", "cpu")),
        ("precision", ("auto", "32", hardware.FULL)),
    ):
        if str(trainer[key]) not in can:
            raise ConfigurationError(
                f"trainer.{key}={trainer[key]}: an exported file computes on the processor, in "
                "float32. Leave it out, or name the run itself."
            )
    settings = trainer.copy()
    settings.accelerator, settings.precision = "cpu", hardware.FULL
    return hardware.choose(settings)


def open_predictor(
    path: Path, choices: hardware.Choices, *, explain: str, max_pixels: int | None = None
) -> Predictor:
    """A run or an exported file, ready for photographs, as chosen by `choose`.

    `max_pixels` of a photograph are those of the training where it is None. Raises RunError as
    `open_run` and `open_exported` do.
    """
    hardware.apply(choices, exact=choices.precision == hardware.FULL)
    if _holds_export(path):
        predictor = open_exported(path, threads=choices.threads)
    else:
        opened = open_run(path)
        engine = TorchEngine(
            opened.inspector,
            device=choices.device,
            half=choices.precision == hardware.HALF,
            channels_last=choices.channels_last,
        )
        predictor = Predictor(opened.description, engine)
    predictor.explain = explain
    if max_pixels is not None:
        predictor.description = replace(predictor.description, max_pixels=max_pixels)
    return predictor


def _holds_export(path: Path) -> bool:
    """Also of files of other kinds: who reads exported files tells what is expected."""
    return path.is_file() or is_exported(path)


def _require_finished(folder: Path, record: Mapping[str, Any]) -> None:
    refuse_evaluation(folder, record)
    status = record.get("status")
    if status == FINISHED:
        return
    reason = f" ({record['error']})" if record.get("error") else ""
    raise RunError(
        f"run={folder}: this run is not finished, its status is {status}{reason}: its threshold "
        f"and its figures are not known. Finish it with python train.py resume={folder}"
    )


def _threshold(fitted: Mapping[str, Any]) -> float | None:
    return Threshold.from_dict(fitted["threshold"]).value if "threshold" in fitted else None


def _appearance(folder: Path) -> dict[str, Any] | None:
    """How training photographs look; None for runs of older versions, which have not kept it."""
    path = folder / RunFiles.APPEARANCE
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({error}). Restore it, or remove it.") from error


def _origin(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    with (folder / RunFiles.BEST).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "run": folder.resolve().name,
        "finished": record.get("finished"),
        "seed": record.get("seed"),
        "data": record["data"].get("name"),
        "weights": (record.get("weights") or {}).get("source"),
        "checkpoint_sha256": digest,
    }
