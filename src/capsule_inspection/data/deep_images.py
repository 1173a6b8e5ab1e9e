"""Decodes images of more than 8 bits per channel by the depth of their values."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from capsule_inspection.data import tiff_pages
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.bit_depth import check_depth, scale
from capsule_inspection.data.colours import without_alpha
from capsule_inspection.data.image_files import DecodeConfig, load_image
from capsule_inspection.data.masks.values import SIXTEEN_BIT

_PNG_BITS = 24
"""Place of the bits per channel in a PNG."""
_SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream; the bits of its first channel follow after 42 bytes."""


class FlatImage(NamedTuple):
    """An image in RGB, L or CMYK with 8 bits, and facts of its file as in `DecodedImage`."""

    image: Image.Image
    bit_depth: int
    max_value: int
    notes: tuple[str, ...] = ()


def bits_per_channel(image: ImageFile, content: bytes) -> int:
    """Bits per channel of an opened image, 8 for less."""
    bits = 8
    if isinstance(image, PngImageFile):
        bits = content[_PNG_BITS]
    elif isinstance(image, TiffImageFile):
        bits = tiff_pages.bits_per_sample(image)
    elif isinstance(image, Jpeg2KImageFile):
        bits = (content[content.index(_SIZ) + 42] & 0x7F) + 1
    elif isinstance(image, PpmImageFile):
        bits = _largest_of_pnm(image).bit_length()
    return max(bits, 8)


def decode_flat(image: ImageFile, content: bytes, path: Path, config: DecodeConfig) -> FlatImage:
    """Decode an opened image of any depth.

    Raises BitDepthError for a value above the depth, BadFileError for colour of another depth than
    16 in the few files of which only the high bytes can be read.
    """
    bits = bits_per_channel(image, content)
    if isinstance(image, PpmImageFile) and _largest_of_pnm(image) != 255:
        values = _pnm_values(image, content, path)
        return _scaled(values, bits, path, config)
    inverted = isinstance(image, TiffImageFile) and tiff_pages.is_inverted(image)
    loaded, turned = load_image(image, config)
    if loaded.mode in SIXTEEN_BIT:
        values = np.asarray(loaded)
        if isinstance(image, Jpeg2KImageFile):
            values = values >> (16 - bits)  # Pillow fills 16 bits
        return _scaled(values, bits, path, config, inverted=inverted, notes=turned)
    max_value = 255
    if bits == 16:  # Pillow gives the high byte of each value
        high = np.asarray(loaded.convert("RGB") if loaded.mode == "LA" else loaded)[:, :, :3]
        max_value = int(high.max()) << 8
        if check_depth(path, max_value, config.bit_depth) != 16:
            return _scaled(_colour_values(content, high, path), 16, path, config, notes=turned)
    flat, notes = without_alpha(loaded)
    return FlatImage(flat, bits, max_value, turned + notes)


def _scaled(
    values: np.ndarray,
    bits: int,
    path: Path,
    config: DecodeConfig,
    *,
    inverted: bool = False,
    notes: tuple[str, ...] = (),
) -> FlatImage:
    max_value = int(values.max())
    depth = check_depth(path, max_value, config.bit_depth) if bits == 16 else bits
    return FlatImage(
        Image.fromarray(scale(values, depth, inverted=inverted)), bits, max_value, notes
    )


def _colour_values(content: bytes, high: np.ndarray, path: Path) -> np.ndarray:
    """Both bytes of 16-bit colour (H, W, 3), by OpenCV; `high` are the high ones.

    Raises BadFileError where OpenCV reads other pixels, or some are transparent.
    """
    import cv2  # a warm start reads no pixels and goes without

    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is not None and read.dtype == np.uint16 and read.ndim == 3:
        values, alpha = read[:, :, 2::-1].astype(np.uint16), read[:, :, 3:]
        is_opaque = not alpha.size or alpha.min() == alpha.max()
        if is_opaque and np.array_equal(values >> 8, high):
            return values
    raise BadFileError(
        path,
        "has 16-bit colour in planes, turned, partly transparent or on a further page, of which "
        "only 8 bits can be read; save it as an ordinary PNG or TIFF",
    )


def _largest_of_pnm(image: PpmImageFile) -> int:
    """The largest value that the header of a PNM allows, 255 for black and white."""
    (tile,) = image.tile
    if tile.codec_name == "ppm":
        return int(tile.args[1])  # type: ignore[index]
    return 65535 if image.mode == "I" else 255


def _pnm_values(image: PpmImageFile, content: bytes, path: Path) -> np.ndarray:
    """Values (H, W) or (H, W, 3) of a PNM, of which Pillow reads the colour with 8 bits."""
    largest = _largest_of_pnm(image)
    if largest & (largest + 1):
        raise BadFileError(
            path, f"names {largest} as its largest value; expected 255, 1023, 4095, 16383 or 65535"
        )
    shape = (image.height, image.width, *(3,) * (image.mode == "RGB"))
    dtype = np.dtype("u1" if largest < 256 else ">u2")
    values = np.frombuffer(content, dtype, int(np.prod(shape)), image.tile[0].offset)
    return values.reshape(shape)
