"""Image and mask files to arrays, one file at a time, with one reason for each file that fails.

Pillow decodes (image_files.py), which unlike OpenCV notices truncated files. deep_images.py has
images of more than 8 bits, masks/values.py interprets the values of masks.
"""

from __future__ import annotations

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
        profile = image.info.get("icc_profile")
        flat = decode_flat(image, content, path, config)
        rgb, notes_of_profile = to_srgb(flat.image, profile)
        pixels = np.array(rgb)
        one_colour = (ONE_COLOUR,) * _has_one_colour(pixels)
        notes += flat.notes + notes_of_profile + one_colour
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


def _has_one_colour(pixels: np.ndarray) -> bool:
    """Whether all pixels are equal; a few are compared first, which rules out most images."""
    few = pixels[::_ONE_COLOUR_STEP, ::_ONE_COLOUR_STEP]
    return bool((few == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
