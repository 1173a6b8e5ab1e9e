"""Masks in the folders of their images: `x.png` with `x_mask.png`, or `x.jpg` with `x.png`.

They are recognised by their names where nearly all images of a folder have one; then they are no
images. The suffixes are `data.mask_suffixes`. Sources of the names: KolektorSDD (`_label`), its
second version (`_GT`), the magnetic-tile data (the same stem), Supervisely, Roboflow and others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_io import read_image
from capsule_inspection.data.layouts.file_kinds import suffix_of
from capsule_inspection.data.layouts.names import match_stem
from capsule_inspection.data.layouts.samples import (
    DEFAULT_MASK_SUFFIXES,
    MASK_SEPARATOR,
    join_names,
)
from capsule_inspection.data.layouts.tree import folder_of
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.types import DataError

NEARLY_ALL = 0.9
"""Fraction of the images of a folder that must have a mask beside them."""
_DECODED_PAIRS = 3
# A mask has few colours; one saved as JPEG has others, but nearly all are close to black or white.
_MAX_COLOURS = 32
_NOISE = 16
_MOSTLY = 0.95
_SAME_PICTURE = 12.0
"""Mean difference of grey levels below which two files are one picture, saved in two formats."""


@dataclass
class MasksBeside:
    """The masks of images, by image; all files that are masks; groups of images of one stem."""

    of_image: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    groups: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def find_masks_beside(
    root: Path, scopes: Iterable[Sequence[str]], suffixes: Sequence[str], *, partial: bool = False
) -> MasksBeside:
    """The masks among the images of each scope, such as a class folder with its subfolders.

    Raises DataError where only some images of a scope have one, unless this is allowed by
    `partial`, and where it is not clear which of two files of one stem is the mask.
    """
    found = MasksBeside()
    for images in scopes:
        masks = _by_suffix(images, suffixes)
        if masks and not partial:
            _require_nearly_all(root, images, masks)
        elif not masks and "" in suffixes:
            masks = _by_stem(root, images, found)
        for image, files in masks.items():
            found.of_image[image] = MASK_SEPARATOR.join(sorted(files))
            found.files.update(files)
    return found


def masks_by_suffix(images: Sequence[str]) -> set[str]:
    """The files that are named like the mask of an image beside them, such as `x_mask.png`."""
    masks = _by_suffix(images, DEFAULT_MASK_SUFFIXES)
    return {file for files in masks.values() for file in files}


def count_paired(images: Sequence[str], suffixes: Sequence[str]) -> tuple[int, int]:
    """By their names: images with a mask beside them, and all images without those masks.

    Files of one stem count only if nearly all are in pairs.
    """
    masks = _by_suffix(images, suffixes)
    if masks:
        return len(masks), len(images) - len({file for files in masks.values() for file in files})
    stems = _by_stems(images)
    pairs = sum(len(files) == 2 for files in stems.values())
    return pairs if pairs >= NEARLY_ALL * len(stems) else 0, len(stems)


def _by_stems(images: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The files of each folder and stem."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in images:
        found.setdefault((folder_of(name), match_stem(name)), []).append(name)
    return found


def _mask_stems(stem: str, suffixes: Sequence[str]) -> Iterator[str]:
    """Stems of images that a file may be the mask of: of `x_mask` and `x_mask_0` it is `x`."""
    stem_before = re.fullmatch(r"(.*\D)\d+", stem)
    for name in (stem, stem_before[1].rstrip("-_ ") if stem_before else ""):
        for suffix in filter(None, suffixes):
            if name.lower().endswith(suffix.lower()) and len(name) > len(suffix):
                yield name[: len(name) - len(suffix)]


def _by_suffix(images: Sequence[str], suffixes: Sequence[str]) -> dict[str, list[str]]:
    """The masks of each image that has one by its name."""
    of_stem = _by_stems(images)
    masks: dict[str, list[str]] = {}
    for (folder, stem), files in of_stem.items():
        owner = next((s for s in _mask_stems(stem, suffixes) if (folder, s) in of_stem), None)
        for image in [] if owner is None else of_stem[folder, owner]:
            masks.setdefault(image, []).extend(files)
    are_masks = {file for files in masks.values() for file in files}
    return {image: files for image, files in masks.items() if image not in are_masks}


def _require_nearly_all(
    root: Path, images: Sequence[str], masks: Mapping[str, Sequence[str]]
) -> None:
    """Raise DataError where some images have a mask beside them, and others have none."""
    are_masks = {file for files in masks.values() for file in files}
    others = [name for name in images if name not in are_masks]
    if len(masks) >= NEARLY_ALL * len(others):
        return
    image, files = min(masks.items())
    without = [name for name in others if name not in masks]
    raise DataError(
        f"{root}: {files[0]} looks like the mask of {image}, as {len(masks)} of "
        f"{len(others)} images there have one, but not {join_names(without[:3])}. Add the missing "
        "masks, or move all masks to a folder of their own and set data.masks to it; if these "
        "files are images, set data.mask_suffixes=[]."
    )


def _by_stem(root: Path, images: Sequence[str], found: MasksBeside) -> dict[str, list[str]]:
    """The masks that have the stem of their image and another suffix.

    Which file is the mask, and whether there are masks at all, is decided by a few pairs.
    """
    of_stem = _by_stems(images)
    pairs = [files for files in of_stem.values() if len(files) > 1]
    if not pairs:
        return {}
    first = " and ".join(pairs[0])
    suffixes = _mask_suffixes(root, pairs)
    if suffixes <= {None}:
        found.groups |= {name: f"{folder_of(name)}/{match_stem(name)}" for name in chain(*pairs)}
        found.warnings.append(
            f"There {'is' if len(pairs) == 1 else 'are'} {numbered(len(pairs), 'image')} of the "
            f"stem of another one, such as {first}; all are used as images, since none looks like "
            "a mask, and those of one stem stay in one split."
        )
        return {}
    suffix = suffixes.pop()
    masks = {}
    for files in pairs:
        of_suffix = [name for name in files if suffix_of(name) == suffix]
        if len(files) == 2 and len(of_suffix) == 1:
            masks[next(name for name in files if name not in of_suffix)] = of_suffix
    if suffixes or suffix is None or len(masks) < max(len(pairs), NEARLY_ALL * len(of_stem)):
        raise DataError(
            f"{root}: {first} are two files of one stem, as {len(pairs)} of {len(of_stem)} there, "
            "and it is not clear which are images and which masks. Move the masks to a folder of "
            "their own and set data.masks to it; if all are images, set data.mask_suffixes=[_mask]."
        )
    return masks


def _mask_suffixes(root: Path, pairs: Sequence[Sequence[str]]) -> set[str | None]:
    """Of a few pairs of files, the suffix of the one that is the mask of the other.

    None where there is no mask, "" where this is not clear. Files that cannot be read are reported
    where all are read.
    """
    found: set[str | None] = set()
    for files in pairs[:: max(1, len(pairs) // _DECODED_PAIRS)]:
        try:
            pictures = {name: read_image(root / name).pixels for name in files}
        except BadFileError:
            continue
        first, *others = pictures.values()
        masks = [name for name, pixels in pictures.items() if _may_be_mask(pixels)]
        if not masks or all(_are_alike(first, other) for other in others):
            found.add(None)
        else:
            found.add(suffix_of(masks[0]) if (len(masks), len(files)) == (1, 2) else "")
    return found


def _may_be_mask(pixels: np.ndarray) -> bool:
    """Whether an image (H, W, 3) has few colours, or nearly all pixels close to black or white."""
    colours = pixels.reshape(-1, 3).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    if len(np.unique(colours)) <= _MAX_COLOURS:
        return True
    is_extreme = (pixels.max(axis=2) < _NOISE) | (pixels.min(axis=2) > 255 - _NOISE)
    return float(is_extreme.mean()) > _MOSTLY


def _are_alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two images (H, W, 3) are one picture, saved in two formats."""
    if first.shape != second.shape:
        return False
    difference = first.mean(axis=2) - second.mean(axis=2)
    return float(np.abs(difference).mean()) < _SAME_PICTURE
