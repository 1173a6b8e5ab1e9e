"""Image and mask files to arrays, one file at a time, with one reason for each file that fails.

Pillow decodes (image_files.py), which unlike OpenCV notices truncated files. deep_images.py has
images of more than 8 bits, mask_values.py interprets the values of masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile

from capsule_inspection.data import deep_images, image_formats, tiff_pages
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.colour_profiles import to_srgb
from capsule_inspection.data.deep_images import FlatImage, bits_per_channel, decode_deep
from capsule_inspection.data.image_files import (
    DecodeConfig,
    as_bad_file,
    check_format,
    load_image,
    open_image,
)
from capsule_inspection.data.image_notes import ONE_COLOUR
from capsule_inspection.data.mask_rules import MaskCode
from capsule_inspection.data.mask_values import (
    THIRTY_TWO_BIT,
    MaskPixels,
    interpret_mask,
    is_lossy,
)
from capsule_inspection.data.transparency import without_alpha

_DEEP = (image_formats.PNG, image_formats.TIFF, image_formats.JPEG_2000, image_formats.PNM)
_PNG_BITS = 24
"""Place of the bits per channel in a PNG."""
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

    Grey is repeated, palettes are resolved, transparency is laid on white unless it is everywhere,
    colour profiles are applied, and values of more bits are divided by the largest of their depth
    and rounded (16-bit colour of depth 16 keeps its high byte, which differs by one level at most).
    Raises BadFileError, naming `path`, for an image that is truncated, smaller than 8x8 pixels, an
    animation, of more than `max_pixels` or of 32-bit pixels; BitDepthError for a value above the
    depth.
    """
    with as_bad_file(path):
        image, notes = open_image(content, path, config)
        _check_mode(image, path)
        profile = image.info.get("icc_profile")
        flat = decode_deep(image, content, path, config)
        if flat is None:
            loaded, turned = load_image(image, config)
            opaque, notes_of_alpha = without_alpha(loaded)
            bits = bits_per_channel(image, content)
            flat = FlatImage(opaque, bits, 255, turned + notes_of_alpha)
        rgb, notes_of_profile = to_srgb(flat.image, profile)
        pixels = np.array(rgb)
        notes += flat.notes + notes_of_profile
        if _has_one_colour(pixels):
            notes += (ONE_COLOUR,)
        return DecodedImage(pixels, flat.bit_depth, flat.max_value, notes)


def has_16_bits(path: Path, config: DecodeConfig = _DEFAULT) -> bool:
    """Whether a file has channels of 16 bits, by its header. Raises BadFileError."""
    with as_bad_file(path), path.open("rb") as stream:
        start = stream.read(image_formats.SIGNATURE_BYTES)
        name = image_formats.image_format(start)
        if name not in _DEEP or (name == image_formats.PNG and start[_PNG_BITS] != 16):
            return False
        content = start + stream.read()
        image, _ = open_image(content, path, config)
        return deep_images.has_16_bits(image, content)


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


def _check_mode(image: ImageFile, path: Path) -> None:
    if image.mode not in THIRTY_TWO_BIT or isinstance(image, PpmImageFile):
        return
    about = "32-bit pixels"
    if isinstance(image, TiffImageFile) and tiff_pages.bits_per_sample(image) == 16:
        about = "signed 16-bit pixels"
    raise BadFileError(path, f"has {about}; save it with 8 or 16 bits")


def _has_one_colour(pixels: np.ndarray) -> bool:
    """Whether all pixels are equal; a few are compared first, which rules out most images."""
    few = pixels[::_ONE_COLOUR_STEP, ::_ONE_COLOUR_STEP]
    return bool((few == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
