"""Arrays in .npz files, read within the shapes that the caller expects.

Sizes, dtypes and shapes are checked before memory is taken, and nothing is unpickled.
NumPy and the standard library only; every package may import this module.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from capsule_inspection.archives import DAMAGE, describe, open_archive
from capsule_inspection.types import RunError

_MAX_HEADER = 4096
_KINDS = {"u": "bytes", "iu": "integers", "f": "fractions", "U": "text"}
_MAX_ITEM_BYTES = {"u": 1, "iu": 8, "f": 8, "U": 4 * 4096}
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Layout(NamedTuple):
    """What is expected of an array.

    `kind` is one of `_KINDS`, in letters of `numpy.dtype.kind`. `shape` has for each axis its
    length, or a name: axes of one name have one length, and at most that in `limits`.
    """

    kind: str
    shape: tuple[int | str, ...]


def read_arrays(
    path: Path,
    layouts: Mapping[str, Layout],
    *,
    limits: Mapping[str, int],
    remedy: str,
    optional: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, read-only; of the `optional` ones those that it has.

    Raises RunError, ending with `remedy`, where it cannot be read, lacks an array, or one is not as
    expected or not finite.
    """
    reader, arrays = _Reader(limits, {}), {}
    max_bytes = sum(reader.max_bytes(layout) for layout in layouts.values())
    try:
        with open_archive(path, max_bytes=max_bytes) as archive:
            members = {member.filename: member for member in archive.infolist()}
            for name, layout in layouts.items():
                member = members.pop(f"{name}.npy", None)
                if member is not None:
                    with archive.open(member) as file:
                        arrays[name] = reader.read(file, member.file_size, name, layout)
                elif name not in optional:
                    raise ValueError(f"no array {name}")
            if members:
                raise ValueError(f"unexpected: {', '.join(map(repr, members))[:80]}")
    except DAMAGE as error:
        raise RunError(f"{path}: cannot be read ({describe(error)}). {remedy}") from error
    return arrays


class _Reader(NamedTuple):
    """Reads the arrays of one file; `lengths` has those of the named axes so far."""

    limits: Mapping[str, int]
    lengths: dict[str, int]

    def max_bytes(self, layout: Layout) -> int:
        """Of a member with such an array, and its entries in the archive."""
        lengths = (self.limits[axis] if isinstance(axis, str) else axis for axis in layout.shape)
        return math.prod(lengths) * _MAX_ITEM_BYTES[layout.kind] + 2 * _MAX_HEADER

    def read(self, file: IO[bytes], size: int, name: str, layout: Layout) -> np.ndarray:
        """The array of a .npy stream of `size` bytes."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of headers of Python 2, which we never wrote
            read_header = _HEADERS[npy.read_magic(file)]
            shape, is_fortran, dtype = read_header(file, max_header_size=_MAX_HEADER)
        self._check(name, layout, shape, dtype)
        if size - file.tell() != (expected := math.prod(shape) * dtype.itemsize):
            raise ValueError(
                f"{name} has {size - file.tell()} bytes, its header expects {expected}"
            )
        order: Literal["F", "C"] = "F" if is_fortran else "C"
        array = np.frombuffer(file.read(expected), dtype).reshape(shape, order=order)
        if dtype.kind == "U":
            array.tolist()  # raises ValueError for what is no character
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"expected finite numbers in {name}")
        return array

    def _check(self, name: str, layout: Layout, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Raise ValueError for a header that is not as expected."""
        max_item_bytes = _MAX_ITEM_BYTES[layout.kind]
        is_known = dtype.kind in layout.kind and 0 < dtype.itemsize <= max_item_bytes
        if (
            is_known
            and len(shape) == len(layout.shape)
            and all(map(self._fits, layout.shape, shape))
        ):
            return
        sizes = ", ".join(
            f"{axis} <= {self.limits[axis]}" if isinstance(axis, str) else str(axis)
            for axis in layout.shape
        )
        known = "".join(f", where {axis} is {length}" for axis, length in self.lengths.items())
        raise ValueError(
            f"expected {name} of {_KINDS[layout.kind]} and shape ({sizes}){known}, "
            f"found {dtype} {shape}"
        )

    def _fits(self, axis: int | str, length: int) -> bool:
        if not isinstance(axis, str):
            return length == axis
        return length == self.lengths.setdefault(axis, length) and 0 <= length <= self.limits[axis]
