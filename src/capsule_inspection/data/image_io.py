"""Image and mask files to arrays, one file at a time, with one reason for each file that fails.

Pillow decodes (image_files.py), which unlike OpenCV notices truncated files; OpenCV decodes PNG
files that are plain and whole, in two thirds of the time. deep_images.py has images of more than 8
bits, masks/values.py interprets the values of masks.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL.PpmImagePlugin import PpmImageFile

from capsule_inspection.data import image_formats
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.colours import to_srgb
from capsule_inspection.data.deep_images import bits_per_channel, decode_flat
from capsule_inspection.data.image_files import (
    DecodeConfig,
    as_bad_file,
    check_format,
    load_image,
    open_image,
)
from capsule_inspection.data.image_notes import ONE_COLOUR
from capsule_inspection.data.masks.rules import MaskCode
from capsule_inspection.data.masks.values import (
    THIRTY_TWO_BIT,
    MaskPixels,
    interpret_mask,
    is_lossy,
)

_DEEP = (image_formats.PNG, image_formats.TIFF, image_formats.JPEG_2000, image_formats.PNM)
_ONE_COLOUR_STEP = 16
_PNG_SIGNATURE_BYTES = 8
_PLAIN_CHUNKS = frozenset((b"IHDR", b"IDAT", b"IEND", b"tEXt", b"pHYs", b"tIME", b"gAMA", b"cHRM",
                           b"sRGB", b"sBIT", b"bKGD"))  # fmt: skip
"""Of a PNG, those that Pillow needs for the pixels, and those that change none."""
_PLAIN_HEADERS = (b"\x08\x00\x00\x00\x00", b"\x08\x02\x00\x00\x00")
"""Of a PNG after its size: 8 bits of grey or RGB, and not interlaced."""
_ORIENTATION_TEXTS = (b"exif", b"xmp")
"""In the keys of texts that may hold an orientation."""


class DecodedImage(NamedTuple):
    """RGB pixels, uint8 (H, W, 3), and facts of the file.

    `bit_depth` is that of its channels, 16 for 16-bit files whatever the depth of their values, of
    which `max_value` is the largest (of colour at depth 16 rounded down to a multiple of 256;
    without meaning for 8 bits). `notes` see image_notes.py.
    """

    pixels: np.ndarray
    bit_depth: int = 8
    max_value: int = 255
    notes: tuple[str, ...] = ()


_DEFAULT = DecodeConfig()


def read_image(path: Path, config: DecodeConfig = _DEFAULT) -> DecodedImage:
    """Read and decode an image file; see `read_content` and `decode_image`."""
    return decode_image(read_content(path), path, config)


def read_content(path: Path) -> bytes:
    """The bytes of an image file.

    Raises BadFileError for a file that is missing, unreadable, empty or in none of the formats;
    of the last no more than the first bytes are read.
    """
    with as_bad_file(path), path.open("rb") as stream:
        signature = stream.read(image_formats.SIGNATURE_BYTES)
        check_format(signature, path)
        return signature + stream.read()


def decode_image(content: bytes, path: Path, config: DecodeConfig = _DEFAULT) -> DecodedImage:
    """Decode an image to 8-bit RGB.

    Transparency is laid on white, colour profiles are applied, values of more bits are scaled by
    their depth (16-bit colour of depth 16 keeps its high byte, one level off at most).
    Raises BadFileError, naming `path`, for an image that is truncated, smaller than 8x8 pixels, an
    animation, of more than `max_pixels` or of 32-bit pixels; BitDepthError for a value above the
    depth.
    """
    with as_bad_file(path):
        image, notes = open_image(content, path, config)
        if image.mode in THIRTY_TWO_BIT and not isinstance(image, PpmImageFile):
            raise BadFileError(path, "has 32-bit or signed pixels; save it with 8 or 16 bits")
        if (plain := _decode_plain_png(content)) is not None:
            return DecodedImage(plain, notes=notes + (ONE_COLOUR,) * _has_one_colour(plain))
        profile = image.info.get("icc_profile")
        flat = decode_flat(image, content, path, config)
        rgb, notes_of_profile = to_srgb(flat.image, profile)
        pixels = np.array(rgb)
        notes += flat.notes + notes_of_profile + (ONE_COLOUR,) * _has_one_colour(pixels)
        return DecodedImage(pixels, flat.bit_depth, flat.max_value, notes)


def has_16_bits(path: Path, config: DecodeConfig = _DEFAULT) -> bool:
    """Whether a file has channels of 16 bits, by its header. Raises BadFileError."""
    with as_bad_file(path), path.open("rb") as stream:
        start = stream.read(image_formats.SIGNATURE_BYTES)
        name = image_formats.image_format(start)
        if name not in _DEEP:
            return False
        content = start + stream.read()
        image, _ = open_image(content, path, config)
        return bits_per_channel(image, content) == 16


def decode_mask(
    content: bytes, path: Path, *, code: MaskCode, config: DecodeConfig = _DEFAULT
) -> MaskPixels:
    """Decode a mask, turned by its EXIF orientation; see `interpret_mask`.

    Raises BadFileError as `decode_image` does, and for values whose meaning is not clear.
    """
    with as_bad_file(path):
        image, notes = open_image(content, path, config)
        loaded, turned = load_image(image, config)
        mask = interpret_mask(loaded, path, code, lossy=is_lossy(image))
        return mask._replace(notes=notes + turned)


def _decode_plain_png(content: bytes) -> np.ndarray | None:
    """RGB pixels, uint8 (H, W, 3), of a PNG of 8-bit RGB or grey, equal to those of Pillow.

    None for other files: with transparency, a profile, EXIF data or anything unknown, and damaged
    ones, of which Pillow says what is wrong.
    """
    if not _is_plain_png(content):
        return None
    import cv2  # a warm start reads no pixels and goes without

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV decodes
        return None


def _is_plain_png(content: bytes) -> bool:
    """Whether a file is a PNG of 8-bit RGB or grey, not interlaced, with plain chunks only.

    The checksums of all chunks are compared: Pillow skips those of the pixels.
    """
    if image_formats.image_format(content) != image_formats.PNG:
        return False
    place, view = _PNG_SIGNATURE_BYTES, memoryview(content)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        start, end = place + 8, place + 8 + length
        if kind not in _PLAIN_CHUNKS or end + 4 > len(content):
            return False
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
        if kind == b"IHDR" and content[start + 8 : end] not in _PLAIN_HEADERS:
            return False
        if kind == b"tEXt":
            key = content[start:end].partition(b"\0")[0].lower()
            if any(name in key for name in _ORIENTATION_TEXTS):
                return False
        if kind == b"IEND":
            return True
        place = end + 4
    return False


def _has_one_colour(pixels: np.ndarray) -> bool:
    """Whether all pixels are equal; a few are compared first, which rules out most images."""
    few = pixels[::_ONE_COLOUR_STEP, ::_ONE_COLOUR_STEP]
    return bool((few == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
