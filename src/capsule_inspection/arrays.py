"""Arrays in .npz files, read within the shapes that the caller expects.

Sizes, dtypes and shapes are checked before memory is taken, and nothing is unpickled.
NumPy and the standard library only; every package may import this module.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from capsule_inspection.archives import DAMAGE, describe, open_archive
from capsule_inspection.types import RunError

_MAX_HEADER = 4096
_MAX_TEXT = 4 * 4096
"""Bytes of an entry of an array of text."""
_MAX_ITEM = 8
_KINDS = {"iu": "integers", "f": "fractions", "U": "text"}
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Layout(NamedTuple):
    """What is expected of an array.

    `dtype` is the dtype, or letters of its kind (`"iu"` for integers). `shape` has for each axis
    its length, or a name: axes of one name have one length, and at most that in `limits`.
    """

    dtype: str | np.dtype
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
    lengths: dict[str, int] = {}
    arrays: dict[str, np.ndarray] = {}
    max_bytes = sum(_max_bytes(layout, limits) + 2 * _MAX_HEADER for layout in layouts.values())
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"it has {path.stat().st_size} bytes, expected at most {max_bytes}")
        with open_archive(path, max_bytes=max_bytes) as archive:
            members = {member.filename: member for member in archive.infolist()}
            for name, layout in layouts.items():
                member = members.pop(f"{name}.npy", None)
                if member is not None:
                    with archive.open(member) as file:
                        arrays[name] = _read(
                            file, member.file_size, name, layout, limits=limits, lengths=lengths
                        )
                elif name not in optional:
                    raise ValueError(f"no array {name}")
            if members:
                raise ValueError(f"unexpected: {', '.join(map(repr, members))[:80]}")
    except DAMAGE as error:
        raise RunError(f"{path}: cannot be read ({describe(error)}). {remedy}") from error
    return arrays


def _max_bytes(layout: Layout, limits: Mapping[str, int]) -> int:
    lengths = (axis if isinstance(axis, int) else limits[axis] for axis in layout.shape)
    if isinstance(layout.dtype, np.dtype):
        return math.prod(lengths) * layout.dtype.itemsize
    return math.prod(lengths) * (_MAX_TEXT if layout.dtype == "U" else _MAX_ITEM)


def _read(
    file: IO[bytes],
    size: int,
    name: str,
    layout: Layout,
    *,
    limits: Mapping[str, int],
    lengths: dict[str, int],
) -> np.ndarray:
    """The array of a .npy stream of `size` bytes. `lengths` has those of named axes so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of headers of Python 2, which we never wrote
        read_header = _HEADERS[npy.read_magic(file)]
        shape, is_fortran, dtype = read_header(file, max_header_size=_MAX_HEADER)
    _check(name, layout, shape, dtype, limits=limits, lengths=lengths)
    num_bytes = math.prod(shape) * dtype.itemsize
    if size - file.tell() != num_bytes:
        raise ValueError(f"{name} has {size - file.tell()} bytes, its header expects {num_bytes}")
    array = np.frombuffer(file.read(num_bytes), dtype).reshape(
        shape, order="F" if is_fortran else "C"
    )
    if dtype.kind == "U":
        array.tolist()  # raises ValueError for what is no character
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers in {name}")
    return array


def _check(
    name: str,
    layout: Layout,
    shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    limits: Mapping[str, int],
    lengths: dict[str, int],
) -> None:
    """Raise ValueError for a header that is not as expected."""
    is_known = dtype == layout.dtype
    if isinstance(layout.dtype, str):
        max_item = _MAX_TEXT if layout.dtype == "U" else _MAX_ITEM
        is_known = dtype.kind in layout.dtype and 0 < dtype.itemsize <= max_item
    is_fitting = len(shape) == len(layout.shape) and all(
        length == lengths.setdefault(axis, length) and 0 <= length <= limits[axis]
        if isinstance(axis, str)
        else length == axis
        for length, axis in zip(shape, layout.shape, strict=True)
    )
    if not is_known or not is_fitting:
        sizes = ", ".join(
            str(axis) if isinstance(axis, int) else f"{axis} <= {limits[axis]}"
            for axis in layout.shape
        )
        known = "".join(f", where {axis} is {length}" for axis, length in lengths.items())
        raise ValueError(
            f"expected {name} of {_KINDS.get(str(layout.dtype), layout.dtype)} and shape "
            f"({sizes}){known}, found {dtype} {shape}"
        )
