"""Accounts for every file below the root of a data set: used as image, as mask, or not, and why.

What looks like data and is not used is a warning; a whole folder of images that no class or split
has taken is an error, since the result would be another one with it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from capsule_inspection.data.layouts.file_kinds import UNREAD_SUFFIXES, count_suffixes, suffix_of
from capsule_inspection.data.layouts.file_usage import (
    FileUsage,
    classify,
    inventory_record,
    topmost_unused,
)
from capsule_inspection.data.layouts.names import fold, is_no_class, match_stem, readable
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSamples, join_names
from capsule_inspection.data.layouts.tree import FileTree, folder_of, with_parents
from capsule_inspection.data.long_lists import list_lines, numbered
from capsule_inspection.types import DataError

Unused = Literal["refuse", "warn", "count"]
FEW, FEW_FRACTION = 2, 0.02
"""Images without a class that are passed over with a warning."""
_LABEL_SUFFIXES = (".json", ".jsonl", ".xml", ".txt", ".csv", ".tsv")
_IMAGE_NAME = re.compile(r"[^\s\"'<>/\\,;|=:]+\.\w{2,4}")
_LOOKED_AT = 3  # files of a folder and suffix
_START_BYTES = 1 << 16


def take_inventory(
    tree: FileTree, found: FoundSamples, *, unused: Unused = "refuse"
) -> FoundSamples:
    """The samples with their inventory, and warnings for what is not used.

    `unused` says what is done about images that are not used: a whole folder of them is refused in
    layouts whose folders have a meaning ("refuse"), a table has chosen them ("count"). Raises
    DataError for such a folder, for a mask that several images share and for an image that is found
    twice through a link.
    """
    usage = classify(tree, found)
    if unused == "refuse":
        _refuse_shared_masks(usage)
        _refuse_unused_images(usage)
        _refuse_unreadable_folders(usage)
    _refuse_images_found_twice(usage)
    warnings = list(found.warnings)
    if unused != "count":
        warnings += _warn_of_unused_images(usage, are_listed=unused == "warn")
        warnings += _warn_of_other_data(usage)
    if unused == "refuse" and tree.empty:
        warnings.append(f"These folders are empty: {join_names(tree.empty)}.")
    warnings += _warn_of_names(usage)
    warnings += [
        f"The images of {name} are taken for a class of their own. If they are none, leave them "
        "out with data.exclude."
        for name in found.classes
        if unused != "refuse" and is_no_class(name)
    ]
    warnings += [
        f"data.exclude: no file or folder matches {pattern}." for pattern in tree.idle_patterns
    ]
    record = inventory_record(usage)
    return replace(found, warnings=tuple(map(readable, warnings)), inventory=record)


def _refuse_shared_masks(usage: FileUsage) -> None:
    """Raise DataError where one mask would be taken for several images."""
    images: dict[str, list[str]] = {}
    for sample in usage.found.samples:
        if sample.mask is not None:
            images.setdefault(sample.mask, []).append(sample.path)
    root = usage.tree.root
    lines = [
        f"{' and '.join(names)}: {mask}"
        for mask, names in images.items()
        if len(names) > 1 and (root / mask.partition(MASK_SEPARATOR)[0]).exists()
    ]
    if lines:
        raise DataError(
            f"{root}: {numbered(len(lines), 'mask')} would be taken for several images each:"
            f"{list_lines(lines)}Rename the images and their masks, so that each mask has one "
            "image, or leave images out with data.exclude. If these masks are images of a class, "
            "rename its folder."
        )


def _refuse_unused_images(usage: FileUsage) -> None:
    """Raise DataError for folders of which no image is used, and for many images elsewhere."""
    folders = [name for name in usage.folders if not _is_unlabelled(name)]
    loose, used = usage.loose_images, len(usage.images)
    start = f"{usage.tree.root}: read as {usage.found.layout}, {used} images are used, but not "
    if folders:
        raise DataError(
            f"{start}those of {_counted(usage, folders)}. If they belong to the data set, rename "
            "the folders (a folder of masks like the class of its images), or use another layout "
            "(data=auto, data=folder); else leave them out with "
            f"data.exclude=[{','.join(folders[:8])}]."
        )
    if len(loose) > max(FEW, FEW_FRACTION * used):
        raise DataError(
            f"{start}{numbered(len(loose), 'image')}, such as {loose[0]}, of which no folder or "
            "table says the class. Move them into the folder of their class, or leave them out "
            "with data.exclude."
        )


def _refuse_unreadable_folders(usage: FileUsage) -> None:
    """Raise DataError for a folder beside those of classes in whose format nothing is read."""
    used = with_parents(usage.images | usage.masks | usage.others)
    beside = {folder_of(folder) for folder in map(folder_of, usage.images) if folder}
    for name in usage.files:
        folder = topmost_unused(name, used)
        if folder and folder_of(folder) in beside and suffix_of(name) in UNREAD_SUFFIXES:
            raise DataError(
                f"{usage.tree.root / folder}: expected images, found {name}, in no format that is "
                "read. Convert such files to PNG, or leave the folder out with "
                f"data.exclude=[{folder}]."
            )


def _is_unlabelled(folder: str) -> bool:
    """Whether a folder is that of images without labels, as `test_private` and `test1`."""
    name = fold(folder.rpartition("/")[2])
    return name.startswith("test") or "test" in name.split() or is_no_class(name)


def _counted(usage: FileUsage, names: Sequence[str]) -> str:
    return join_names(f"{name} ({numbered(usage.folders[name], 'image')})" for name in names)


def _refuse_images_found_twice(usage: FileUsage) -> None:
    same = usage.tree.same_file(usage.images)
    if same:
        lines = [f"{name} and {other}" for name, other in same.items()]
        raise DataError(
            f"{usage.tree.root}: found twice, by a link: {numbered(len(same), 'image')}:"
            f"{list_lines(lines)}Leave one of each out with data.exclude."
        )


def _warn_of_unused_images(usage: FileUsage, *, are_listed: bool) -> Iterator[str]:
    unlabelled = [name for name in usage.folders if _is_unlabelled(name)]
    if unlabelled:
        yield (
            f"Not used: {_counted(usage, unlabelled)}, which has no labels without class "
            "folders; predict.py reads such images."
        )
    if others := [name for name in usage.folders if name not in unlabelled]:
        yield f"Not used: {_counted(usage, others)}, of which no label names an image."
    if loose := usage.loose_images:
        reason, remedy = "in no class folder", "Move them into the folder of a class"
        if are_listed:
            reason, remedy = "that no annotation names", "Add them to the annotations"
        yield (
            f"Not used: {numbered(len(loose), 'image')} {reason}, such as {loose[0]}. {remedy}, "
            "or leave them out with data.exclude."
        )
    if masks := usage.loose_masks:
        yield (
            f"Not used: {numbered(len(masks), 'mask')} without an image of that name, such as "
            f"{masks[0]}."
        )


def _warn_of_other_data(usage: FileUsage) -> Iterator[str]:
    foreign = [name for name in usage.files if suffix_of(name) in UNREAD_SUFFIXES]
    if foreign:
        yield (
            f"Left out: {count_suffixes(foreign)}, such as {foreign[0]}, in no format that is "
            "read. Convert them to PNG, or name them in data.exclude."
        )
    if labels := _label_files(usage):
        yield (
            f"{count_suffixes(labels)}, such as {labels[0]}, may be annotations of the images or "
            "their splits, and are not read. If they are needed, name their format (data=coco, "
            "yolo, labelme, voc, cvat, label_studio; data=manifest for a table); else leave them "
            "out with data.exclude."
        )


def _label_files(usage: FileUsage) -> list[str]:
    """Files that are named like an image, or that name some images, of a few in each folder."""
    stems = {match_stem(name) for name in usage.images}
    names = {name.rpartition("/")[2] for name in usage.images}
    looked, found = Counter[tuple[str, str]](), []
    for name in usage.files:
        suffix = suffix_of(name)
        if suffix not in _LABEL_SUFFIXES:
            continue
        looked[folder_of(name), suffix] += 1
        few = looked[folder_of(name), suffix] <= _LOOKED_AT
        if match_stem(name) in stems or (few and _names_images(usage.tree.root / name, names)):
            found.append(name)
    return found


def _names_images(path: Path, names: set[str]) -> bool:
    """Whether the start of a file has the names of some images."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_START_BYTES).decode(errors="replace")
    except OSError:
        return False
    return len(names.intersection(_IMAGE_NAME.findall(text))) >= min(3, len(names))


def _warn_of_names(usage: FileUsage) -> Iterator[str]:
    """Say how names of folders were read that are not UTF-8."""
    names = {part for folder in with_parents(usage.images) for part in folder.split("/")}
    foreign = sorted(name for name in names if not name.isascii() and not _is_text(name))
    if foreign:
        shown = join_names([f"{os.fsencode(name)!r} as {readable(name)}" for name in foreign])
        yield f"The names of {numbered(len(foreign), 'folder')} are not UTF-8; read {shown}."


def _is_text(name: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in name)
