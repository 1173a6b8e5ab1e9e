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
from capsule_inspection.data.layouts.file_kinds import suffix_of
from capsule_inspection.data.layouts.names import fold, match_stem, readable, split_of
from capsule_inspection.data.layouts.samples import (
    MASK_SEPARATOR,
    FoundSample,
    join_names,
    relative_posix,
)
from capsule_inspection.data.layouts.tree import FileTree, folder_of, scan_tree
from capsule_inspection.types import DataError

_KIND = r"(masks?|gts?|ground ?truths?|labels?|annot(ation)?s?|seg(mentation)?s?|seg ?masks?)"
# As `masks`, `defect masks`, `mask png`, `pixel labels`.
_MASK_FOLDER = re.compile(rf"((defect|pixel|segmentation) )?{_KIND}( (images?|png|masks?))?")
_CERTAIN = re.compile(r"mask|gt|ground ?truth")
_BESIDE = re.compile(r"(.+) (masks?|gt|ground truth|seg|segmentation)")
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
        self._stems: dict[tuple[Parts, str], list[str]] = {}
        self._numbered: dict[tuple[Parts, str], list[str]] = {}
        self._of_image: dict[tuple[Parts, str], list[str]] = {}
        self._folders: set[Parts] = {()}
        self._mirror: dict[tuple[str, str, str], Parts] = {}
        for name in self.names:
            parts, stem = logical_parts(folder_of(name)), match_stem(name)
            folder = _key(parts)
            self._folders.update(folder[:depth] for depth in range(1, len(folder) + 1))
            self._stems.setdefault((folder, stem), []).append(name)
            if numbered := _NUMBERED.fullmatch(stem):
                self._numbered.setdefault((folder, numbered[1]), []).append(name)
            if parts:
                self._of_image.setdefault((folder[:-1], readable(parts[-1])), []).append(name)

    def find(self, sample: FoundSample, suffixes: Sequence[str]) -> str | None:
        """The mask of an image as `FoundSample.mask`; None where there is none.

        A folder of the image's own goes before one file, that before numbered ones.
        """
        stem = match_stem(sample.path)
        place = (folder_of(sample.path), sample.class_name, self.scope)
        if place not in self._mirror:
            self._mirror[place] = next(k for k in _mirrored(*place) if k in self._folders)
        folder = self._mirror[place]
        own = self._of_image.get((folder, stem))
        if own and (folder or stem != sample.class_name):
            self.used.update(own)
            return f"{self.path}/{folder_of(own[0])}"
        wanted = [(folder, f"{stem}{suffix}") for suffix in _spellings(tuple(suffixes))]
        names = next(filter(None, map(self._stems.get, wanted)), [])
        if names:  # of several formats PNG
            names = sorted(names, key=lambda name: (suffix_of(name) != ".png", name))[:1]
        else:
            names = sorted(next(filter(None, map(self._numbered.get, wanted)), []))
        self.used.update(names)
        return MASK_SEPARATOR.join(f"{self.path}/{name}" for name in names) or None


def find_mask_folders(tree: FileTree) -> list[MaskFolder]:
    """The folders with images that are named like one of masks, or like those of another folder.

    As `masks`, and `crack_masks` beside `crack`; without those in each other. Beside a folder of
    ground truth or masks, one named `label` may be a class.
    """
    found: list[MaskFolder] = []
    for folder in tree.folders:
        is_inside = found and folder.startswith(f"{found[-1].path}/")
        scope = None if is_inside else _scope_of_masks(tree, folder)
        if scope is not None and (names := tree.images_below(folder)):
            inside = [name[len(folder) + 1 :] for name in names]
            found.append(MaskFolder(folder, inside, scope))
    certain = [each for each in found if _CERTAIN.search(fold(each.path.rpartition("/")[2]))]
    return certain or found


def _scope_of_masks(tree: FileTree, folder: str) -> str | None:
    """The folder whose images have their masks in this one by its name; None for no such name."""
    parent, name = folder_of(folder), fold(folder.rpartition("/")[2])
    if _MASK_FOLDER.fullmatch(name):
        return parent
    beside = _BESIDE.fullmatch(name)
    others = (other for other in tree.subfolders(parent) if beside and fold(other) == beside[1])
    return next((f"{parent}/{other}".lstrip("/") for other in others), None)


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
        raise DataError(
            f"{masks}: found {join_names(inside.files[:3])}; masks are images: <stem>.png or "
            "<stem>_mask.png. Annotations in JSON, XML or text are read with data=coco, yolo, "
            "labelme, voc, cvat or label_studio (data=auto says which); save arrays as PNG."
        )
    return MaskFolder(path, inside.images, "")


def check_used(folder: MaskFolder, root: Path, samples: Iterable[FoundSample]) -> list[str]:
    """Warnings for masks outside of the root that no image has claimed.

    Those below the root are in the inventory. Raises DataError where none is claimed.
    """
    left, count = sorted(set(folder.names) - folder.used), len(folder.names)
    if not folder.used:
        classes = sorted({sample.class_name for sample in samples} - {""})
        raise DataError(
            f"{root / folder.path}: none of its {count} images is named like the mask of an image, "
            f"<stem>.png or <stem>_mask.png, in subfolders named like the classes "
            f"({join_names(classes)}) or without; found {join_names(left[:3])}. Set data.masks to "
            "the folder of masks, or to null; other endings of names go into data.mask_suffixes. "
            f"If it holds no masks, rename it or set data.exclude=[{folder.path}]."
        )
    if left and Path(folder.path).is_absolute():
        return [f"{folder.path}: {len(left)} of {count} masks belong to no image, as {left[0]}."]
    return []


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
