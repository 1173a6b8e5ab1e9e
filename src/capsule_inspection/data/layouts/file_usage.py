"""The files below a root by their use: images, masks, others that were read, and the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from capsule_inspection.data.image_formats import IMAGE_SUFFIXES
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import MASK_SEPARATOR, FoundSamples
from capsule_inspection.data.layouts.tree import SYSTEM_FOLDERS, FileTree, folder_of, suffix_of
from capsule_inspection.data.long_lists import list_first, numbered

_SHOWN = 12


@dataclass(frozen=True)
class FileUsage:
    """The files of a tree by their use."""

    tree: FileTree
    found: FoundSamples

    @cached_property
    def images(self) -> frozenset[str]:
        return frozenset(sample.path for sample in self.found.samples)

    @cached_property
    def masks(self) -> frozenset[str]:
        """Files of masks below the root, and the names of those elsewhere."""
        files, masks = frozenset(self.tree.files), set()
        for name in {sample.mask for sample in self.found.samples if sample.mask}:
            parts = [name] if name in files else name.split(MASK_SEPARATOR)
            for part in parts:
                if part in files or os.path.isabs(part):  # noqa: PTH117 - a POSIX name
                    masks.add(part)
                else:
                    masks.update(self.tree.images_in(part))
        return frozenset(masks)

    @cached_property
    def others(self) -> frozenset[str]:
        """Other files that were read, and those that are left out on purpose."""
        files = {
            name
            for other in self.found.other_files
            for name in (self.tree.files_below(other) if self.tree.has_folder(other) else [other])
        }
        return frozenset(files) - self.images - self.masks

    @cached_property
    def used(self) -> frozenset[str]:
        return self.images | self.masks | self.others

    @cached_property
    def used_folders(self) -> frozenset[str]:
        return frozenset(_with_parents(self.used))

    @cached_property
    def mask_folders(self) -> frozenset[str]:
        """Folders that hold masks and no images."""
        return frozenset(map(folder_of, self.masks)) - frozenset(map(folder_of, self.images))

    @cached_property
    def linked_images(self) -> frozenset[str]:
        """Unused images that are used under another name, by a link."""
        same = self.tree.same_file(self.tree.image_set)
        used = {same.get(name, name) for name in self.used}
        return frozenset(
            name for name in self.tree.image_set - self.used if same.get(name, name) in used
        )

    @cached_property
    def unused_images(self) -> list[str]:
        return sorted(self.tree.image_set - self.used - self.linked_images)

    @cached_property
    def unused_folders(self) -> dict[str, int]:
        """Number of images of each topmost folder in which nothing is used."""
        counts: Counter[str] = Counter()
        for name in self.unused_images:
            if folder := self._topmost_unused(name):
                counts[folder] += 1
        return dict(sorted(counts.items()))

    def _topmost_unused(self, name: str) -> str:
        folder, topmost = folder_of(name), ""
        while folder and folder not in self.used_folders:
            folder, topmost = folder_of(folder), folder
        return topmost

    @cached_property
    def loose_images(self) -> list[str]:
        """Unused images in folders that are used, without the masks among them."""
        return [
            name
            for name in self.unused_images
            if not self._topmost_unused(name) and folder_of(name) not in self.mask_folders
        ]

    @cached_property
    def loose_masks(self) -> list[str]:
        return [name for name in self.unused_images if folder_of(name) in self.mask_folders]

    @cached_property
    def unused_files(self) -> list[str]:
        """Files besides images that were not read."""
        return [
            name
            for name in self.tree.files
            if name not in self.used and name not in self.tree.image_set
        ]

    def as_dict(self) -> dict[str, object]:
        """What run.json records; `summary` is for people."""
        samples = self.found.samples
        splits = Counter(sample.split for sample in samples if sample.split)
        classes = Counter(sample.class_name for sample in samples)
        by_content = sum(suffix_of(name) not in IMAGE_SUFFIXES for name in self.images)
        not_used: dict[str, object] = {
            "files": dict(Counter(map(_shown_suffix, self.unused_files))),
            "images": len(self.loose_images),
            "masks": len(self.loose_masks),
            "folders": {readable(name): count for name, count in self.unused_folders.items()},
            "excluded": list(map(readable, self.tree.excluded)),
            "system": list(map(readable, self.tree.system)),
            "predictions": list(map(readable, self.tree.predictions)),
            "links": len(self.tree.circles) + len(self.linked_images),
        }
        left_out = sum(name in self.tree.image_set for name in self.others)
        counts = {
            "images": len(samples),
            "classes": {name or "by mask": count for name, count in sorted(classes.items())},
            "splits": dict(sorted(splits.items())),
            "masks": len(self.masks),
            "by_content": by_content,
            "other_files": len(self.others) - left_out,
            "left_out": left_out,
            "not_used": {reason: what for reason, what in not_used.items() if what},
        }
        return {"summary": _summary(counts, not_used), **counts}


def _summary(counts: Mapping[str, Any], not_used: Mapping[str, Any]) -> str:
    """The inventory in a line or two."""
    used = [numbered(counts["images"], "image"), numbered(counts["masks"], "mask")]
    if counts["by_content"]:
        used[0] += f" ({counts['by_content']} known by their content, not by their suffix)"
    if counts["other_files"]:
        used.append(numbered(counts["other_files"], "other file") + " read")
    if counts["left_out"]:
        used.append(numbered(counts["left_out"], "image") + " or masks left out as told")
    rest = [f"{count} {suffix}" for suffix, count in sorted(not_used["files"].items())]
    rest += [numbered(not_used[kind], kind[:-1]) for kind in ("images", "masks") if not_used[kind]]
    system = not_used["system"]
    folders = [f"{name} ({numbered(n, 'image')})" for name, n in not_used["folders"].items()]
    folders += [name for name in system if name.rpartition("/")[2].lower() in SYSTEM_FOLDERS]
    folders += [f"{name or '.'} (written by this program)" for name in not_used["predictions"]]
    if folders:
        rest.append(f"{numbered(len(folders), 'folder')}: {list_first(folders, _SHOWN)}")
    hidden = sum(name.rpartition("/")[2].lower() not in SYSTEM_FOLDERS for name in system)
    rest += [numbered(hidden, "hidden or system file")] if hidden else []
    rest += [numbered(not_used["links"], "link") + " to them"] if not_used["links"] else []
    if not_used["excluded"]:
        rest.append(f"data.exclude: {list_first(not_used['excluded'], _SHOWN)}")
    return ", ".join(used) + (f"; not used: {', '.join(rest)}" if rest else "")


def _shown_suffix(name: str) -> str:
    return readable(suffix_of(name)) or "without suffix"


def _with_parents(names: Iterable[str]) -> set[str]:
    """All folders above the files."""
    folders: set[str] = set()
    for name in names:
        folder = folder_of(name)
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder_of(folder)
    return folders
