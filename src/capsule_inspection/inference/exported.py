"""Exported files: the formats by name, and how a file becomes a predictor."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from capsule_inspection.archives import describe
from capsule_inspection.inference.formats.base import ExportFormat, damaged
from capsule_inspection.inference.formats.onnx import Onnx
from capsule_inspection.inference.formats.openvino import OpenVino
from capsule_inspection.inference.formats.torch_export import TorchExport
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.integrity import FILES, REMEDY, file_sha256, read_sealed
from capsule_inspection.tasks.backend import FOREGROUND, IMAGE, VALID
from capsule_inspection.types import EXPORT_SUFFIXES, RunError, RunFiles

log = logging.getLogger(__name__)
STEM = "model"
"""What export.py calls its files; they may be renamed."""
RECORD = "export.json"
"""File beside them: how they were exported, and their checksums."""
_FORMATS: dict[str, type[ExportFormat]] = {
    format_type.name: format_type for format_type in (Onnx, OpenVino, TorchExport)
}
_BY_SUFFIX = {suffix: name for name, suffix in EXPORT_SUFFIXES.items()}


def get_format(name: str) -> ExportFormat:
    """The format of a name."""
    return _FORMATS[name]()


def is_exported(path: Path) -> bool:
    """Whether a path looks like an exported file, or like a folder with one that is not a run."""
    if path.is_dir():
        return not (path / RunFiles.RECORD).exists() and bool(_find_models(path))
    return path.suffix in _BY_SUFFIX and path.is_file()


def open_exported(path: Path, *, threads: int, verify: bool = True) -> Predictor:
    """An exported file, or a folder with one, as a predictor on the CPU.

    Where it is to `verify`, it is compared with export.json, with a warning where there is none.
    Raises RunError where it cannot be used; ConfigurationError where packages are missing.
    """
    file = _find_model(path)
    if verify:
        _verify(file)
    backend = get_format(_BY_SUFFIX[file.suffix]).open(file, threads=threads)
    predictor = Predictor(backend.metadata, backend)
    try:
        _try(predictor)
    except Exception as error:  # whatever a damaged graph computes, or its engine raises
        raise damaged(file, error) from error
    return predictor


def _try(predictor: Predictor) -> None:
    """Predict two black crops. Raises ValueError where the outputs are not those of the task."""
    height, width = predictor.metadata.image_size
    black = np.zeros((2, height, width, 3), np.uint8)
    arrays = {IMAGE: black, FOREGROUND: black[..., 0], VALID: black[..., 0] + np.uint8(1)}
    for prediction in predictor.predict_arrays(arrays):
        if prediction is None:
            continue
        count, maps = len(predictor.post_processor.classes), (height, width)
        probabilities, anomaly_map = prediction.probabilities, prediction.anomaly_map
        if (
            not 0 <= prediction.label < count
            or (probabilities is not None and probabilities.shape != (count,))
            or (anomaly_map is not None and anomaly_map.shape != maps)
        ):
            raise ValueError("its outputs have other shapes than those of its task")


def read_export(folder: Path) -> dict[str, Any]:
    """The record of an export. Raises RunError where it is damaged."""
    path = folder / RECORD
    try:
        record = read_sealed(path)
        if not isinstance(record.get(FILES), dict) or not isinstance(record.get("run"), dict):
            raise ValueError(f"expected {FILES} and run in it")
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged ({describe(error)}). {REMEDY}") from error
    return record


def _verify(file: Path) -> None:
    """Raise RunError where a file is none of its export; an .xml has the checksum of its .bin."""
    if not file.with_name(RECORD).is_file():
        log.warning("%s: without its %s damage may not be noticed.", file, RECORD)
        return
    found = file_sha256(file)
    if found not in read_export(file.parent)[FILES].values():  # it may have another name
        raise RunError(
            f"{file}: damaged, or changed since it was exported: its SHA-256 {found:.12}... is "
            f"none of those in {RECORD}. {REMEDY}"
        )


def _find_model(path: Path) -> Path:
    if path.is_file() and path.suffix in _BY_SUFFIX:
        return path
    if path.is_file() and path.suffix == ".bin":
        raise RunError(
            f"{path}: these are the weights of an {OpenVino.name} model. Name the "
            f"{EXPORT_SUFFIXES[OpenVino.name]} file beside them."
        )
    models = _find_models(path) if path.is_dir() else []
    if len(models) != 1:
        found = f"{len(models)} of them" if path.is_dir() else "something else"
        if not path.exists():
            found = "nothing"
        raise RunError(
            f"{path}: expected an exported model, a file of {', '.join(_BY_SUFFIX)} or a folder "
            f"with one, found {found}. Name the file that export.py wrote."
        )
    return models[0]


def _find_models(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _BY_SUFFIX)
