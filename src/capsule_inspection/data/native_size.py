"""The size of a data set's crops at the images' own resolution, for tiling.

All crops have one size, which fits the largest part. It is measured once and stored, since every
image must be decoded for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.data.cache_folder import read_value, report_write_errors, write_value
from capsule_inspection.data.sample_reader import DecodedSample
from capsule_inspection.types import DataIndex

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Roi

_STEP_PX = 32
"""Sizes are multiples of this, as networks halve them five times."""
_VERSION = 1


def find_native_size(
    index: DataIndex, *, folder: Path, roi: Roi, margin: float
) -> tuple[int, int] | None:
    """The stored height and width; None where none are stored, or they are damaged."""
    size = read_value(_size_path(index, folder, roi, margin))
    return None if size is None else (size[0], size[1])


class NativeSizeMeasure:
    """Measures the crop of each image; see `sample_reader.Consumer`."""

    def __init__(self, count: int, *, roi: Roi, margin: float) -> None:
        self.roi, self.margin = roi, margin
        self.sizes = np.zeros((count, 2))
        self.has_part = np.zeros(count, bool)

    def add(self, decoded: DecodedSample) -> None:
        """Keep height and width of the crop, and whether roi=auto found a part."""
        # Here, so that a warm start does not import OpenCV.
        from capsule_inspection.data.roi import box_around, explicit_box

        box = explicit_box(self.roi)
        if box is None and self.roi == "auto" and decoded.foreground is not None:
            box = box_around(decoded.foreground, margin=self.margin)
        self.has_part[decoded.row] = box is not None or self.roi == "none"
        height, width = decoded.image.shape[:2]
        self.sizes[decoded.row] = (box.y1 - box.y0, box.x1 - box.x0) if box else (height, width)

    def finish(self, index: DataIndex, rows: Sequence[int], *, folder: Path) -> tuple[int, int]:
        """Height and width of the largest crop of these rows, each up to a multiple of 32.

        An image without a part does not count, unless there is none with a part.
        """
        sizes, has_part = self.sizes[rows], self.has_part[rows]
        largest = (sizes[has_part] if has_part.any() else sizes).max(axis=0)
        height, width = (-(-int(np.ceil(side)) // _STEP_PX) * _STEP_PX for side in largest)
        path = _size_path(index, folder, self.roi, self.margin)
        with report_write_errors(path):
            write_value(path, [height, width])
        return height, width


def _size_path(index: DataIndex, folder: Path, roi: Roi, margin: float) -> Path:
    settings = [_VERSION, roi if isinstance(roi, str) else [*roi], margin, *index.decoding]
    hashes = sorted(sample.sha256 for sample in index.samples)
    key = hashlib.sha256(json.dumps([settings, hashes]).encode()).hexdigest()
    return folder / f"{key}.json"
