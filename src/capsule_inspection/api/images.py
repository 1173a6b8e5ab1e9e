"""Images in memory as the content of files, so that they are decoded by the rules of files.

Written without compression: a copy of the pixels in memory, in a format that Pillow decodes.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from capsule_inspection.data.image_files import as_bad_file
from capsule_inspection.types import DataError

_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_TIFF_MODES = ("PA", "RGBX", "CMYK", "LAB", "I;16B", "I", "F")  # the last two are refused as files
_EXPECTED = (
    "expected the path of an image, a PIL image, or an array of uint8 (H, W), (H, W, 3) in RGB or "
    "(H, W, 4) in RGBA, or of uint16 (H, W)"
)


def encode(image: object) -> tuple[Path, bytes]:
    """A PIL image or an array as the name and the content of a file.

    A PIL image keeps its palette, transparency, colour profile and EXIF orientation. Raises
    DataError for other types, shapes and values.
    """
    if isinstance(image, np.ndarray):
        return Path("array"), _encode(_from_array(image), Path("array"))
    if isinstance(image, Image.Image):
        path = Path(getattr(image, "filename", "") or "PIL image")
        return path, _encode(image, path)
    raise DataError(f"image: {_EXPECTED}; found {type(image).__name__}.")


def _from_array(array: np.ndarray) -> Image.Image:
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    is_grey, channels = array.ndim == 2, array.shape[2] if array.ndim == 3 else 0
    if (array.dtype == np.uint8 and (is_grey or channels in (3, 4))) or (
        array.dtype == np.uint16 and is_grey
    ):
        return Image.fromarray(array)
    remedy = "Convert it"
    if array.dtype.kind == "f":
        remedy = "Scale it to 0 to 255, round it, and convert it by .astype(np.uint8)"
    elif array.dtype == np.uint16 and channels:
        remedy = "Save colour of 16 bits as PNG, and give its path"
    elif array.ndim == 3 and array.shape[0] in (1, 3, 4):
        remedy = "Move its channels to the end, such as by array.transpose(1, 2, 0)"
    elif array.ndim == 4:
        remedy = "Give one image at a time"
    raise DataError(f"image: {_EXPECTED}; found {array.dtype} {array.shape}. {remedy}.")


def _encode(image: Image.Image, path: Path) -> bytes:
    if image.mode not in (*_PNG_MODES, *_TIFF_MODES):
        raise DataError(
            f"{path}: the mode of this PIL image is {image.mode}. Convert it, such as by "
            "image.convert('RGB')."
        )
    with as_bad_file(path):  # it may be a file of which Pillow has read the header alone
        image.load()  # which turns a TIFF by its orientation
    exif = Image.Exif()
    with suppress(Exception):  # damaged EXIF data are ignored, as those of files
        if orientation := image.getexif().get(ExifTags.Base.Orientation):
            exif[ExifTags.Base.Orientation] = orientation
    stream = io.BytesIO()
    if image.mode in _PNG_MODES:
        image.save(stream, "PNG", compress_level=0, exif=exif)
    else:
        image.save(stream, "TIFF", compression="raw", exif=exif)
    return stream.getvalue()
