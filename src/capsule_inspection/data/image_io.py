"""Image and mask files to arrays, one file at a time, with one reason for each file that fails.

PNG, JPEG, BMP, TIFF and WebP through Pillow, which (unlike OpenCV) notices truncated files. The
size is checked before anything is decoded, and only the decoders of these five formats can be
reached, whatever the suffix. mask_values.py interprets the values of masks.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from capsule_inspection.data.bad_file import BadFileError, TooManyPixelsError
from capsule_inspection.data.mask_values import (
    SIXTEEN_BIT,
    THIRTY_TWO_BIT,
    MaskPixels,
    interpret_mask,
    is_lossy,
)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
MAX_PIXELS = 100_000_000
MIN_SIDE_PX = 8

# Opening the plugins by signature, not with Image.open, keeps Pillow's other decoders out of
# reach and its process-wide limit of pixels out of the way of `max_pixels`.
_READERS: tuple[tuple[bytes, type[ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"BM", BmpImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    (b"II+\0", TiffImageFile),
    (b"MM\0+", TiffImageFile),
    (b"RIFF", WebPImageFile),
)
_SIGNATURE_BYTES = 8
# What Pillow raises on damaged content, besides OSError.
_DAMAGED = (
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read and decode an image file; see `read_content` and `decode_image`."""
    return decode_image(read_content(path), path, max_pixels=max_pixels)


def read_content(path: Path) -> bytes:
    """The bytes of an image file.

    Raises BadFileError for a file that is missing, unreadable, empty or in none of the formats;
    of the last no more than the first bytes are read.
    """
    with _as_bad_file(path), path.open("rb") as stream:
        signature = stream.read(_SIGNATURE_BYTES)
        _reader(signature, path)
        return signature + stream.read()


def decode_image(content: bytes, path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image to RGB: uint8 (H, W, 3), turned by its EXIF orientation.

    Grey is repeated, palettes are resolved, transparency is laid on white, 16-bit grey is divided
    by 257 and rounded (16-bit colour keeps its high byte, which differs by one level at most). Of
    several frames the first counts. Raises BadFileError, naming `path`, for an image that is
    truncated, smaller than 8x8 pixels, of more than `max_pixels` or of 32-bit pixels.
    """
    with _as_bad_file(path):
        image = _opened(content, path, max_pixels=max_pixels)
        if image.mode in THIRTY_TWO_BIT:
            raise BadFileError(path, "has 32-bit pixels; save it with 8 or 16 bits")
        return _to_rgb(_loaded(image))


def decode_mask(
    content: bytes, path: Path, *, num_classes: int, max_pixels: int = MAX_PIXELS
) -> MaskPixels:
    """Decode a mask, turned by its EXIF orientation; see `interpret_mask`.

    Raises BadFileError as `decode_image` does, and for values whose meaning is not clear.
    """
    with _as_bad_file(path):
        image = _opened(content, path, max_pixels=max_pixels)
        return interpret_mask(_loaded(image), path, num_classes, lossy=is_lossy(image))


@contextlib.contextmanager
def _as_bad_file(path: Path) -> Iterator[None]:
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


def _reader(content: bytes, path: Path) -> type[ImageFile]:
    if not content:
        raise BadFileError(path, "is empty (0 bytes)")
    for signature, reader in _READERS:
        if content.startswith(signature):
            return reader
    raise BadFileError(path, "is not a PNG, JPEG, BMP, TIFF or WebP image")


def _opened(content: bytes, path: Path, *, max_pixels: int) -> ImageFile:
    """An image whose header is read and whose size is allowed; nothing is decoded."""
    image = _reader(content, path)(io.BytesIO(content))
    width, height = image.size
    found = f"is {width}x{height} pixels"
    if min(width, height) < MIN_SIDE_PX:
        raise BadFileError(path, f"{found}; at least {MIN_SIDE_PX}x{MIN_SIDE_PX} are needed")
    if width * height > max_pixels:
        raise TooManyPixelsError(path, found, max_pixels=max_pixels)
    return image


def _loaded(image: ImageFile) -> Image.Image:
    """The decoded image, turned by its EXIF orientation; damaged EXIF is ignored."""
    image.load()
    with contextlib.suppress(OSError, *_DAMAGED):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode in SIXTEEN_BIT:
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
