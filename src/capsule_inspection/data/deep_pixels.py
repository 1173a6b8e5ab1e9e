"""Images of more than 8 bits per channel, and the depth of their values.

Cameras of 10 or 12 bits store their values in files of 16 bits, which do not say so: the depth is
found from the values of all images of a data set. Of 16-bit colour Pillow gives the high byte of
each value; the low one is read by decoding the file once more as if its bytes were swapped.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.PpmImagePlugin import PpmImageFile

from capsule_inspection.data.bad_file import BadFileError

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that the values in 16-bit files may have."""
_ABOVE_ALL_OTHERS = 2**14
_DEEP_COLOURS = ("RGB", "RGBA", "RGBX", "RGBa", "LA")
"""Channels that Pillow names in `RGB;16B` and the like."""
_SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream; the bits of its first channel follow after 42 bytes."""


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
    """Whole numbers of a depth as uint8, rounded; none may be above the depth."""
    levels = _levels(bit_depth)
    return np.take(levels[::-1] if inverted else levels, values)


@functools.cache
def _levels(bit_depth: int) -> np.ndarray:
    highest = 2**bit_depth - 1
    values = np.arange(highest + 1, dtype=np.uint32)
    return ((values * 510 + highest) // (2 * highest)).astype(np.uint8)


def deep_rawmode(image: ImageFile) -> str | None:
    """How an image that is not loaded stores channels of 16-bit colour; None for others."""
    arguments = image.tile[0].args if image.tile else None
    rawmode = arguments[0] if isinstance(arguments, tuple) else arguments
    if not isinstance(rawmode, str):
        return None
    name, depth, _ = rawmode.partition(";16")
    return rawmode if depth and name in _DEEP_COLOURS else None


def set_low_bytes(image: ImageFile, rawmode: str) -> None:
    """Have an image that is not loaded give the low byte of each value.

    Of grey with alpha it gives four channels: both bytes of the grey, then those of alpha.
    """
    name, _, order = rawmode.partition(";16")
    is_little = order == "L" or (order == "N" and sys.byteorder == "little")
    swapped = "RGBA" if name == "LA" else f"{name};16{'B' if is_little else 'L'}"
    image.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile in image.tile
    ]


def low_bytes(loaded: np.ndarray, rawmode: str) -> np.ndarray:
    """The low bytes (H, W, 3 or 4) in the pixels of an image that `set_low_bytes` has changed."""
    return loaded[:, :, [1, 1, 1, 3]] if rawmode.startswith("LA") else loaded


def jpeg_2000_bits(content: bytes) -> int:
    """Bits per channel of a JPEG 2000 file."""
    return (content[content.index(_SIZ) + 42] & 0x7F) + 1


def largest_of_pnm(image: PpmImageFile) -> int:
    """The largest value that the header of a PNM allows, 255 for black and white."""
    (tile,) = image.tile
    if tile.codec_name == "ppm":
        return int(tile.args[1])  # type: ignore[index]
    return 65535 if image.mode == "I" else 255


def pnm_values(image: PpmImageFile, content: bytes) -> tuple[np.ndarray, int] | None:
    """Values of a PNM that names another largest value than 255, with their bits.

    They are (H, W) or (H, W, 3), in whole numbers of these bits. None for other files. Pillow reads
    these slowly, and colour with 8 bits.
    """
    (tile,), largest = image.tile, largest_of_pnm(image)
    if largest == 255:
        return None
    is_colour = image.mode == "RGB"
    shape = (image.height, image.width, *(3,) * is_colour)
    dtype = np.dtype("u1" if largest < 256 else ">u2")
    values = np.frombuffer(content, dtype, int(np.prod(shape)), tile.offset).reshape(shape)
    bits = largest.bit_length()
    if largest == 2**bits - 1:
        return np.minimum(values, largest).astype(np.uint16), bits
    scaled = np.minimum(values, largest).astype(np.uint32) * (2**bits - 1)
    return ((scaled + largest // 2) // largest).astype(np.uint16), bits
