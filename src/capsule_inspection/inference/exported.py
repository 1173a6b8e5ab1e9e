"""Exported files: the formats by name, and how a file becomes a predictor."""

from __future__ import annotations

from pathlib import Path

from capsule_inspection.inference.formats.base import ExportFormat
from capsule_inspection.inference.formats.onnx import Onnx
from capsule_inspection.inference.formats.openvino import OpenVino
from capsule_inspection.inference.formats.torch_export import TorchExport
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.types import EXPORT_SUFFIXES, RunError, RunFiles

STEM = "model"
"""What export.py calls its files; they may be renamed."""
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


def open_exported(path: Path, *, threads: int) -> Predictor:
    """An exported file, or a folder with one, as a predictor on the CPU.

    Raises RunError where it cannot be used; ConfigurationError where packages are missing.
    """
    file = _find_model(path)
    backend = get_format(_BY_SUFFIX[file.suffix]).open(file, threads=threads)
    return Predictor(backend.metadata, backend)


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
