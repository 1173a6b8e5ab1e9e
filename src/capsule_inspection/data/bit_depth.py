"""The depth of values in 16-bit files, and their scaling to 8 bits.

Cameras of 10 or 12 bits write their values into files of 16 bits, which do not say so: the depth is
found from the values of all images of a data set.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from capsule_inspection.data.bad_file import BadFileError

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that the values in 16-bit files may have."""
_ABOVE_ALL_OTHERS = 2**14


class BitDepthError(BadFileError):
    """A 16-bit file that does not fit the bit depth; `found` says why, naming no setting.

    `bit_depth` None: the depth is not known, as the model has seen no 16-bit files.
    """

    def __init__(self, path: Path, max_value: int, bit_depth: int | None) -> None:
        self.max_value, self.bit_depth = max_value, bit_depth
        self.found = (
            f"has 16 bits per channel, of which the largest value is {max_value}: it may be an "
            "image of 10, 12, 14 or 16 bits"
            if bit_depth is None
            else f"has values of at least {max_value}, but images of {bit_depth} bits have at most "
            f"{2**bit_depth - 1}"
        )
        needed = smallest_depth(max_value)
        super().__init__(path, f"{self.found}; set data.bit_depth={needed}, or auto")


def smallest_depth(max_value: int) -> int:
    """The smallest of the usual depths that holds a value of a 16-bit file."""
    return next(depth for depth in DEPTHS if max_value < 2**depth)


def check_depth(path: Path, max_value: int, bit_depth: int | None) -> int:
    """The depth by which a 16-bit file is scaled; raises BitDepthError.

    Where it is not known (None), only values above those of the other depths tell it.
    """
    if bit_depth is None and max_value >= _ABOVE_ALL_OTHERS:
        return 16
    if bit_depth is None or max_value >= 2**bit_depth:
        raise BitDepthError(path, max_value, bit_depth)
    return bit_depth


def scale(values: np.ndarray, bit_depth: int, *, inverted: bool = False) -> np.ndarray:
    """Whole numbers of a depth as uint8, rounded; raises IndexError for one above the depth."""
    levels = _levels(bit_depth)
    return np.take(levels[::-1] if inverted else levels, values)


@functools.cache
def _levels(bit_depth: int) -> np.ndarray:
    highest = 2**bit_depth - 1
    return np.rint(np.arange(highest + 1) * (255 / highest)).astype(np.uint8)
