"""Maps and true masks of the test images of a finished run, read and checked.

The arrays are described by `contracts.RunFiles`, MAPS and EXPLANATIONS. They are the largest files
of a run, so they are read only when a picture needs them.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from capsule_inspection.types import RunError

_ARRAYS = {"index": 1, "maps": 3, "masks": 3, "inside": 2}
"""Names of the arrays that every run with maps has, and how many axes each has."""

_MARKED = "marked"
"""The array that only runs have which decide of each pixel; shaped as the masks."""


@dataclass(frozen=True)
class RunMaps:
    """Maps of T images. Shapes: index (T,); maps, masks and marked (T, H, W); inside (T, 4).

    `inside` is x0, y0, x1, y1 of what is not padding; nothing that is handed out has any. `marked`
    is the class that was decided for each pixel, None where the run does not decide of pixels.
    """

    index: np.ndarray
    maps: np.ndarray
    masks: np.ndarray
    inside: np.ndarray
    marked: np.ndarray | None = None

    def row_of(self, index: int) -> int | None:
        """The row of an image; None where its map was not kept."""
        return self._rows.get(index)

    def map_of(self, row: int) -> np.ndarray:
        """The map of one image: (h, w) float32."""
        return self.maps[row][self._cut(row)].astype(np.float32)

    def mask_of(self, row: int) -> np.ndarray:
        """Where one image has a defect: (h, w) bool."""
        return self.truth_of(row) != 0

    def truth_of(self, row: int) -> np.ndarray:
        """The class of each pixel of one image, 0 where nothing is wrong: (h, w)."""
        return self.masks[row][self._cut(row)]

    def marked_of(self, row: int) -> np.ndarray | None:
        """The class that was decided for each pixel of one image, 0 for none: (h, w)."""
        return None if self.marked is None else self.marked[row][self._cut(row)]

    @property
    def height_px(self) -> int:
        """Height of the images that the network saw, padding included."""
        return int(self.maps.shape[1])

    def share_inside(self, row: int) -> tuple[float, float, float, float]:
        """`inside` of one image as shares of width and height, for pictures of another size."""
        height, width = self.maps.shape[1:]
        x0, y0, x1, y1 = self.inside[row].tolist()
        return x0 / width, y0 / height, x1 / width, y1 / height

    def _cut(self, row: int) -> tuple[slice, slice]:
        x0, y0, x1, y1 = self.inside[row].tolist()
        return slice(y0, y1), slice(x0, x1)

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {index: row for row, index in enumerate(self.index.tolist())}


def read_maps(path: Path) -> RunMaps | None:
    """The maps of a run; None where there is no file.

    Raises RunError where it cannot be read, or its arrays are not as expected.
    """
    if not path.exists():
        return None
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*_ARRAYS, _MARKED) if name in stored}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise _broken(path, f"cannot be read ({error})") from error
    absent = [name for name in _ARRAYS if name not in arrays]
    if absent:
        raise _broken(path, f"arrays missing: {', '.join(absent)}")
    _check_shapes(path, arrays)
    _check_values(path, arrays)
    return RunMaps(**arrays)


def _check_shapes(path: Path, arrays: dict[str, np.ndarray]) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    fit = (
        all(len(shapes[name]) == axes for name, axes in _ARRAYS.items())
        and len({shape[0] for shape in shapes.values() if shape}) == 1
        and shapes["maps"] == shapes["masks"] == shapes.get(_MARKED, shapes["maps"])
        and shapes["inside"][1] == 4
    )
    if not fit:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise _broken(
            path,
            "expected index (T,), maps, masks and marked (T, H, W) of one shape and "
            f"inside (T, 4), found {found}",
        )


def _check_values(path: Path, arrays: dict[str, np.ndarray]) -> None:
    for name in ("index", "masks", "inside", _MARKED):
        if name in arrays and not np.issubdtype(arrays[name].dtype, np.integer):
            raise _broken(path, f"expected whole numbers in {name}, found {arrays[name].dtype}")
    maps = arrays["maps"]
    if not np.issubdtype(maps.dtype, np.floating) or not np.isfinite(maps).all():
        raise _broken(path, "expected finite numbers in maps")
    if len(np.unique(arrays["index"])) != len(arrays["index"]):
        raise _broken(path, "an image stands there twice")
    height, width = maps.shape[1:]
    x0, y0, x1, y1 = arrays["inside"].T
    if not ((x0 >= 0) & (x0 < x1) & (x1 <= width) & (y0 >= 0) & (y0 < y1) & (y1 <= height)).all():
        raise _broken(path, f"expected boxes within {width} x {height} in inside")


def _broken(path: Path, reason: str) -> RunError:
    return RunError(
        f"{path}: {reason}. Evaluate the run again with evaluate.py run={path.parent}, or remove "
        "this file: the report then goes without maps."
    )
