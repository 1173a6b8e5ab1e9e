"""The annotation formats by name: recognised, read, and kept as masks in the cache folder.

The folder of a data set is named by a hash of the settings and of the size and times of all files
below its root, so that a warm start reads one list and no annotation.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from capsule_inspection.data.cache_folder import hold_lock, report_write_errors
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples, LayoutSettings
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.file_list import find_damage, write_file_list
from capsule_inspection.files import atomic_dir, atomic_write_text, remove_partial
from capsule_inspection.types import (
    ANNOTATION_FORMATS,
    IGNORE_INDEX,
    ConfigurationError,
    DataError,
)

log = logging.getLogger(__name__)

_UNANNOTATED_GOOD = frozenset({"coco", "yolo", "cvat"})
"""Formats in which an image without annotations shows nothing."""
_VERSION = 2
_INDEX = "index.json"
_TRIED = 3
"""Files of a suffix that are looked at in each folder to recognise a format."""


def find_annotated_samples(name: str, tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of a data set in the format `name`, with masks drawn from its annotations.

    The class map is applied. Raises DataError where the annotations are not of this format, have
    faults, or do not fit the images; ConfigurationError for settings that the format does not have.
    """
    assert settings.cache_folder is not None
    folder = settings.cache_folder.absolute() / "annotations" / _key(name, tree, settings)
    found = _load(tree, folder)
    if found is None:
        with hold_lock(folder):
            found = _load(tree, folder) or _convert_into(folder, name, tree, settings)
    return found


def convert_annotations(
    name: str, tree: FileTree, settings: LayoutSettings, folder: Path
) -> FoundSamples:
    """Write the masks of a data set to a folder, to which their names are relative.

    Raises as `find_annotated_samples` does.
    """
    # Here, so that a warm start imports neither OpenCV nor pycocotools.
    from capsule_inspection.data.annotations.conversion import convert

    _check_rules(name, settings.mask_rules)
    if settings.unannotated == "auto":
        settings = replace(settings, unannotated="good" if name in _UNANNOTATED_GOOD else "error")
    return convert(tree, _module(name).read(tree, settings), settings, folder)


def recognise(tree: FileTree, annotations: Path | None = None) -> dict[str, str]:
    """What shows that a data set is of a format, in words, by format; empty where nothing does.

    With `annotations` only this file, or the files of this folder, are looked at.
    """
    found: dict[str, str] = {}
    files = tree.files if annotations is None else tuple(map(str, _outside(tree, annotations)))
    for name in ANNOTATION_FORMATS:
        module = _module(name)
        for file in _first_of_folders(files, module.SUFFIXES):
            try:
                evidence = module.recognise(tree.root / file)
            except (DataError, OSError):
                continue
            if evidence:
                found[name] = f"{file} with {evidence}"
                break
    masks = next((each for each in tree.images if "SegmentationClass" in each.split("/")), None)
    if masks and annotations is None:
        found.setdefault("voc", f"{masks} in SegmentationClass")
    return found


def _check_rules(name: str, rules: MaskRules) -> None:
    """Raise ConfigurationError for rules of mask values, of which only Pascal VOC has some."""
    if name != "voc" and rules != MaskRules():
        raise ConfigurationError(
            f"data.mask_values, mask_ignore and mask_inverted have no meaning for data={name}, "
            "whose masks are drawn from annotations. Leave them out."
        )
    if rules.inverted or rules.binary:
        raise ConfigurationError(
            "data.mask_inverted=true and data.mask_values=binary have no meaning for data=voc, "
            "whose colours stand for classes. Leave them out."
        )


def _module(name: str) -> ModuleType:
    """The module of a format, with SUFFIXES, recognise(path) and read(tree, settings)."""
    return importlib.import_module(f"capsule_inspection.data.annotations.{name}")


def _first_of_folders(files: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """The first files of a suffix in each folder, those in the upper folders first."""
    by_folder: dict[str, list[str]] = {}
    for name in files:
        if name.lower().endswith(tuple(suffixes)):
            by_folder.setdefault(folder_of(name), []).append(name)
    found = (name for names in by_folder.values() for name in names[:_TRIED])
    return sorted(found, key=lambda name: name.count("/"))


def _key(name: str, tree: FileTree, settings: LayoutSettings) -> str:
    """A hash of everything that the masks depend on."""
    given = replace(settings, cache_folder=None, workers=0)
    outside = [] if given.annotations is None else _outside(tree, given.annotations)
    files = [*(tree.root / file for file in tree.files), *outside]
    used = [_VERSION, name, str(tree.root), repr(given), [(str(f), *_status(f)) for f in files]]
    return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:20]


def _outside(tree: FileTree, annotations: Path) -> list[Path]:
    """The absolute paths of the files that `data.annotations` names."""
    annotations = annotations if annotations.exists() else tree.root / annotations
    found = sorted(annotations.rglob("*")) if annotations.is_dir() else [annotations]
    return [path.absolute() for path in found if path.is_file()]


def _status(path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - quicker for many files
    except OSError:
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _convert_into(
    folder: Path, name: str, tree: FileTree, settings: LayoutSettings
) -> FoundSamples:
    """Make the folder anew, without what is left of an earlier one."""
    with report_write_errors(folder):
        remove_partial(folder)
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_dir(folder) as partial:
            _save(convert_annotations(name, tree, settings, partial), partial)
            write_file_list(partial)
    found = _load(tree, folder)
    assert found is not None
    return found


def _save(found: FoundSamples, folder: Path) -> None:
    record = {
        "layout": found.layout,
        "classes": found.classes,
        "values": list((found.mask_rules.classes or {}).items()),
        "samples": [(each.path, each.class_name, each.mask, each.split) for each in found.samples],
        "files": sorted(found.other_files),
        "warnings": found.warnings,
    }
    atomic_write_text(folder / _INDEX, json.dumps(record))


def _load(tree: FileTree, folder: Path) -> FoundSamples | None:
    """The samples of a folder that `_save` has made; None where there is none or a damaged one."""
    if not folder.exists():
        return None
    if fault := find_damage(folder):
        log.warning("%s: %s; the masks are drawn again.", folder, fault)
        return None
    record = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    samples = tuple(
        FoundSample(path, class_name, str(folder / mask) if mask else None, split)
        for path, class_name, mask, split in record["samples"]
    )
    return FoundSamples(
        root=tree.root,
        classes=tuple(record["classes"]),
        samples=samples,
        layout=record["layout"],
        mask_rules=MaskRules(
            ignore=IGNORE_INDEX, classes=dict(record["values"]), from_annotations=True
        ),
        other_files=frozenset(record["files"]),
        warnings=tuple(record["warnings"]),
    )
