"""Decodes images of more than 8 bits per channel by the depth of their values."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from capsule_inspection.data import tiff_pages
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.deep_pixels import (
    check_depth,
    deep_rawmode,
    jpeg_2000_bits,
    largest_of_pnm,
    low_bytes,
    pnm_values,
    scale,
    set_low_bytes,
)
from capsule_inspection.data.image_files import DecodeConfig, load_image, open_image
from capsule_inspection.data.mask_values import SIXTEEN_BIT
from capsule_inspection.data.transparency import on_white, without_alpha


class FlatImage(NamedTuple):
    """An image in RGB, L or CMYK with 8 bits, and facts of its file as in `DecodedImage`."""

    image: Image.Image
    bit_depth: int
    max_value: int
    notes: tuple[str, ...] = ()


def decode_deep(
    image: ImageFile, content: bytes, path: Path, config: DecodeConfig
) -> FlatImage | None:
    """Decode an opened image of more than 8 bits; None for one of 8 bits or less.

    Raises BitDepthError for a value above the depth, BadFileError for 16-bit colour of another
    depth in the few files of which only 8 bits can be read.
    """
    if isinstance(image, PpmImageFile):
        return _decode_pnm(image, content, path, config)
    if image.mode in SIXTEEN_BIT:
        return _decode_grey(image, content, path, config)
    rawmode = deep_rawmode(image)
    if rawmode or _has_unreadable_bytes(image, content):
        return _decode_colour(image, content, path, config, rawmode)
    return None


def has_16_bits(image: ImageFile, content: bytes) -> bool:
    """Whether an opened image has 16 bits per channel, so that its depth is not known."""
    if isinstance(image, PpmImageFile):
        return largest_of_pnm(image).bit_length() == 16
    is_grey = image.mode in SIXTEEN_BIT and bits_per_channel(image, content) == 16
    return is_grey or deep_rawmode(image) is not None or _has_unreadable_bytes(image, content)


def bits_per_channel(image: ImageFile, content: bytes) -> int:
    """Bits per channel, 8 for less."""
    if isinstance(image, Jpeg2KImageFile):
        return max(jpeg_2000_bits(content), 8)
    if isinstance(image, TiffImageFile) and image.mode in SIXTEEN_BIT:
        return tiff_pages.bits_per_sample(image)
    return 16 if image.mode in SIXTEEN_BIT else 8


def _decode_pnm(
    image: PpmImageFile, content: bytes, path: Path, config: DecodeConfig
) -> FlatImage | None:
    found = pnm_values(image, content)
    if found is None:
        return None
    values, bits = found
    max_value = int(values.max())
    depth = check_depth(path, max_value, config.bit_depth) if bits == 16 else bits
    return FlatImage(Image.fromarray(scale(values, depth)), max(bits, 8), max_value)


def _decode_grey(image: ImageFile, content: bytes, path: Path, config: DecodeConfig) -> FlatImage:
    bits = bits_per_channel(image, content)
    inverted = isinstance(image, TiffImageFile) and tiff_pages.is_inverted(image)
    loaded, turned = load_image(image, config)
    values = np.asarray(loaded)
    if isinstance(image, Jpeg2KImageFile):
        values = values >> (16 - bits)  # Pillow fills 16 bits
    max_value = int(values.max())
    depth = check_depth(path, max_value, config.bit_depth) if bits == 16 else bits
    pixels = scale(values, depth, inverted=inverted)
    return FlatImage(Image.fromarray(pixels), bits, max_value, turned)


def _decode_colour(
    image: ImageFile, content: bytes, path: Path, config: DecodeConfig, rawmode: str | None
) -> FlatImage:
    has_low_bytes = rawmode is not None and not _has_unreadable_bytes(image, content)
    loaded, turned = load_image(image, config)
    high = np.asarray(loaded)
    top = int(high[:, :, : 1 if loaded.mode == "LA" else 3].max()) << 8
    depth = check_depth(path, top, config.bit_depth)
    if depth == 16:
        flat, notes = without_alpha(loaded)
        return FlatImage(flat, 16, top, turned + notes)
    if not has_low_bytes or rawmode is None:
        raise BadFileError(
            path,
            "has 16-bit colour in planes, with premultiplied alpha or in JPEG 2000, of which only "
            "8 bits can be read; save it as PNG or as an ordinary TIFF",
        )
    again, _ = open_image(content, path, config)
    set_low_bytes(again, rawmode)
    low = low_bytes(np.asarray(load_image(again, config)[0]), rawmode)
    values = high.astype(np.uint16) << 8 | low
    max_value = int(values[:, :, :3].max())
    pixels, notes = on_white(scale(values[:, :, :3], depth), values[:, :, 3:])
    return FlatImage(Image.fromarray(pixels), 16, max_value, turned + notes)


def _has_unreadable_bytes(image: ImageFile, content: bytes) -> bool:
    """Whether an image has 16-bit colour of which Pillow gives the high bytes alone."""
    if isinstance(image, Jpeg2KImageFile):
        return image.mode in ("LA", "RGB", "RGBA") and jpeg_2000_bits(content) == 16
    if not isinstance(image, TiffImageFile) or tiff_pages.bits_per_sample(image) != 16:
        return False
    is_premultiplied = (deep_rawmode(image) or "").startswith("RGBa")
    return image.mode in ("RGB", "RGBA") and (tiff_pages.has_planes(image) or is_premultiplied)
