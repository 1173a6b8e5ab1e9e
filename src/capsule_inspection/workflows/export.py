"""`export.py`: a finished run as a file for other programs, kept if it predicts as the run does."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from capsule_inspection.config.quoting import format_command
from capsule_inspection.data import given_split
from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.files import atomic_dir, remove_partial, transient_lock
from capsule_inspection.inference.exported import (
    RECORD,
    STEM,
    get_format,
    open_exported,
    read_export,
)
from capsule_inspection.inference.formats.base import ExportFormat
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.inference.parity import Parity
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.integrity import FILES, check_files, checksums, file_sha256, seal
from capsule_inspection.tasks.adapter import Task, get_task, require_finite
from capsule_inspection.tasks.backend import VALID
from capsule_inspection.tasks.inference_model import InferenceModel
from capsule_inspection.types import (
    EXPORT_SUFFIXES,
    FROM_RUN,
    TEST,
    VAL,
    ConfigurationError,
    InspectionError,
    RunError,
    RunFiles,
)
from capsule_inspection.workflows import dataset, factory, hardware, quantization
from capsule_inspection.workflows.load_run import load_run, require_finished
from capsule_inspection.workflows.model_inputs import ModelInputs, evenly_spaced
from capsule_inspection.workflows.record import installed_versions, require_empty_folder

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
_BATCH_SIZE = 4
"""Of the comparison with the run, which also takes each image alone."""


class Source(NamedTuple):
    """The run that is exported; `predictor` computes it in float32 on the CPU."""

    task: Task
    model: InferenceModel
    predictor: Predictor
    data: InspectionDataModule
    threads: int


def export(config: DictConfig) -> None:
    """Export as `conf/export.yaml` says.

    Raises RunError where the run or the output folder cannot be used, or where the exported model
    differs from the run; ConfigurationError where packages are missing or the format has no int8
    models; DataError where the run's images are gone.
    """
    output = _output(config)
    if _is_complete(output, config):
        log.info("Exported before, and kept: %s", output)
    else:
        _export(output, config)
    command = format_command(["predict.py", f"run={output}"])
    log.info("To use it:  %s input=<images>", command)


def _export(output: Path, config: DictConfig) -> None:
    require_empty_folder(output)
    export_format = get_format(config.format)
    export_format.require(int8=config.int8)
    source = load_source(config)
    try:
        with transient_lock(output.with_name(f".{output.name}.lock")):
            remove_partial(output)
            with atomic_dir(output) as folder:
                file = _write(folder, export_format, source, config)
    except OSError as error:
        raise RunError(
            f"output={output}: cannot be written ({error.strerror or error}). Make room, or name "
            "another folder."
        ) from error
    log.info("Exported:   %s", output / file)


def _is_complete(output: Path, config: DictConfig) -> bool:
    """Whether a folder has all that this command would write, as after a kill at its end."""
    best = Path(config.run) / RunFiles.BEST
    if not (output / RECORD).is_file() or not best.is_file():
        return False
    record = read_export(output)
    remedy = "Remove the folder, or name another one with output."
    check_files(output, record, record[FILES], remedy=remedy)
    is_of_run = record["run"].get("checkpoint_sha256") == file_sha256(best)
    return is_of_run and record.get("settings") == _settings(config)


def _settings(config: DictConfig) -> dict[str, Any]:
    return {name: config[name] for name in ("format", "int8", "images", "calibration_images")}


def load_source(config: DictConfig) -> Source:
    """The run that `conf/export.yaml` names.

    Raises RunError where it cannot be used, DataError where its images are gone, and
    ConfigurationError for images that are not its own.
    """
    if config.data.name != FROM_RUN:
        raise ConfigurationError(
            f"data={config.data.name}: an exported model is compared with its run on the run's own "
            "images. Where they have moved, set data.root=<folder>."
        )
    run = Path(config.run)
    verify = config.verify == "full"
    require_finished(run, verify=verify)
    loaded = load_run(run, verify=verify, further=[RunFiles.SPLIT])
    threads = hardware.available_cores() if config.threads == "auto" else int(config.threads)
    # channels_last as predict.py computes on a CPU: so a .pt2 file predicts the same bits.
    runtime = hardware.RuntimeConfig("cpu", hardware.FLOAT32, channels_last=True, threads=threads)
    hardware.apply_runtime(runtime, exact=True)
    stored = loaded.config
    stored.data = dataset.from_run(stored.data, config.data)
    task = get_task(stored)
    index, cache = dataset.load_dataset(
        stored.data, classes=loaded.classes, further=task.accepts_unknown_classes
    )
    index = given_split.from_manifest(index, run / RunFiles.SPLIT)
    data = factory.build_data_module(stored, index, cache, loaded.network, runtime)
    predictor = loaded.predictor(runtime)
    assert isinstance(predictor.backend, TorchBackend)
    return Source(task, predictor.backend.model, predictor, data, threads)


def _output(config: DictConfig) -> Path:
    if config.output:
        return Path(config.output)
    return Path(config.run) / "export" / (config.format + "-int8" * config.int8)


def _write(folder: Path, export_format: ExportFormat, source: Source, config: DictConfig) -> str:
    """Fill the folder of an export; returns the name of the model's file."""
    path = folder / f"{STEM}{EXPORT_SUFFIXES[config.format]}"
    int8 = None
    if config.int8:
        float32 = path.with_stem("float32")
        parity = _write_compared(float32, export_format, source, config)
        int8 = _quantize(float32, path, export_format, source, config)
        for file in folder.glob(f"{float32.stem}.*"):
            file.unlink()
    else:
        parity = _write_compared(path, export_format, source, config)
    packages = (*export_format.packages, *(export_format.int8_packages or ()))
    record = {
        "format_version": FORMAT_VERSION,
        "format": config.format,
        "file": path.name,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": dict(source.predictor.metadata.run),
        "versions": installed_versions(*packages),
        "parity": parity.as_dict(),
        "int8": int8,
        "settings": _settings(config),
        FILES: checksums(folder, sorted(file.name for file in folder.iterdir())),
    }
    text = json.dumps(seal(record), indent=2) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")
    return path.name


def _write_compared(
    path: Path, export_format: ExportFormat, source: Source, config: DictConfig
) -> Parity:
    """Write the model in float32. Raises RunError where it does not predict as the run does."""
    model = copy.deepcopy(source.model)
    model.make_exportable()
    log.info("Exporting %s as %s ...", source.predictor.metadata.model, config.format)
    with _library_errors(config):
        export_format.write(model, _metadata(source, config, int8=False), path)
    numbers = [
        number for split in (VAL, TEST) for number in source.data.indices(split, every_label=True)
    ]
    if not numbers:
        raise RunError(
            f"run={config.run}: expected images in val or test that the exported model can be "
            "compared on, found none. Export a run that has some."
        )
    inputs = ModelInputs(source.data, evenly_spaced(numbers, config.images))
    parity = compare(source, open_exported(path, threads=source.threads, verify=False), inputs)
    _log_parity(parity, len(inputs))
    errors = parity.errors()
    if errors:
        raise RunError(
            f"format={config.format}: the exported model does not predict as the run does, so it "
            f"is not kept: {'; '.join(errors)}. Try another format."
        )
    return parity


def _quantize(
    float32: Path, path: Path, export_format: ExportFormat, source: Source, config: DictConfig
) -> dict[str, Any]:
    """Write the model with int8 layers; returns what that changes."""
    calibration = quantization.calibration_inputs(source.data, config.calibration_images)
    log.info("Calibrating int8 on %d training images ...", len(calibration))
    with _library_errors(config):
        export_format.quantize(float32, path, _metadata(source, config, int8=True), calibration)
    quantized = open_exported(path, threads=source.threads, verify=False)
    return quantization.measure(source.task, source.data, source.predictor, quantized)


@contextlib.contextmanager
def _library_errors(config: DictConfig) -> Iterator[None]:
    """Turn the error of a library for a network that it cannot write into a RunError."""
    try:
        yield
    except (InspectionError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        setting = f"format={config.format}" + " int8=true" * config.int8
        raise RunError(
            f"{setting}: this network cannot be written ({type(error).__name__}: {reason}). Try "
            "another format."
        ) from error


def _metadata(source: Source, config: DictConfig, *, int8: bool) -> ModelMetadata:
    metadata = source.predictor.metadata
    run = {**metadata.run, "format": config.format, "int8": int8}
    return dataclasses.replace(metadata, run=run)


def compare(source: Source, exported: Predictor, inputs: ModelInputs) -> Parity:
    """Compare an exported model with its run, on each image alone and on batches."""
    parity = Parity(source.predictor.post_processor)
    with progress_bar("Comparing") as show:
        for batch in inputs.batches(_BATCH_SIZE):
            expected = source.predictor.backend.run(batch.inputs)
            require_finite(expected)
            together = exported.backend.run(batch.inputs)
            for row, number in enumerate(batch.index):
                single = {name: values[row : row + 1] for name, values in batch.inputs.items()}
                alone = exported.backend.run(single)
                for outputs, place in ((together, row), (alone, 0)):
                    parity.add(
                        {name: values[row] for name, values in expected.items()},
                        {name: values[place] for name, values in outputs.items()},
                        valid=batch.inputs[VALID][row] > 0,
                        path=source.data.index.samples[number].path,
                    )
            show(parity.comparisons // 2, len(inputs))
    return parity


def _log_parity(parity: Parity, count: int) -> None:
    log.info(
        "Compared with the run on %d images of val and test, alone and in batches of %d:",
        count,
        _BATCH_SIZE,
    )
    for name, difference in parity.differences.items():
        log.info(
            "  %-19s differs by %.3g at most (%.3g allowed)",
            name,
            difference.largest,
            difference.allowed,
        )
    log.info(
        "  %-19s %d of %d differ, %d of them ties within the tolerance",
        "predictions",
        len(parity.changed) + len(parity.ties),
        parity.comparisons,
        len(parity.ties),
    )
    if parity.pixels:
        log.info("  %-19s differ in %d pixels", "predicted masks", parity.pixels)
