"""Exported files: which ones there are, and how one becomes a predictor.

What a file holds is the business of its format, see formats/.
"""

from __future__ import annotations

from pathlib import Path

from capsule_inspection.inference.formats import OPENVINO, SUFFIXES, format_of
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.types import RunError, RunFiles

STEM = "model"
"""What export.py calls its files; they may be named otherwise."""


def is_exported(path: Path) -> bool:
    """Whether a path looks like an exported file, or like a folder of such and no run."""
    if path.is_dir():
        return not (path / RunFiles.RECORD).exists() and bool(_models_in(path))
    return path.suffix in SUFFIXES.values() and path.is_file()


def open_exported(path: Path, *, threads: int) -> Predictor:
    """A file of `is_exported`, or a folder with one, ready for photographs on the processor.

    Raises RunError where it is damaged, no model of ours, made by a newer version, or parted from
    its companion; ConfigurationError where packages are missing.
    """
    file = _file_of(path)
    name = next(name for name, suffix in SUFFIXES.items() if suffix == file.suffix)
    opened = format_of(name).open(file, threads=threads)
    return Predictor(opened.description, opened.engine)


def _file_of(path: Path) -> Path:
    if path.is_file() and path.suffix in SUFFIXES.values():
        return path
    if path.is_file() and path.suffix == ".bin":
        raise RunError(
            f"{path}: these are the weights of an {OPENVINO} model. Name the "
            f"{SUFFIXES[OPENVINO]} file beside them."
        )
    found = _models_in(path) if path.is_dir() else []
    if len(found) != 1:
        what = f"{len(found)} of them" if path.is_dir() else "something else"
        if not path.exists():
            what = "nothing"
        raise RunError(
            f"{path}: expected an exported model, a file of {', '.join(SUFFIXES.values())} or a "
            f"folder with one, found {what}. Name the file that export.py wrote."
        )
    return found[0]


def _models_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES.values())
