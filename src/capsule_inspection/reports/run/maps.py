"""Anomaly or explanation maps and masks of the test images of a run, and thumbnails.

The arrays are described by `types.RunFiles`, MAPS and EXPLANATIONS. They are the largest files of a
run, so they are read only when a plot needs them.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.config.quoting import format_command
from capsule_inspection.metrics.pixel_counts import rows_with_known_mask
from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.types import IGNORE_INDEX, RunError

if TYPE_CHECKING:
    import pandas as pd

_ARRAYS = {"index": 1, "anomaly_map": 3, "masks": 3, "content_box": 2}
"""Required arrays and their number of axes."""

_PREDICTED_MASK = "predicted_mask"
"""Array of segmentation runs, of the shape of the masks."""


@dataclass(frozen=True)
class RunMaps:
    """Maps of T images, with padding; the methods return them without it.

    Shapes: index (T,); anomaly_map, masks and predicted_mask (T, H, W), the last None where the run
    predicts no masks; content_box (T, 4), x0, y0, x1, y1 of the area without padding.
    """

    index: np.ndarray
    anomaly_map: np.ndarray
    masks: np.ndarray
    content_box: np.ndarray
    predicted_mask: np.ndarray | None = None

    def row_of(self, index: int) -> int | None:
        """The row of an image; None where it has no map."""
        return self._rows.get(index)

    def map_of(self, row: int) -> np.ndarray:
        """The map of one image: (h, w) float32."""
        return self.anomaly_map[row][self._content_slices(row)].astype(np.float32)

    def mask_of(self, row: int) -> np.ndarray:
        """Whether each pixel of one image is a defect: (h, w) bool."""
        return defect_pixels(self.target_mask_of(row))

    def target_mask_of(self, row: int) -> np.ndarray:
        """The true class of each pixel of one image, 0 for background, or ignored: (h, w)."""
        return self.masks[row][self._content_slices(row)]

    def predicted_mask_of(self, row: int) -> np.ndarray | None:
        """The predicted class of each pixel of one image, 0 for background: (h, w)."""
        masks = self.predicted_mask
        return None if masks is None else masks[row][self._content_slices(row)]

    def annotated_rows(self, is_defect: pd.Series) -> list[int]:
        """Rows of the good images and of the defects with a mask; `is_defect` is by image index."""
        rows = np.flatnonzero(np.isin(self.index, is_defect.index)).tolist()
        known = rows_with_known_mask(is_defect[self.index[rows]], map(self.mask_of, rows))
        return [rows[number] for number in known]

    @cached_property
    def has_ignored(self) -> bool:
        """Whether any mask ignores pixels."""
        return bool((self.masks == IGNORE_INDEX).any())

    @property
    def height_px(self) -> int:
        """Height of the network's input, padding included."""
        return int(self.anomaly_map.shape[1])

    def relative_content_box(self, row: int) -> tuple[float, float, float, float]:
        """The content box of one image as fractions of width and height."""
        height, width = self.anomaly_map.shape[1:]
        x0, y0, x1, y1 = self.content_box[row].tolist()
        return x0 / width, y0 / height, x1 / width, y1 / height

    def _content_slices(self, row: int) -> tuple[slice, slice]:
        x0, y0, x1, y1 = self.content_box[row].tolist()
        return slice(y0, y1), slice(x0, x1)

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {index: row for row, index in enumerate(self.index.tolist())}


def read_maps(path: Path) -> RunMaps | None:
    """Read the maps of a run; None where there is no file.

    Raises RunError where it cannot be read, or its arrays are not as expected.
    """
    if not path.exists():
        return None
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*_ARRAYS, _PREDICTED_MASK) if name in stored}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise _error(path, f"cannot be read ({error})") from error
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise _error(path, f"arrays missing: {', '.join(missing)}")
    _check(path, arrays)
    return RunMaps(**arrays)


def read_thumbnail(path: Path, content_box: Sequence[float] | None = None) -> np.ndarray | None:
    """The content of a thumbnail, (H, W, 3) uint8; None where it was not kept.

    `content_box` is its area without padding: x0, y0, x1, y1 as fractions of width and height.
    Raises RunError where it is not readable.
    """
    from PIL import Image

    if not path.is_file():
        return None
    try:
        with Image.open(path) as file:
            image = np.asarray(file.convert("RGB"))
    except OSError as error:
        raise RunError(f"{path}: not a readable thumbnail ({error}).") from error
    height, width = image.shape[:2]
    x0, y0, x1, y1 = content_box or (0.0, 0.0, 1.0, 1.0)
    left, top = round(x0 * width), round(y0 * height)
    return image[top : max(round(y1 * height), top + 1), left : max(round(x1 * width), left + 1)]


def _check(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Raises RunError where the arrays are not as expected."""
    maps, box, shape = arrays["anomaly_map"], arrays["content_box"], arrays["masks"].shape
    is_valid = (
        all(arrays[name].ndim == axes for name, axes in _ARRAYS.items())
        and len({array.shape[:1] for array in arrays.values()}) == 1
        and maps.shape == shape == arrays.get(_PREDICTED_MASK, maps).shape
        and box.shape[1] == 4
    )
    if not is_valid:
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise _error(
            path,
            "expected index (T,), anomaly_map, masks and predicted_mask (T, H, W) of one shape "
            f"and content_box (T, 4), found {found}",
        )
    for name, array in arrays.items():
        if name != "anomaly_map" and not np.issubdtype(array.dtype, np.integer):
            raise _error(path, f"expected integers in {name}, found {array.dtype}")
    if not np.issubdtype(maps.dtype, np.floating) or not np.isfinite(maps).all():
        raise _error(path, "expected finite numbers in anomaly_map")
    if len(np.unique(arrays["index"])) != len(maps):
        raise _error(path, "an image has two rows")
    low, high = box[:, :2], box[:, 2:]
    if not ((low >= 0) & (low < high) & (high <= shape[:0:-1])).all():
        raise _error(path, f"expected boxes within {shape[2]} x {shape[1]} in content_box")


def _error(path: Path, reason: str) -> RunError:
    command = format_command(["evaluate.py", f"run={path.parent}"])
    return RunError(
        f"{path}: {reason}. Evaluate the run again with {command}, or remove this file: the report "
        "then goes without maps."
    )
