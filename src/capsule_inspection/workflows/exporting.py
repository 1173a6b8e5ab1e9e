"""`export.py`: a finished run as a file for other programs, kept if it says what the run says."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from capsule_inspection.files import whole_folder, write_whole
from capsule_inspection.inference.description import Description
from capsule_inspection.inference.exported import STEM, open_exported
from capsule_inspection.inference.formats import SUFFIXES, Format, format_of
from capsule_inspection.inference.parity import Parity
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.types import InspectionError, RunError
from capsule_inspection.workflows import hardware, inputs, quantising
from capsule_inspection.workflows.crops import Crops
from capsule_inspection.workflows.export_source import Source, open_source
from capsule_inspection.workflows.output_folder import refuse_used

log = logging.getLogger(__name__)
FORMAT_VERSION = 1
RECORD = "export.json"
_TOGETHER = 4
"""Images that go through a model together, beside each by itself."""


def export(config: DictConfig) -> None:
    """Export as `conf/export.yaml` says.

    Raises RunError where the run or the output folder cannot be used, or where the exported model
    differs from the run; ConfigurationError where packages are missing or the format has no models
    of eight bits; DataError where the run's images are gone.
    """
    output = _output(config)
    refuse_used(output)
    form = format_of(config.format)
    form.require(int8=config.int8)
    source = open_source(config)
    try:
        with whole_folder(output) as folder:
            file = _write(folder, form, source, config)
    except OSError as error:
        raise RunError(
            f"output={output}: cannot be written ({error.strerror or error}). Make room, or name "
            "another folder."
        ) from error
    log.info("Exported:   %s", output / file)
    log.info("To use it:  python predict.py run=%s input=<photographs>", output)


def _output(config: DictConfig) -> Path:
    if config.output:
        return Path(config.output)
    return Path(config.run) / "export" / (config.format + "-int8" * config.int8)


def _write(folder: Path, form: Format, source: Source, config: DictConfig) -> str:
    """Fill the folder of an export; returns the name of the model's file."""
    path = folder / f"{STEM}{SUFFIXES[config.format]}"
    made_by = {"format": config.format, "int8": bool(config.int8)}
    figures = None
    if config.int8:
        plain = path.with_stem("float32")
        parity = _write_checked(plain, form, source, config)
        figures = _quantise(plain, path, form, source, config)
        for file in folder.glob(f"{plain.stem}.*"):
            file.unlink()
    else:
        parity = _write_checked(path, form, source, config)
    record = {
        "format_version": FORMAT_VERSION,
        **made_by,
        "file": path.name,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": dict(source.reference.description.origin),
        "versions": {**hardware.versions(), **hardware.versions_of(form.packages)},
        "parity": parity.as_dict(),
        "eight_bits": figures,
    }
    write_whole(folder / RECORD, json.dumps(record, indent=2, default=str) + "\n")
    return path.name


def _write_checked(path: Path, form: Format, source: Source, config: DictConfig) -> Parity:
    """The model in float32. Raises RunError where it does not say what the run says."""
    exportable = copy.deepcopy(source.inspector)
    exportable.make_exportable()
    log.info("Exporting %s as %s ...", source.reference.description.model, config.format)
    with _naming(config):
        form.write(exportable, _described(source, format=config.format, int8=False), path)
    crops = source.to_compare(config.images)
    parity = compare(source.reference, open_exported(path, threads=source.threads), crops)
    _tell(parity, crops)
    objections = parity.objections()
    if objections:
        raise RunError(
            f"format={config.format}: the exported model does not say what the run says, so it is "
            f"not kept: {'; '.join(objections)}. Try another format."
        )
    return parity


def _quantise(
    plain: Path, path: Path, form: Format, source: Source, config: DictConfig
) -> dict[str, Any]:
    """The same model with eight bits; what that costs."""
    seen = quantising.calibration_inputs(source, config.calibration_images)
    log.info("Taking ranges from %d training images ...", len(seen))
    with _naming(config):
        form.quantise(plain, path, _described(source, format=config.format, int8=True), seen)
    return quantising.measure(source, open_exported(path, threads=source.threads))


@contextlib.contextmanager
def _naming(config: DictConfig) -> Iterator[None]:
    """Turn what a library says of a network that it cannot write into a RunError."""
    try:
        yield
    except (InspectionError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        what = f"format={config.format}" + " int8=true" * config.int8
        raise RunError(
            f"{what}: this network cannot be written ({type(error).__name__}: {reason}). Try "
            "another format."
        ) from error


def _described(source: Source, **made_by: Any) -> Description:
    description = source.reference.description
    return dataclasses.replace(description, origin={**description.origin, **made_by})


def compare(reference: Predictor, exported: Predictor, crops: Crops) -> Parity:
    """Hold an exported model against its run: each image by itself, and several together."""
    parity = Parity(exported.description)
    with inputs.progress("Comparing") as show:
        for done, reads in enumerate(crops.batches(_TOGETHER), start=1):
            expected = reference.engine.run(reference.stacked(reads))
            together = exported.engine.run(exported.stacked(reads))
            for row, read in enumerate(reads):
                alone = exported.engine.run(exported.stacked([read]))
                assert read.prepared is not None
                own = {name: values[row] for name, values in expected.items()}
                for outputs, place in ((together, row), (alone, 0)):
                    found = {name: values[place] for name, values in outputs.items()}
                    parity.add(own, found, read.prepared, path=read.name)
            show(min(done * _TOGETHER, len(crops)), len(crops))
    return parity


def _tell(parity: Parity, crops: Crops) -> None:
    log.info(
        "Held against the run on %d images of val and test, one by one and %d together:",
        len(crops),
        _TOGETHER,
    )
    for name, of in parity.differences.items():
        log.info("  %-10s differs by %.3g at most (%.3g allowed)", name, of.largest, of.allowed)
    log.info(
        "  answers    %d of %d differ, %d of them so close that rounding decides",
        len(parity.changed) + len(parity.ties),
        parity.comparisons,
        len(parity.ties),
    )
    if parity.pixels:
        log.info("  marks      differ in %d pixels", parity.pixels)
