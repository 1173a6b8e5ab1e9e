"""Facts of a decoded mask, and the union of the files of a mask that is stored in several.

sample_reader.py reads the files, mask_values.py interprets them, mask_checks.py judges the facts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.mask_values import MaskPixels
from capsule_inspection.types import IGNORE_INDEX

HAS_IGNORED = "mask_ignored"
"""Note of a mask with pixels that do not count."""


def facts_of_mask(mask: MaskPixels, *, num_classes: int, settings: str) -> FileFacts:
    """Facts of decoded pixels; those of the file itself are filled in later."""
    counts = np.bincount(mask.pixels.ravel(), minlength=IGNORE_INDEX + 1)
    present = [label for label in range(1, IGNORE_INDEX) if counts[label]]
    marked = (mask.pixels > 0) & (mask.pixels != IGNORE_INDEX)
    border = np.concatenate([marked[0], marked[-1], marked[1:-1, 0], marked[1:-1, -1]])
    return FileFacts(
        *(0, 0, "", mask.pixels.shape[1], mask.pixels.shape[0]),
        is_empty=not present,
        classes=tuple(present) if mask.has_classes else (),
        num_classes=num_classes if mask.is_ambiguous else 0,
        notes=(*mask.notes, *((HAS_IGNORED,) if counts[IGNORE_INDEX] else ())),
        values=mask.values,
        area=float(marked.mean()),
        border=float(border.mean()),
        settings=settings,
    )


def joined_sha256(files: Sequence[FileFacts]) -> str:
    """SHA-256 over the contents of several files, in their order."""
    return hashlib.sha256(",".join(facts.sha256 for facts in files).encode()).hexdigest()


def check_equal_sizes(path: Path, names: Sequence[str], files: Sequence[FileFacts]) -> None:
    """Raise BadFileError where the files of a mask differ in size."""
    for name, facts in zip(names, files, strict=True):
        if (facts.width, facts.height) != (files[0].width, files[0].height):
            raise BadFileError(
                path,
                f"its files differ in size: {_base(names[0])} is {files[0].width}x"
                f"{files[0].height}, {_base(name)} is {facts.width}x{facts.height} pixels. Export "
                "masks at the image's size.",
            )


def join_masks(
    path: Path, names: Sequence[str], masks: Sequence[MaskPixels], *, label: int
) -> MaskPixels:
    """The union of the files of a mask, as class indices; a defect covers ignored pixels.

    Files without classes of their own have the class `label`. Raises BadFileError where two files
    mark a pixel as different classes.
    """
    has_classes = any(mask.has_classes for mask in masks)
    joined = np.zeros_like(masks[0].pixels)
    for name, mask in zip(names, masks, strict=True):
        pixels = mask.with_label(label) if has_classes else mask.pixels
        is_new = (pixels > 0) & (pixels != IGNORE_INDEX)
        taken = is_new & (joined > 0) & (joined != IGNORE_INDEX) & (joined != pixels)
        if taken.any():
            y, x = np.argwhere(taken)[0].tolist()
            raise BadFileError(
                path,
                f"{_base(name)} marks {int(taken.sum())} pixels as class {pixels[y, x]} that a "
                f"file before it marks as class {joined[y, x]}, the first at x={x}, y={y}. Give "
                "each pixel one class.",
            )
        joined = np.where(is_new | (joined == 0), pixels, joined)
    notes = dict.fromkeys(note for mask in masks for note in mask.notes)
    is_ambiguous = any(mask.is_ambiguous for mask in masks)
    return MaskPixels(joined, has_classes, is_ambiguous, notes=tuple(notes))


def _base(name: str) -> str:
    return name.rpartition("/")[2]
