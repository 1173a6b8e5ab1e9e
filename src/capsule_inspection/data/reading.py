"""Image and mask files to arrays, one file at a time, with one reason for each file that fails.

PNG, JPEG, BMP, TIFF and WebP through Pillow, which (unlike OpenCV) notices truncated files. The
size is checked before anything is decoded, and only the decoders of these five formats can be
reached, whatever a file's name says. What values of masks mean is mask_values.py, finding files
layouts.py, hashing them in bulk index.py.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image
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
    is_lossy,
    read_marks,
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
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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


class Header(NamedTuple):
    """Size in pixels, after EXIF orientation."""

    width: int
    height: int


class ImageFacts(NamedTuple):
    """What one complete reading of an image file tells."""

    header: Header
    sha256: str


class MaskFacts(NamedTuple):
    """What one complete reading of a mask file tells; `empty` where it marks no pixel.

    `classes` are the numbers in a mask that names the class of each pixel, else none.
    `num_classes` is the one that this reading holds for, 0 where it holds for any.
    """

    header: Header
    sha256: str
    empty: bool
    classes: tuple[int, ...] = ()
    num_classes: int = 0


def read_header(path: Path, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Size of an image, from its header alone.

    Raises BadFileError for a file that is missing, unreadable, empty, no image, smaller than 8x8
    pixels or of more than `max_pixels`. EXIF counts where it stands before the pixels.
    """
    with _reporting(path), path.open("rb") as stream:
        return _oriented_size(_opened(stream, path=path, max_pixels=max_pixels))


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image to RGB: uint8 (H, W, 3), turned as its EXIF orientation says.

    Grey is repeated, palettes are resolved, transparency is laid on white, 16-bit grey is divided
    by 257 and rounded (16-bit colour keeps its high byte, which differs by one level at most). Of
    several frames the first counts. Raises BadFileError as `read_header` does, and for truncated
    files and 32-bit pixels.
    """
    with _reporting(path), path.open("rb") as stream:
        image = _opened(stream, path=path, max_pixels=max_pixels)
        _check_depth(image, path)
        return _to_rgb(_loaded(image))


def read_mask(
    path: Path, *, expected_size: tuple[int, int], label: int, num_classes: int = 2
) -> np.ndarray:
    """Decode a mask to uint8 (H, W): the class index of each marked pixel, else 0.

    Several values that all are numbers of classes (1 to `num_classes` - 1, as grey or as indices
    of a coloured palette) are the classes of their pixels. In any other mask the marked pixels get
    `label`: those from half of the largest value on, so that soft edges and the noise of lossy
    files end where the eye would put them, and masks of 0 and 1 work as those of 0 and 255 do.
    Of colours the largest channel counts; transparent pixels are unmarked. `expected_size` is
    (height, width) of the image. Raises BadFileError as `read_image` does, where the size differs
    (before decoding), and for values that do not tell what they mean.
    """
    height, width = expected_size
    with _reporting(path), path.open("rb") as stream:
        image = _opened(stream, path=path, max_pixels=max(MAX_PIXELS, height * width))
        check_mask_size(path, mask=_oriented_size(image), image=Header(width, height))
        marks = read_marks(_loaded(image), path, num_classes, lossy=is_lossy(image))
        return marks.pixels if marks.numbered else marks.pixels * np.uint8(label)


def check_mask_size(path: Path, *, mask: Header, image: Header) -> None:
    """Raise BadFileError unless the mask is as large as its image."""
    if mask != image:
        raise BadFileError(
            path,
            f"mask is {mask.width}x{mask.height}, its image is {image.width}x{image.height} "
            "pixels. Export masks at the image's size.",
        )


def inspect_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Hash a file and decode all of it; raises BadFileError as `read_image` does."""
    with _reporting(path), path.open("rb") as stream:
        image = _opened(stream, path=path, max_pixels=max_pixels)
        _check_depth(image, path)
        header = _oriented_size(image)
        image.load()
        return ImageFacts(header, _digest(stream))


def inspect_mask(path: Path, *, max_pixels: int = MAX_PIXELS, num_classes: int = 2) -> MaskFacts:
    """As `inspect_image`, for a mask; also refuses values as `read_mask` does."""
    with _reporting(path), path.open("rb") as stream:
        image = _opened(stream, path=path, max_pixels=max_pixels)
        header = _oriented_size(image)
        image.load()
        marks = read_marks(image, path, num_classes, lossy=is_lossy(image))
        found = np.unique(marks.pixels).tolist()
        return MaskFacts(
            header,
            _digest(stream),
            empty=not any(found),
            classes=tuple(filter(None, found)) if marks.numbered else (),
            num_classes=num_classes if marks.several else 0,
        )


def _digest(stream: BinaryIO) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn what goes wrong inside into a BadFileError with a one-line reason."""
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
        verdict = "cannot be read" if error.errno else "is damaged or cut short"
        raise BadFileError(path, f"{verdict} ({error.strerror or _line(error)})") from error
    except _DAMAGED as error:
        raise BadFileError(path, f"is damaged ({_line(error)})") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _opened(stream: BinaryIO, *, path: Path, max_pixels: int) -> ImageFile:
    """An image whose header is read and whose size is allowed; nothing is decoded."""
    signature = stream.read(_SIGNATURE_BYTES)
    if not signature:
        raise BadFileError(path, "is empty (0 bytes)")
    stream.seek(0)
    for start, reader in _READERS:
        if signature.startswith(start):
            image = reader(stream)
            _check_size(Header(*image.size), path=path, max_pixels=max_pixels)
            return image
    raise BadFileError(path, "is not a PNG, JPEG, BMP, TIFF or WebP image")


def _check_size(size: Header, *, path: Path, max_pixels: int) -> None:
    found = f"is {size.width}x{size.height} pixels"
    if min(size) < MIN_SIDE_PX:
        raise BadFileError(path, f"{found}; at least {MIN_SIDE_PX}x{MIN_SIDE_PX} are needed")
    if size.width * size.height > max_pixels:
        raise TooManyPixelsError(path, found, max_pixels=max_pixels)


def _check_depth(image: Image.Image, path: Path) -> None:
    if image.mode in THIRTY_TWO_BIT:
        raise BadFileError(path, "has 32-bit pixels; save it with 8 or 16 bits")


def _oriented_size(image: ImageFile) -> Header:
    width, height = image.size
    return Header(height, width) if _orientation(image) >= 5 else Header(width, height)


def _orientation(image: ImageFile) -> int:
    """EXIF orientation that is still to be applied, 1 to 8; damaged EXIF counts as none."""
    if isinstance(image, TiffImageFile):
        return 1  # Pillow turns TIFF files itself, and gives their size as turned
    try:
        # Past the override of PNG files, which decodes all pixels to look for EXIF behind them.
        exif = Image.Image.getexif(image)
        orientation = exif.get(_ORIENTATION_TAG, 1)
    except (OSError, *_DAMAGED):
        return 1
    return orientation if orientation in _TURNS else 1


def _loaded(image: ImageFile) -> Image.Image:
    """The decoded image, turned as its EXIF orientation says."""
    orientation = _orientation(image)
    image.load()
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode in SIXTEEN_BIT:
        grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
