"""The files below a root by their use: images, masks, others that were read, and the rest."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from capsule_inspection.data.image_formats import IMAGE_SUFFIXES
from capsule_inspection.data.layouts.file_kinds import SYSTEM_FOLDERS, suffix_of
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSamples, join_names
from capsule_inspection.data.layouts.tree import FileTree, folder_of, with_parents
from capsule_inspection.data.long_lists import numbered


@dataclass(frozen=True)
class FileUsage:
    """The files of a tree by their use.

    `others` were read besides images and masks, or are left out on purpose. `folders` has the
    number of images of each topmost folder in which nothing is used; `loose_images` are the unused
    ones in other folders, `loose_masks` those in folders of masks, `links` is the number of files
    that are used under another name. `files` are no images and were not read.
    """

    tree: FileTree
    found: FoundSamples
    images: frozenset[str]
    masks: frozenset[str]
    others: frozenset[str]
    folders: dict[str, int]
    loose_images: list[str]
    loose_masks: list[str]
    links: int
    files: list[str]


def classify(tree: FileTree, found: FoundSamples) -> FileUsage:
    """What each file is used for."""
    images = frozenset(sample.path for sample in found.samples)
    masks = _mask_files(tree, found)
    others = _other_files(tree, found) - images - masks
    used = images | masks | others
    same = tree.same_file(tree.image_set)
    real = {same.get(name, name) for name in used}
    left = sorted(tree.image_set - used)
    unused = [name for name in left if same.get(name, name) not in real]
    used_folders = with_parents(used)
    mask_folders = set(map(folder_of, masks)) - set(map(folder_of, images))
    folders, loose = Counter[str](), list[str]()
    for name in unused:
        if topmost := topmost_unused(name, used_folders):
            folders[topmost] += 1
        else:
            loose.append(name)
    return FileUsage(
        tree,
        found,
        images,
        masks,
        others,
        folders=dict(sorted(folders.items())),
        loose_images=[name for name in loose if folder_of(name) not in mask_folders],
        loose_masks=[name for name in loose if folder_of(name) in mask_folders],
        links=len(tree.circles) + len(left) - len(unused),
        files=[name for name in tree.files if name not in used and name not in tree.image_set],
    )


def topmost_unused(name: str, used_folders: set[str]) -> str:
    """The topmost folder above a file that is not among the used ones, "" for none."""
    folder, topmost = folder_of(name), ""
    while folder and folder not in used_folders:
        folder, topmost = folder_of(folder), folder
    return topmost


def _mask_files(tree: FileTree, found: FoundSamples) -> frozenset[str]:
    """Files of masks below the root, and the names of those elsewhere."""
    files, masks = frozenset(tree.files), set()
    for name in {sample.mask for sample in found.samples if sample.mask}:
        for part in [name] if name in files else name.split(MASK_SEPARATOR):
            if part in files or os.path.isabs(part):  # noqa: PTH117 - a POSIX name
                masks.add(part)
            else:
                masks.update(tree.images_in(part))
    return frozenset(masks)


def _other_files(tree: FileTree, found: FoundSamples) -> frozenset[str]:
    return frozenset(
        name
        for other in found.other_files
        for name in (tree.files_below(other) if tree.has_folder(other) else [other])
    )


def inventory_record(usage: FileUsage) -> dict[str, object]:
    """What run.json records; `summary` is for people."""
    tree, samples = usage.tree, usage.found.samples
    suffixes = Counter(readable(suffix_of(name)) or "without suffix" for name in usage.files)
    not_used: dict[str, object] = {
        "files": dict(suffixes),
        "images": len(usage.loose_images),
        "masks": len(usage.loose_masks),
        "folders": {readable(name): count for name, count in usage.folders.items()},
        "excluded": list(map(readable, tree.excluded)),
        "system": list(map(readable, tree.system)),
        "predictions": list(map(readable, tree.predictions)),
        "links": usage.links,
    }
    classes = Counter(sample.class_name or "by mask" for sample in samples)
    pictures = usage.others & tree.image_set
    left_out = 0 if usage.found.mask_rules.from_annotations else len(pictures)
    return {
        "summary": _summary(usage, suffixes, len(pictures)),
        "images": len(samples),
        "classes": dict(sorted(classes.items())),
        "splits": dict(sorted(Counter(each.split for each in samples if each.split).items())),
        "masks": len(usage.masks),
        "other_files": len(usage.others) - left_out,
        "left_out": left_out,
        "not_used": {reason: what for reason, what in not_used.items() if what},
    }


def _summary(usage: FileUsage, suffixes: Counter[str], pictures: int) -> str:
    """The inventory in a line or two."""
    tree = usage.tree
    by_content = sum(suffix_of(name) not in IMAGE_SUFFIXES for name in usage.images)
    known = f" ({by_content} known by their content, not by their suffix)" if by_content else ""
    is_folder = {name: name.rpartition("/")[2].lower() in SYSTEM_FOLDERS for name in tree.system}
    folders = [f"{name} ({numbered(count, 'image')})" for name, count in usage.folders.items()]
    folders += [name for name in tree.system if is_folder[name]]
    folders += [f"{name or '.'} (written by this program)" for name in tree.predictions]
    unlabelled = {
        n: len(tree.images_below(n)) for n in usage.found.other_files if tree.has_folder(n)
    }
    folders += [
        f"{n} ({numbered(unlabelled[n], 'image')} without labels)" for n in sorted(unlabelled)
    ]
    left_out = pictures - sum(unlabelled.values())
    from_annotations = usage.found.mask_rules.from_annotations
    used = [
        numbered(len(usage.found.samples), "image") + known,
        numbered(len(usage.masks), "mask"),
        *_some(pictures if from_annotations else 0, "mask file", " of the annotations"),
        *_some(len(usage.others) - pictures, "other file", " read"),
        *_some(0 if from_annotations else left_out, "image", " or masks left out on purpose"),
    ]
    rest = [
        *(f"{count} {suffix}" for suffix, count in sorted(suffixes.items())),
        *_some(len(usage.loose_images), "image"),
        *_some(len(usage.loose_masks), "mask"),
        *_some(len(folders), "folder", f": {join_names(folders)}"),
        *_some(len(tree.system) - sum(is_folder.values()), "hidden or system file"),
        *_some(usage.links, "link", " to them"),
        *([f"data.exclude: {join_names(tree.excluded)}"] if tree.excluded else []),
    ]
    text = ", ".join(used) + (f"; not used: {', '.join(rest)}" if rest else "")
    return readable(text)


def _some(count: int, noun: str, more: str = "") -> list[str]:
    return [f"{numbered(count, noun)}{more}"] if count else []
