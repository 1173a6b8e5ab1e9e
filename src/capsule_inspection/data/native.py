"""How large the crops of a data set are at the resolution of its photographs.

For `data.mode=tiles`: one size for all, in which the largest part has room. Measured once and
kept, since every photograph must be decoded for it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.data.cache import Progress, in_order, locked
from capsule_inspection.files import write_whole
from capsule_inspection.types import DataIndex, ImageRecord

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Roi

_STEP_PX = 32
"""Sizes are multiples of this, as networks halve them five times."""
_VERSION = 1


def native_size(
    index: DataIndex,
    *,
    folder: Path,
    roi: Roi,
    margin: float,
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Height and width in pixels of the largest crop, each up to a multiple of 32.

    Where roi=auto sees no part in a photograph that one does not count, unless it sees none at all.
    """
    content = [_VERSION, roi if isinstance(roi, str) else [*roi], margin]
    hashes = sorted(record.sha256 for record in index.records)
    key = hashlib.sha256(json.dumps([content, hashes]).encode()).hexdigest()
    path = folder / f"{key}.json"
    if not path.is_file():  # else nothing is locked: the folder may be one that is only read
        with locked(path):
            if not path.is_file():
                found = _measure(index, roi=roi, margin=margin, workers=workers, progress=progress)
                write_whole(path, json.dumps(found))
    height, width = json.loads(path.read_text(encoding="utf-8"))
    return height, width


def _measure(
    index: DataIndex, *, roi: Roi, margin: float, workers: int, progress: Progress | None
) -> tuple[int, int]:
    sizes, found = [], []

    def measure(record: ImageRecord) -> tuple[tuple[float, float], bool]:
        return _crop_size(index, record, roi=roi, margin=margin)

    for done, (size, has_part) in enumerate(
        in_order(measure, index.records, workers=workers), start=1
    ):
        sizes.append(size)
        found.append(has_part)
        if progress is not None:
            progress(done, len(index))
    counted = np.array(sizes)[np.array(found)] if any(found) else np.array(sizes)
    height, width = (-(-int(np.ceil(side)) // _STEP_PX) * _STEP_PX for side in counted.max(0))
    return height, width


def _crop_size(
    index: DataIndex, record: ImageRecord, *, roi: Roi, margin: float
) -> tuple[tuple[float, float], bool]:
    """Height and width of what would be cut out, and whether a part was seen or not asked for."""
    from capsule_inspection.data.reading import read_image
    from capsule_inspection.data.roi import box_around, explicit_box, find_foreground

    box = explicit_box(roi)
    if box is None and roi == "auto":
        image = read_image(index.path_of(record.path), max_pixels=record.width * record.height)
        foreground = find_foreground(image)
        if foreground is None:
            return (record.height, record.width), False
        box = box_around(foreground, margin=margin)
    if box is None:
        return (record.height, record.width), True
    return (box.y1 - box.y0, box.x1 - box.x0), True
