"""Anomaly or explanation maps and masks of the test images of a run, and thumbnails.

The arrays are described by `types.RunFiles`, MAPS and EXPLANATIONS. They are the largest files of a
run, so they are read only when a plot needs them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.arrays import Layout, read_arrays
from capsule_inspection.config.quoting import format_command
from capsule_inspection.metrics.pixel_counts import rows_with_known_mask
from capsule_inspection.metrics.target_masks import defect_pixels
from capsule_inspection.types import IGNORE_INDEX, RunError

if TYPE_CHECKING:
    import pandas as pd

_MAX_THUMBNAIL_PX = 4096
_PREDICTED_MASK = "predicted_mask"
"""Array of segmentation runs, of the shape of the masks."""
_MAX_IMAGES, _MAX_SIDE_PX = 100_000, 8192


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


def read_maps(
    path: Path,
    *,
    known: Collection[int] | None = None,
    image_size: tuple[int, int] | None = None,
) -> RunMaps | None:
    """Read the maps of a run; None where there is no file.

    `known` are the images that may have one, `image_size` (H, W) is that of the network, both where
    they are known. Raises RunError where it cannot be read, or its arrays are not as expected.
    """
    if not path.exists():
        return None
    height, width = image_size or ("H", "W")
    layouts = {
        "index": Layout("iu", ("T",)),
        "anomaly_map": Layout("f", ("T", height, width)),
        "masks": Layout("iu", ("T", height, width)),
        "content_box": Layout("iu", ("T", 4)),
        _PREDICTED_MASK: Layout("iu", ("T", height, width)),
    }
    limits = {"T": _MAX_IMAGES, "H": _MAX_SIDE_PX, "W": _MAX_SIDE_PX}
    if known is not None:
        limits["T"] = len(known)
    arrays = read_arrays(
        path, layouts, limits=limits, remedy=_remedy(path), optional=(_PREDICTED_MASK,)
    )
    _check(path, arrays, known)
    return RunMaps(**arrays)


def read_thumbnail(path: Path, content_box: Sequence[float] | None = None) -> np.ndarray | None:
    """The content of a thumbnail, (H, W, 3) uint8; None where it was not kept.

    `content_box` is its area without padding: x0, y0, x1, y1 as fractions of width and height.
    A link is not followed, which may lead out of the folder. Raises RunError where it is not
    readable.
    """
    from PIL import Image

    if not path.is_file() or path.is_symlink() or path.parent.is_symlink():
        return None
    try:
        with Image.open(path, formats=("JPEG",)) as file:
            if max(file.size) > _MAX_THUMBNAIL_PX:
                raise ValueError(f"{file.width} x {file.height} pixels")
            image = np.asarray(file.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RunError(f"{path}: not a readable thumbnail ({error}).") from error
    height, width = image.shape[:2]
    x0, y0, x1, y1 = content_box or (0.0, 0.0, 1.0, 1.0)
    left, top = round(x0 * width), round(y0 * height)
    return image[top : max(round(y1 * height), top + 1), left : max(round(x1 * width), left + 1)]


def _check(path: Path, arrays: dict[str, np.ndarray], known: Collection[int] | None) -> None:
    """Raises RunError where the values are not as expected."""
    index, box = arrays["index"], arrays["content_box"].astype(np.int64)
    height, width = arrays["masks"].shape[1:]
    low, high = box[:, :2], box[:, 2:]
    reason = None
    if len(np.unique(index)) != len(index):
        reason = "an image has two rows"
    elif known is not None and not np.isin(index, [*known]).all():
        reason = "a row is of no image of the test split"
    elif not ((low >= 0) & (low < high) & (high <= (width, height))).all():
        reason = f"expected boxes within {width} x {height} in content_box"
    if reason is not None:
        raise RunError(f"{path}: {reason}. {_remedy(path)}")


def _remedy(path: Path) -> str:
    command = format_command(["evaluate.py", f"run={path.parent}"])
    return (
        f"Evaluate the run again with {command}, or remove this file: the report then goes without "
        "maps."
    )
