"""Masks in a folder of their own: `data.masks`, or one that is named like one of masks.

It mirrors the folders of the images: with or without those of the splits, or flat where the stems
are unique. A mask is `<stem>.png`, `<stem><suffix>.png` (any image format, suffixes from
`data.mask_suffixes`), several numbered ones, or a folder `<stem>/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from capsule_inspection.data.layouts.class_folders import Parts, logical_parts
from capsule_inspection.data.layouts.names import fold, match_stem, readable, split_of
from capsule_inspection.data.layouts.samples import (
    MASK_SEPARATOR,
    FoundSample,
    join_names,
    relative_posix,
)
from capsule_inspection.data.layouts.tree import FileTree, folder_of, scan_tree, suffix_of
from capsule_inspection.types import DataError

_WORDS = (
    "mask masks gt gts groundtruth groundtruths label labels annotation annotations annot annots "
    "seg segs segmentation segmentations segmask segmasks"
)
_MASK_FOLDERS = frozenset(_WORDS.split()) | {
    "ground truth", "ground truths", "segmentation masks", "seg masks", "defect masks",
    "mask images", "masks images", "label images", "mask png", "masks png", "pixel labels",
}  # fmt: skip
_FORMATS = {
    ".txt": "use data=yolo, which reads YOLO's text files",
    ".xml": "use data=voc or data=cvat, which read such annotations",
    ".npy": "save the arrays as PNG",
    ".npz": "save the arrays as PNG",
    ".mat": "save the arrays as PNG",
}
_JSON_KEYS = {'"shapes"': "labelme", '"annotations"': "coco", '"result"': "label_studio"}
_JSON_START = 4096
_NUMBERED = re.compile(r"(.+?)[-_ ]\d+")


@dataclass
class MaskFolder:
    """A folder of masks, and the images that claim them.

    `path` is relative to the root, or absolute; `names` are its images, relative to it. `scope` is
    the folder below the root whose folders it mirrors. `used` are names that images have claimed.
    """

    path: str
    names: Sequence[str]
    scope: str
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._stems: dict[Parts, dict[str, list[str]]] = {}
        self._folders: set[Parts] = {()}
        self._of_image: dict[tuple[Parts, str], Parts] = {}
        self._by_number: dict[Parts, dict[str, list[str]]] = {}
        self._mirror: dict[tuple[str, str, str], Parts] = {}
        for name in self.names:
            parts = logical_parts(folder_of(name))
            folder = _key(parts)
            self._stems.setdefault(folder, {}).setdefault(match_stem(name), []).append(name)
            self._folders.update(folder[:depth] for depth in range(1, len(folder) + 1))
            if parts:
                self._of_image[folder[:-1], readable(parts[-1])] = folder

    def find(self, sample: FoundSample, suffixes: Sequence[str]) -> str | None:
        """The mask of an image as `FoundSample.mask`; None where there is none."""
        stem = match_stem(sample.path)
        place = (folder_of(sample.path), sample.class_name, self.scope)
        if place not in self._mirror:
            mirrored = (key for key in _mirrored(*place) if key in self._folders)
            self._mirror[place] = next(mirrored)
        folder = self._mirror[place]
        own = self._of_image.get((folder, stem))
        if own is not None and (folder or stem != sample.class_name):
            files = [name for of_stem in self._stems[own].values() for name in of_stem]
            self.used.update(files)
            return f"{self.path}/{folder_of(files[0])}"
        names = self._named(folder, stem, suffixes)
        self.used.update(names)
        return MASK_SEPARATOR.join(f"{self.path}/{name}" for name in names) or None

    def _named(self, folder: Parts, stem: str, suffixes: Sequence[str]) -> list[str]:
        """The mask of an image in a folder, or its numbered ones; of several formats PNG."""
        stems = self._stems.get(folder, {})
        wanted = [f"{stem}{suffix}" for suffix in _spellings(tuple(suffixes))]
        for name in wanted:
            if files := stems.get(name):
                return sorted(files, key=lambda file: (suffix_of(file) != ".png", file))[:1]
        if folder not in self._by_number:
            numbered = self._by_number.setdefault(folder, {})
            for name, files in stems.items():
                if match := _NUMBERED.fullmatch(name):
                    numbered.setdefault(match[1], []).extend(files)
        found = (self._by_number[folder].get(name) for name in wanted)
        return sorted(next(filter(None, found), []))


def find_mask_folders(tree: FileTree) -> list[MaskFolder]:
    """The folders that are named like one of masks and hold images, without those in each other."""
    found: list[MaskFolder] = []
    for folder in tree.folders:
        is_inside = found and folder.startswith(f"{found[-1].path}/")
        if is_inside or fold(folder.rpartition("/")[2]) not in _MASK_FOLDERS:
            continue
        if names := tree.images_below(folder):
            inside = [name[len(folder) + 1 :] for name in names]
            found.append(MaskFolder(folder, inside, folder_of(folder)))
    return found


def given_mask_folder(tree: FileTree, masks: Path) -> MaskFolder:
    """The folder of `data.masks`; relative to the working folder, else to the root.

    Raises DataError where there is no such folder, and where it has no images.
    """
    if not masks.is_dir() and (tree.root / masks).is_dir():
        masks = tree.root / masks
    if not masks.is_dir():
        raise DataError(f"{masks}: there is no such folder. Set data.masks to one, or to null.")
    path = relative_posix(masks, tree.root)
    if path in ("", ".") or tree.root.is_relative_to(masks.absolute()):
        raise DataError(
            f"data.masks={masks}: holds the images too. Masks beside images are found without it; "
            "else set it to a folder of masks alone."
        )
    inside = tree.subtree(path) if tree.has_folder(path) else scan_tree(masks)
    if not inside.images:
        raise DataError(f"{masks}: {_other_content(inside)}")
    return MaskFolder(path, inside.images, "")


def _other_content(tree: FileTree) -> str:
    """What is in a folder without masks, and what reads it."""
    names = "masks are images: <stem>.png or <stem>_mask.png"
    if not tree.files:
        return f"there are no files in it; {names}. Set data.masks to the folder of masks, or null."
    first, suffix = tree.files[0], suffix_of(tree.files[0])
    if suffix == ".json":
        start = (tree.root / first).read_bytes()[:_JSON_START].decode(errors="replace")
        known = [name for key, name in _JSON_KEYS.items() if key in start]
        reader = known[0] if known else "labelme or data=coco"
        remedy = f"use data={reader}, which reads such annotations"
    else:
        remedy = _FORMATS.get(suffix, "convert them, or set data.masks to the folder of masks")
    count = len(tree.files) - 1
    more = f" and {count} more file{'s' * (count > 1)}" if count else ""
    return f"found {first}{more}; {names}. {remedy[0].upper()}{remedy[1:]}."


def check_used(
    folder: MaskFolder, root: Path, samples: Iterable[FoundSample], *, given: bool
) -> list[str]:
    """Warnings for masks outside of the root that no image has claimed.

    Those below the root are in the inventory. Raises DataError where none is claimed.
    """
    left = sorted(set(folder.names) - folder.used)
    if folder.used:
        outside = Path(folder.path).is_absolute()
        few = f"{folder.path}: {len(left)} of {len(folder.names)} masks belong to no image, such as"
        return [f"{few} {left[0]}."] if left and outside else []
    classes = sorted({sample.class_name for sample in samples} - {""})
    found = f"found {join_names(left[:3])}"
    if given:
        raise DataError(
            f"{root / folder.path}: none of its {len(left)} images is named like the mask of an "
            f"image: expected subfolders named like the classes ({join_names(classes)}) with "
            f"<stem>.png or <stem>_mask.png in them, {found}. Set data.masks to the folder that "
            "holds them, or to null; other endings of names go into data.mask_suffixes."
        )
    raise DataError(
        f"{root / folder.path}: is named like a folder of masks, but none of its {len(left)} "
        f"images is named like the mask of an image ({found}). Set data.masks to the folder of "
        f"masks, rename it if it is a class, or leave it out with data.exclude=[{folder.path}]."
    )


def _mirrored(folder: str, class_name: str, scope: str) -> Iterator[Parts]:
    """Folders in which the masks of a folder of images may be, the most exact first."""
    parts = logical_parts(folder.removeprefix(scope).lstrip("/"))
    yield _key(parts)
    parts = tuple(part for part in parts if not split_of(part))
    for end in range(len(parts), 0, -1):
        yield _key(parts[:end])
    yield _key((class_name,))
    yield ()


@cache
def _spellings(suffixes: tuple[str, ...]) -> tuple[str, ...]:
    """The suffixes in every case, and none, which is allowed in a folder of masks."""
    cases = (str, str.lower, str.upper, str.title)
    return tuple(dict.fromkeys(case(suffix) for suffix in (*suffixes, "") for case in cases))


@cache
def _key(parts: Parts) -> Parts:
    return tuple(map(fold, parts))
