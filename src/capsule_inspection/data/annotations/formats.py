"""The annotation formats by name: recognised, read, and kept as masks in the cache folder.

The folder of a data set is named by a hash of the settings and of the size and times of all files
below its root, so that a warm start reads one list and no annotation.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from capsule_inspection.data.cache_folder import hold_lock, report_write_errors
from capsule_inspection.data.layouts.samples import (
    FoundSample,
    FoundSamples,
    LayoutSettings,
    relative_posix,
)
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.mask_rules import MaskRules
from capsule_inspection.files import atomic_dir, atomic_write_text, remove_partial
from capsule_inspection.types import (
    ANNOTATION_FORMATS,
    IGNORE_INDEX,
    ConfigurationError,
    DataError,
)

if TYPE_CHECKING:
    from capsule_inspection.data.annotations.conversion import Converted

_UNANNOTATED_GOOD = frozenset({"coco", "yolo", "cvat"})
"""Formats in which an image without annotations shows nothing."""
_VERSION = 1
_INDEX = "index.json"
_TRIED = 3
"""Files of a suffix that are looked at to recognise a format."""


def find_annotated_samples(name: str, tree: FileTree, settings: LayoutSettings) -> FoundSamples:
    """The images of a data set in the format `name`, with masks drawn from its annotations.

    The class map is applied. Raises DataError where the annotations are not of this format, have
    faults, or do not fit the images; ConfigurationError for settings that the format does not have.
    """
    settings = _checked(name, settings)
    assert settings.cache_folder is not None
    folder = settings.cache_folder.absolute() / "annotations" / _key(name, tree, settings)
    found = _load(tree, folder)
    if found is None:
        with hold_lock(folder):
            found = _load(tree, folder) or _convert_into(folder, name, tree, settings)
    return found


def convert_annotations(
    name: str, tree: FileTree, settings: LayoutSettings, folder: Path
) -> Converted:
    """Write the masks of a data set to a folder. Raises as `find_annotated_samples` does."""
    # Here, so that a warm start imports neither OpenCV nor pycocotools.
    from capsule_inspection.data.annotations.conversion import convert

    settings = _checked(name, settings)
    annotations = _module(name).read(tree, settings)
    return convert(tree, annotations, settings, folder)


def recognise(tree: FileTree) -> dict[str, str]:
    """What shows that a data set is of a format, in words, by format; empty where nothing does."""
    found: dict[str, str] = {}
    for name in ANNOTATION_FORMATS:
        module = _module(name)
        for file in _first_of_folders(tree.files, module.SUFFIXES):
            try:
                evidence = module.recognise(tree.root / file)
            except (DataError, OSError):
                continue
            if evidence:
                found[name] = f"{file} with {evidence}"
                break
    masks = next((name for name in tree.images if "SegmentationClass" in name.split("/")), None)
    if masks and "voc" not in found:
        found["voc"] = f"{masks} in SegmentationClass"
    return found


def _checked(name: str, settings: LayoutSettings) -> LayoutSettings:
    """The settings with the format's own meaning of `unannotated=auto`.

    Raises ConfigurationError for rules of mask values, which only Pascal VOC has.
    """
    rules = settings.mask_rules
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
    if settings.unannotated == "auto":
        settings = replace(settings, unannotated="good" if name in _UNANNOTATED_GOOD else "error")
    return settings


def _module(name: str) -> ModuleType:
    """The module of a format, with SUFFIXES, recognise(path) and read(tree, settings)."""
    return importlib.import_module(f"capsule_inspection.data.annotations.{name}")


def _first_of_folders(files: Iterable[str], suffixes: Sequence[str]) -> list[str]:
    """The first files of a suffix in each folder, those in the upper folders first."""
    counts: dict[str, int] = {}
    found = []
    for name in files:
        if name.lower().endswith(tuple(suffixes)):
            folder = name.rpartition("/")[0]
            counts[folder] = counts.get(folder, 0) + 1
            if counts[folder] <= _TRIED:
                found.append(name)
    return sorted(found, key=lambda name: name.count("/"))


def _key(name: str, tree: FileTree, settings: LayoutSettings) -> str:
    """A hash of everything that the masks depend on."""
    annotations = settings.annotations
    outside: list[Path] = []
    if annotations is not None and annotations.exists():
        outside = sorted(annotations.rglob("*")) if annotations.is_dir() else [annotations]
    used = {
        "version": _VERSION,
        "format": name,
        "root": str(tree.root),
        "annotations": str(annotations.absolute()) if annotations else None,
        "good_class": settings.good_class,
        "class_map": sorted(settings.class_map.items()),
        "boxes_as_masks": settings.boxes_as_masks,
        "unannotated": settings.unannotated,
        "exif_orientation": settings.exif_orientation,
        "max_pixels": settings.max_pixels,
        "rules": repr(settings.mask_rules),
        "files": [(file, *_status(tree.root / file)) for file in tree.files],
        "outside": [(str(file), *_status(file)) for file in outside],
    }
    return hashlib.sha256(json.dumps(used).encode()).hexdigest()[:20]


def _status(path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - quicker for many files
    except OSError:
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _save(converted: Converted, folder: Path) -> None:
    record = {
        "layout": converted.layout,
        "classes": converted.classes,
        "values": list(converted.values.items()),
        "samples": [
            (each.path, each.class_name, each.mask, each.split) for each in converted.samples
        ],
        "files": converted.files,
        "warnings": converted.warnings,
    }
    atomic_write_text(folder / _INDEX, json.dumps(record))


def _convert_into(
    folder: Path, name: str, tree: FileTree, settings: LayoutSettings
) -> FoundSamples:
    """Make the folder anew, without what is left of an earlier one."""
    with report_write_errors(folder):
        remove_partial(folder)
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_dir(folder) as partial:
            _save(convert_annotations(name, tree, settings, partial), partial)
    found = _load(tree, folder)
    assert found is not None
    return found


def _load(tree: FileTree, folder: Path) -> FoundSamples | None:
    """The samples of a folder that `_save` has made, None where it or one of its masks is gone."""
    try:
        record = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    masks = {str(folder / mask) for _, _, mask, _ in record["samples"] if mask}
    there = {f"{path}{os.sep}{name}" for path, _, names in os.walk(folder) for name in names}
    if not masks <= there:
        return None
    classes = dict(record["values"])
    return FoundSamples(
        root=tree.root,
        classes=tuple(record["classes"]),
        samples=tuple(
            FoundSample(path, class_name, str(folder / mask) if mask else None, split)
            for path, class_name, mask, split in record["samples"]
        ),
        layout=record["layout"],
        mask_rules=MaskRules(ignore=IGNORE_INDEX, classes=classes),
        other_files=frozenset(relative_posix(Path(path), tree.root) for path in record["files"]),
        warnings=tuple(record["warnings"]),
    )
