"""Accounts for every file below the root of a data set: used as image, as mask, or not, and why.

What looks like data and is not used is a warning; a whole folder of images that no class or split
has taken is an error, since the result would be another one with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Literal

from capsule_inspection.data.layouts.file_usage import FileUsage
from capsule_inspection.data.layouts.names import fold, match_stem, readable
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSamples, join_names
from capsule_inspection.data.layouts.tree import (
    UNREAD_SUFFIXES,
    FileTree,
    count_suffixes,
    folder_of,
    suffix_of,
)
from capsule_inspection.data.long_lists import list_lines, numbered
from capsule_inspection.types import DataError

Unused = Literal["refuse", "warn", "count"]
_ANNOTATION_NAMES = ("annotation", "instances", "coco", "via_", "labels", "result")
_WITHOUT_LABELS = ("test", "unlabeled", "unlabelled", "private")
_SHOWN = 12


def take_inventory(
    tree: FileTree, found: FoundSamples, *, unused: Unused = "refuse"
) -> FoundSamples:
    """The samples with their inventory, and warnings for what is not used.

    `unused` says what is done about images that are not used: a whole folder of them is refused in
    layouts whose folders have a meaning ("refuse"), a table has chosen them ("count"). Raises
    DataError for such a folder, for a mask that several images share and for an image that is found
    twice through a link.
    """
    usage = FileUsage(tree, found)
    if unused == "refuse":
        _refuse_shared_masks(usage)
        _refuse_unused_folders(usage)
    _refuse_images_found_twice(usage)
    warnings = list(found.warnings)
    if unused != "count":
        warnings += [*_warn_of_unused_images(usage), *_warn_of_other_data(usage)]
    warnings += _warn_of_names(usage)
    warnings += [
        f"data.exclude: no file or folder matches {pattern}." for pattern in tree.idle_patterns
    ]
    return replace(found, warnings=tuple(map(readable, warnings)), inventory=usage.as_dict())


def _refuse_shared_masks(usage: FileUsage) -> None:
    """Raise DataError where one mask would be taken for several images."""
    images: dict[str, list[str]] = {}
    for sample in usage.found.samples:
        if sample.mask is not None:
            images.setdefault(sample.mask, []).append(sample.path)
    root = usage.tree.root
    shared = {
        mask: names
        for mask, names in images.items()
        if len(names) > 1 and (root / mask.partition(MASK_SEPARATOR)[0]).exists()
    }
    if shared:
        lines = [f"{' and '.join(names)}: {mask}" for mask, names in shared.items()]
        raise DataError(
            f"{root}: {len(shared)} masks would be taken for several images each:"
            f"{list_lines(lines)}Rename the images and their masks, so that each mask has one "
            "image, or leave images out with data.exclude."
        )


def _refuse_unused_folders(usage: FileUsage) -> None:
    """Raise DataError for folders of images of which none is used: a split, or a class."""
    folders = {
        name: count for name, count in usage.unused_folders.items() if not _is_unlabelled(name)
    }
    if not folders:
        return
    of_masks = {folder_of(folder) for folder in usage.mask_folders}
    masks = [name for name in folders if folder_of(name) in of_masks]
    root, layout = usage.tree.root, usage.found.layout
    if masks:
        raise DataError(
            f"{root}: the masks of {_counted(folders, masks)} belong to no image. Name the folders "
            "like the classes of their images, or leave them out with "
            f"data.exclude={_pattern(masks)}."
        )
    raise DataError(
        f"{root}: read as {layout}, {len(usage.images)} images are used, but not those of "
        f"{_counted(folders, list(folders))}. If they belong to the data set, rename the folders "
        "or use another layout (data=auto, data=folder); else leave them out with "
        f"data.exclude={_pattern(list(folders))}."
    )


def _counted(folders: Mapping[str, int], names: Sequence[str]) -> str:
    return join_names([f"{name} ({numbered(folders[name], 'image')})" for name in names])


def _pattern(names: Sequence[str]) -> str:
    return f"[{','.join(names[:_SHOWN])}]"


def _is_unlabelled(folder: str) -> bool:
    """Whether images of a folder may have no labels, as those of a benchmark's test."""
    return fold(folder.rpartition("/")[2]).startswith(_WITHOUT_LABELS)


def _refuse_images_found_twice(usage: FileUsage) -> None:
    same = usage.tree.same_file(usage.images)
    if same:
        lines = [f"{name} and {other}" for name, other in same.items()]
        raise DataError(
            f"{usage.tree.root}: {len(same)} images are found twice, by a link:"
            f"{list_lines(lines)}Leave one of each out with data.exclude."
        )


def _warn_of_unused_images(usage: FileUsage) -> Iterator[str]:
    folders = usage.unused_folders
    unlabelled = [name for name in folders if _is_unlabelled(name)]
    if unlabelled:
        yield (
            f"{_counted(folders, unlabelled)}: without class folders these images have no labels "
            "and are not used; predict.py reads them."
        )
    if others := [name for name in folders if name not in unlabelled]:
        yield f"The images of {_counted(folders, others)} are not used: no label names them."
    if loose := usage.loose_images:
        yield (
            f"{numbered(len(loose), 'image')} beside those that are used, such as {loose[0]}, have "
            "no class and are not used. Move them into the folder of a class, or leave them out "
            "with data.exclude."
        )
    if masks := usage.loose_masks:
        yield (
            f"{numbered(len(masks), 'mask')}, such as {masks[0]}, have no image of that name and "
            "are not used."
        )


def _warn_of_other_data(usage: FileUsage) -> Iterator[str]:
    foreign = [name for name in usage.unused_files if suffix_of(name) in UNREAD_SUFFIXES]
    if foreign:
        yield (
            f"{count_suffixes(foreign)}, such as {foreign[0]}, may be images, but are in no format "
            "that is read. Convert them to PNG, or leave them out with data.exclude."
        )
    stems = {match_stem(name) for name in usage.images}
    labels = [name for name in usage.unused_files if _may_annotate(name, stems)]
    if labels:
        yield (
            f"{count_suffixes(labels)}, such as {labels[0]}, may be annotations of the images, and "
            "are not read. If they are, name their format (data=coco, yolo, labelme, voc, cvat or "
            "label_studio); else leave them out with data.exclude."
        )


def _may_annotate(name: str, stems: Set[str]) -> bool:
    suffix, stem = suffix_of(name), match_stem(name)
    if suffix in {".json", ".xml"}:
        return stem in stems or any(part in stem.lower() for part in _ANNOTATION_NAMES)
    return suffix == ".txt" and stem in stems


def _warn_of_names(usage: FileUsage) -> Iterator[str]:
    """Say how names of folders were read that are not UTF-8."""
    names = {part for name in map(folder_of, usage.images) for part in name.split("/")}
    foreign = sorted(name for name in names if not _is_text(name))
    if foreign:
        shown = join_names([f"{os.fsencode(name)!r} as {readable(name)}" for name in foreign])
        yield f"The names of {numbered(len(foreign), 'folder')} are not UTF-8; read {shown}."


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
