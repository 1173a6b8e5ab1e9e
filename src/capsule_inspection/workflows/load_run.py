"""A run folder, or an exported file, as a `Predictor`.

What a run's network needs, torch first of all, is imported where a run is read: an exported file of
another library does without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.archives import describe
from capsule_inspection.config.decisions import check_threshold
from capsule_inspection.config.existing_run import check_no_evaluation, load_stored
from capsule_inspection.config.quoting import format_command
from capsule_inspection.data.ood import read_detector
from capsule_inspection.inference.exported import is_exported, open_exported
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.integrity import check_files, file_sha256
from capsule_inspection.metrics.thresholds import GIVEN, Threshold
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.reports.run.test_result import read_test_result, stored_result
from capsule_inspection.types import ARGMAX, ConfigurationError, RunError, RunFiles
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.dataset import given_depth, uses_tiling
from capsule_inspection.workflows.hardware import RuntimeConfig
from capsule_inspection.workflows.record import FINISHED, describe_status

if TYPE_CHECKING:
    from capsule_inspection.models.base import Model


class LoadedRun(NamedTuple):
    """A run's settings, record and trained network; `fitted` see `tasks.adapter.Fitted`."""

    folder: Path
    config: DictConfig
    record: Mapping[str, Any]
    network: Model
    checkpoint: Mapping[str, Any]
    checkpoint_sha256: str

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.record["data"]["classes"])

    def predictor(self, runtime: RuntimeConfig) -> Predictor:
        """The run on this machine. Raises RunError where its training was not finished."""
        ood = read_detector(self.folder / RunFiles.OOD)
        return build_predictor(
            self.config,
            self.network,
            self.checkpoint["inspection"].get("fitted") or {},
            classes=self.classes,
            runtime=runtime,
            where=self.folder / RunFiles.BEST,
            ood=None if ood is None else ood.as_dict(),
            run=self._describe(),
        )

    def _describe(self) -> dict[str, Any]:
        return {
            "name": self.folder.resolve().name,
            "finished": self.record.get("finished"),
            "seed": self.record.get("seed"),
            "data": self.record["data"].get("name"),
            "weights": (self.record.get("weights") or {}).get("source"),
            "checkpoint_sha256": self.checkpoint_sha256,
            "test": None if (result := read_test_result(self.folder)) is None else result.as_dict(),
        }


def load_run(folder: Path, *, verify: bool = True, further: Sequence[str] = ()) -> LoadedRun:
    """Read a run of train.py; nothing that it holds is executed.

    Where it is to `verify`, its files and those that are named `further` are compared with their
    checksums in run.json. Raises RunError where a file is missing, damaged or of another version.
    """
    from capsule_inspection.inference.checkpoints import read_checkpoint, restore_network
    from capsule_inspection.workflows import factory

    record, best = read_record(folder, verify=verify), folder / RunFiles.BEST
    check_no_evaluation(folder, record)
    names = (RunFiles.CONFIG, RunFiles.BEST, RunFiles.OOD, *further)
    checked = check_files(folder, record, names) if verify else {}
    config = load_stored(folder / RunFiles.CONFIG)
    checkpoint = read_checkpoint(best)
    classes = (record.get("data") or {}).get("classes")
    if not classes:
        raise RunError(
            f"{folder / RunFiles.RECORD}: names no classes of images, so this run was not trained. "
            "Train it with " + format_command(["train.py", f"resume={folder}"])
        )
    with factory.limit_parameters(checkpoint["state_dict"]):
        network = factory.build_model(config, num_classes=len(classes), weights="none").model
    restore_network(network, checkpoint, path=best)
    sha256 = checked.get(RunFiles.BEST) or file_sha256(best)
    return LoadedRun(folder, config, record, network, checkpoint, sha256)


def require_finished(folder: Path, *, verify: bool = True) -> None:
    """Raise RunError where a run is not finished."""
    record = read_record(folder, verify=verify)
    check_no_evaluation(folder, record)
    if record.get("status") == FINISHED:
        return
    reason = f" ({record['error']})" if record.get("error") else ""
    raise RunError(
        f"run={folder}: this run is not finished, {describe_status(folder, record)}{reason}: its "
        f"threshold and its metrics are not known. Finish it with "
        + format_command(["train.py", f"resume={folder}"])
    )


def build_predictor(
    config: DictConfig,
    network: Model,
    fitted: Mapping[str, Any],
    *,
    classes: Sequence[str],
    runtime: RuntimeConfig,
    where: Path,
    ood: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> Predictor:
    """A trained network with its scoring and post-processor, on this machine.

    `fitted` is `Fitted.state()`, `classes` are those of the training; `ood` and `run` see
    `ModelMetadata`. Raises RunError, naming the checkpoint `where`, if what is fitted is missing or
    not as expected.
    """
    from capsule_inspection.inference.torch_backend import TorchBackend
    from capsule_inspection.tasks.adapter import get_task

    task = get_task(config)
    try:
        post_processor = task.post_processor(fitted.get("post_processor", {}), classes)
        model = task.inference_model(
            network, fitted.get("model", {}), channels_last=runtime.channels_last
        )
    except (KeyError, TypeError, AttributeError) as error:
        found = f"no valid threshold ({describe(error)})" if fitted else "no threshold"
        raise RunError(
            f"{where}: this checkpoint has {found}, so nothing can be called good or a defect: it "
            "is damaged, or its training was not finished. Restore it from a copy, or finish it: "
            + format_command(["train.py", f"resume={where.parent.parent}"])
        ) from error
    height, width = config.data.image_size
    roi = config.data.roi
    metadata = ModelMetadata(
        task=config.task.name,
        model=config.model.name,
        classes=tuple(post_processor.classes),
        image_size=(height, width),
        roi=roi if isinstance(roi, str) else tuple(float(edge) for edge in roi),
        roi_margin=config.data.roi_margin,
        enlarge=not uses_tiling(config.data),
        max_pixels=config.data.max_pixels,
        bit_depth=given_depth(config.data),
        exif_orientation=OmegaConf.select(config.data, "exif_orientation", default=True),
        post_processing=post_processor.state_dict(),
        ood=ood,
        run=run or {},
    )
    backend = TorchBackend(model, device=runtime.device, precision=runtime.precision)
    return Predictor(metadata, backend)


def choose_runtime(path: Path, trainer: DictConfig) -> RuntimeConfig:
    """How a run or an exported file computes on this machine.

    Raises ConfigurationError for what it cannot do.
    """
    if not _holds_export(path):
        runtime = hardware.resolve_runtime(trainer)
        if runtime.precision not in (hardware.FLOAT32, hardware.BF16_MIXED):
            raise ConfigurationError(
                f"trainer.precision={trainer.precision}: images are predicted in "
                f"{hardware.FLOAT32} or {hardware.BF16_MIXED}. Name one of these."
            )
        return runtime
    for key, can in (
        ("accelerator", ("auto", "cpu")),
        ("precision", ("auto", "32", hardware.FLOAT32)),
    ):
        if str(trainer[key]) not in can:
            raise ConfigurationError(
                f"trainer.{key}={trainer[key]}: an exported file computes on the processor, in "
                "float32. Leave it out, or name the run itself."
            )
    settings = trainer.copy()
    settings.accelerator, settings.precision = "cpu", hardware.FLOAT32
    return hardware.resolve_runtime(settings)


def load_predictor(
    path: Path,
    runtime: RuntimeConfig,
    *,
    max_pixels: int | None = None,
    bit_depth: int | None = None,
    threshold: float | str | None = None,
    verify: bool = True,
) -> Predictor:
    """A finished run or an exported file, ready to predict images; see `load_run` for `verify`.

    `max_pixels` of an image, the `bit_depth` of 16-bit files and the `threshold` (a number or
    argmax) are those of the training where they are None. Raises RunError where the run or the file
    cannot be used, ConfigurationError where its decision has no such threshold.
    """
    if _holds_export(path):
        hardware.apply_without_torch()
        predictor = open_exported(path, threads=runtime.threads, verify=verify)
    else:
        require_finished(path, verify=verify)
        hardware.apply_runtime(runtime, exact=runtime.precision == hardware.FLOAT32)
        predictor = load_run(path, verify=verify).predictor(runtime)
    metadata = predictor.metadata
    if max_pixels is not None:
        metadata = replace(metadata, max_pixels=max_pixels)
    if bit_depth is not None:
        metadata = replace(metadata, bit_depth=bit_depth)
    if metadata is not predictor.metadata:
        predictor = Predictor(metadata, predictor.backend)
    return with_threshold(predictor, threshold)


def with_threshold(predictor: Predictor, value: float | str | None) -> Predictor:
    """The predictor with another threshold, a number or argmax; unchanged where it is None.

    Raises ConfigurationError where the decision of the model has no such threshold.
    """
    if value is None:
        return predictor
    check_threshold(value, task=predictor.metadata.task)
    given = Threshold(None, ARGMAX) if value == ARGMAX else Threshold(float(value), GIVEN)
    post_processor = predictor.post_processor.with_threshold(given)
    metadata = predictor.metadata
    result = stored_result(metadata.run, where="metadata (run.test)")
    changed = None if result is None else result.at(value)
    run = {**metadata.run, "test": None if changed is None else changed.as_dict()}
    metadata = replace(metadata, post_processing=post_processor.state_dict(), run=run)
    return Predictor(metadata, predictor.backend)


def _holds_export(path: Path) -> bool:
    """Whether to read a path as an exported file: every file, and folders with an exported one."""
    return path.is_file() or is_exported(path)
