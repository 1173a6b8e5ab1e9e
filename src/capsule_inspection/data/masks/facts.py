"""Facts of decoded masks, their union where a mask has several files, and the class of the image.

sample_reader.py reads the files, values.py interprets them, checks.py judges all facts together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.image_notes import EXIF_TURNED
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.masks.rules import SHOWN, MaskCode
from capsule_inspection.data.masks.values import MaskPixels
from capsule_inspection.types import DEFECT, GOOD_LABEL, IGNORE_INDEX

HAS_IGNORED = "mask_ignored"
"""Note of a mask with pixels that do not count."""


def facts_of_mask(mask: MaskPixels, *, settings: str) -> FileFacts:
    """Facts of decoded pixels; those of the file itself are filled in later."""
    counts = np.bincount(mask.pixels.ravel(), minlength=IGNORE_INDEX + 1)
    present = [label for label in range(1, IGNORE_INDEX) if counts[label]]
    marked = (mask.pixels > 0) & (mask.pixels != IGNORE_INDEX)
    border = np.concatenate([marked[0], marked[-1], marked[1:-1, 0], marked[1:-1, -1]])
    return FileFacts(
        *(0, 0, "", mask.pixels.shape[1], mask.pixels.shape[0]),
        is_empty=not present,
        classes=tuple(present) if mask.has_classes else (),
        notes=(*mask.notes, *((HAS_IGNORED,) if counts[IGNORE_INDEX] else ())),
        values=mask.values,
        area=float(marked.mean()),
        border=float(border.mean()),
        settings=settings,
    )


def joined_sha256(files: Sequence[FileFacts]) -> str:
    """SHA-256 over the contents of several files, in their order."""
    return hashlib.sha256(",".join(facts.sha256 for facts in files).encode()).hexdigest()


def join_masks(
    path: Path, names: Sequence[str], masks: Sequence[MaskPixels], *, label: int
) -> MaskPixels:
    """The union of the files of a mask, as class indices; a defect covers ignored pixels.

    Files without classes of their own have the class `label`. Raises BadFileError where two files
    differ in size, or mark a pixel as different classes.
    """
    has_classes = any(mask.has_classes for mask in masks)
    joined = np.zeros_like(masks[0].pixels)
    for name, mask in zip(names, masks, strict=True):
        file = name.rpartition("/")[2]
        pixels = mask.with_label(label) if has_classes else mask.pixels
        if pixels.shape != joined.shape:
            sizes = ["{1}x{0}".format(*each.shape) for each in (pixels, joined)]
            raise BadFileError(
                path,
                f"{file} is {sizes[0]} pixels, the files before it are {sizes[1]}. Export masks at "
                "the image's size.",
            )
        is_new = (pixels > 0) & (pixels != IGNORE_INDEX)
        taken = is_new & (joined > 0) & (joined != IGNORE_INDEX) & (joined != pixels)
        if taken.any():
            raise BadFileError(
                path,
                f"{file} marks {taken.sum()} pixels that a file before it marks as another class. "
                "Give each pixel one class.",
            )
        joined = np.where(is_new | (joined == 0), pixels, joined)
    notes = dict.fromkeys(note for mask in masks for note in mask.notes)
    return MaskPixels(joined, has_classes, notes=tuple(notes))


def check_mask_of_image(path: Path, *, mask: FileFacts, image: FileFacts) -> None:
    """Raise BadFileError for a mask of another size, or for one that is the image itself."""
    if mask.sha256 == image.sha256:
        raise BadFileError(path, "is a copy of the image itself, not a mask")
    size, expected = (mask.width, mask.height), (image.width, image.height)
    if size == expected:
        return
    remedy = "Export masks at the image's size."
    if size == expected[::-1] and EXIF_TURNED in image.notes:
        remedy = (
            "The image is turned by its EXIF orientation and the mask is not: set "
            "data.exif_orientation=false to read both as they are stored."
        )
    raise BadFileError(
        path,
        f"mask is {size[0]}x{size[1]}, its image is {expected[0]}x{expected[1]} pixels. {remedy}",
    )


def label_by_mask(path: Path, mask: FileFacts, code: MaskCode) -> int:
    """The class of an image that has none but its mask's.

    Raises BadFileError where the mask marks several classes.
    """
    if mask.is_empty:
        return GOOD_LABEL
    if len(mask.classes) > 1:
        raise BadFileError(
            path,
            f"marks several classes ({_named(mask.classes, code)}), so that the class of its image "
            "is not known; list the images with their classes in a table (data=manifest)",
        )
    return mask.classes[0] if mask.classes else code.classes.index(DEFECT)


def contradiction(name: str, mask: FileFacts, *, label: int, code: MaskCode) -> str | None:
    """How the mask `name` contradicts the class of its image, None where it does not."""
    if label == GOOD_LABEL:
        other = str(not code.rules.inverted).lower()
        hint = f" everywhere: is it inverted? Try data.mask_inverted={other}"
        found = f"is a good image, but {name} marks a defect{hint if mask.area == 1 else ''}"
        return None if mask.is_empty else found
    start = f"shows {code.classes[label]}, but its mask {name}"
    if mask.is_empty:
        only = " apart from ignored pixels" if HAS_IGNORED in mask.notes else ""
        return f"{start} is empty{only}"
    if mask.classes and label not in mask.classes:
        return (
            f"{start} marks {_named(mask.classes, code)} only, not {_named([label], code)}; if the "
            "masks number the classes otherwise, say how with data.mask_values"
        )
    return None


def _named(labels: Sequence[int], code: MaskCode) -> str:
    """Class indices with the names of the classes, as in `1 crack, 2 poke`."""
    return list_first([f"{label} {code.classes[label]}" for label in labels], SHOWN)
