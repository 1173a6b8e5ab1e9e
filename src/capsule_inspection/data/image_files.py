"""Opens and loads image files through Pillow, with one reason for each file that fails.

The size is checked before anything is decoded, and only the decoders of the formats in
image_formats.py can be reached, whatever the suffix.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from capsule_inspection.data import image_formats, tiff_pages
from capsule_inspection.data.bad_file import BadFileError, TooManyPixelsError
from capsule_inspection.data.image_notes import EXIF_KEPT, EXIF_SWAPPED, EXIF_TURNED

MAX_PIXELS = 100_000_000
MIN_SIDE_PX = 8

# Opening the plugins by signature, not with Image.open, keeps Pillow's other decoders out of
# reach and its process-wide limit of pixels out of the way of `max_pixels`.
_READERS: dict[str, type[ImageFile]] = {
    image_formats.PNG: PngImageFile,
    image_formats.JPEG: JpegImageFile,
    image_formats.BMP: BmpImageFile,
    image_formats.TIFF: TiffImageFile,
    image_formats.WEBP: WebPImageFile,
    image_formats.GIF: GifImageFile,
    image_formats.JPEG_2000: Jpeg2KImageFile,
    image_formats.PNM: PpmImageFile,
    image_formats.AVIF: AvifImageFile,
}
_ANIMATED = (PngImageFile, WebPImageFile, GifImageFile, AvifImageFile)
# What Pillow raises on damaged content, besides OSError.
_DAMAGED: tuple[type[Exception], ...] = (SyntaxError, ValueError, TypeError, LookupError, EOFError)
_DAMAGED += (ArithmeticError, RuntimeError, struct.error, zlib.error)
_ORIENTATION = 0x0112
_UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What undoes each EXIF orientation, by which Pillow turns TIFF files itself."""
_SWAPPED = (5, 6, 7, 8)
"""Orientations that swap width and height."""


@dataclass(frozen=True)
class DecodeConfig:
    """What decides the pixels of a file.

    `bit_depth` is that of values in 16-bit files (None where it is not known), `exif_orientation`
    whether images are turned as their EXIF data say.
    """

    max_pixels: int = MAX_PIXELS
    bit_depth: int | None = 16
    exif_orientation: bool = True


@contextlib.contextmanager
def as_bad_file(path: Path) -> Iterator[None]:
    """Turn errors of reading and decoding into a BadFileError with a one-line reason."""
    try:
        yield
    except FileNotFoundError:
        raise BadFileError(path, "there is no such file") from None
    except PermissionError:
        raise BadFileError(path, "may not be read (permission denied)") from None
    except Image.DecompressionBombError as error:
        raise BadFileError(path, f"is too large: {_line(error)}") from error
    except OSError as error:
        # Pillow's own complaints have no number; those of the operating system do.
        problem = "cannot be read" if error.errno else "is damaged or cut short"
        raise BadFileError(path, f"{problem} ({error.strerror or _line(error)})") from error
    except _DAMAGED as error:
        raise BadFileError(path, f"is damaged ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def check_format(content: bytes, path: Path) -> type[ImageFile]:
    """The decoder of a file that starts so; raises BadFileError for other formats."""
    if not content:
        raise BadFileError(path, "is empty (0 bytes)")
    start = content[: image_formats.SIGNATURE_BYTES]
    name = image_formats.image_format(start)
    if name is None:
        raise BadFileError(path, image_formats.why_not_read(start))
    return _READERS[name]


def open_image(
    content: bytes, path: Path, config: DecodeConfig
) -> tuple[ImageFile, tuple[str, ...]]:
    """An image whose header is read and whose size is allowed, and notes; nothing is decoded."""
    reader = check_format(content, path)
    try:
        image = reader(io.BytesIO(content))
    except SyntaxError as error:
        reason = f"is damaged, or of a variant that is not read ({_line(error)})"
        raise BadFileError(path, f"{reason}; save it as PNG with 8 or 16 bits") from error
    notes: tuple[str, ...] = ()
    if isinstance(image, TiffImageFile):
        notes = tiff_pages.select_page(image, path)
    elif isinstance(image, _ANIMATED) and getattr(image, "is_animated", False):
        raise BadFileError(path, "is an animation of several frames; save one of them as PNG")
    width, height = image.size
    found = f"is {width}x{height} pixels"
    if min(width, height) < MIN_SIDE_PX:
        raise BadFileError(path, f"{found}; at least {MIN_SIDE_PX}x{MIN_SIDE_PX} are needed")
    if width * height > config.max_pixels:
        raise TooManyPixelsError(path, found, max_pixels=config.max_pixels)
    return image, notes


def load_image(image: ImageFile, config: DecodeConfig) -> tuple[Image.Image, tuple[str, ...]]:
    """The decoded image, turned by its EXIF orientation if set, and notes.

    Damaged EXIF data are ignored.
    """
    # Pillow turns TIFF files itself; the EXIF data of a PNG may follow its pixels.
    orientation = image.tag_v2.get(_ORIENTATION) if isinstance(image, TiffImageFile) else None
    image.load()
    with contextlib.suppress(OSError, *_DAMAGED):
        orientation = orientation or image.getexif().get(_ORIENTATION)
    if orientation not in _UNTURN:
        return image, ()
    if not config.exif_orientation:
        is_turned = isinstance(image, TiffImageFile)
        kept = image.transpose(_UNTURN[orientation]) if is_turned else image
        return kept, (EXIF_KEPT,)
    with contextlib.suppress(OSError, *_DAMAGED):
        ImageOps.exif_transpose(image, in_place=True)
    swapped = (EXIF_SWAPPED,) if orientation in _SWAPPED else ()
    return image, (EXIF_TURNED, *swapped)
