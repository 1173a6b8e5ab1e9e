"""The page of a TIFF file that is the image, where the file has several.

Scanners and microscopes put a preview first; others store reduced copies after the image.
"""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path
from typing import NamedTuple

from PIL.ImageFile import _Tile
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, ImageFileDirectory_v2, TiffImageFile

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_notes import OTHER_PAGES, PREVIEW_PAGE

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _SAMPLE_FORMAT = 277, 339
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _PLANAR, _SUB_IFDS, _DNG_VERSION = 254, 255, 284, 330, 50706
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_MIN_IS_WHITE, _YCBCR = 0, 6
_NUMBERS = {1: "whole numbers", 2: "signed numbers", 3: "floating-point numbers"}
"""By SampleFormat."""
UNKNOWN_PIXELS = "unknown pixel mode"
"""What Pillow says of pixels that it does not read; see `describe_pixels`."""
_MAX_PAGES = 64
"""Of a file with more, the others do not count."""
_MAX_STRETCH = 1.1
"""A preview has the proportions of its image, but for rounding."""

# Pillow reads 16-bit MinIsWhite in one byte order and does not invert it; see `is_inverted`.
OPEN_INFO.setdefault((MM, _MIN_IS_WHITE, (1,), 1, (16,), ()), ("I;16B", "I;16B"))
assert OPEN_INFO[II, _MIN_IS_WHITE, (1,), 1, (16,), ()][0] == "I;16"


class _Page(NamedTuple):
    number: int
    width: int
    height: int
    is_reduced: bool
    is_mask: bool

    @property
    def area(self) -> int:
        return self.width * self.height


def select_page(image: TiffImageFile, path: Path) -> tuple[str, ...]:
    """Turn to the page that is the image; nothing is decoded. Returns notes.

    It is the first one, or the largest where the first is a preview: marked as reduced, or smaller
    than another of the same proportions. Raises BadFileError where that is not clear, and for
    camera raw files.
    """
    if _DNG_VERSION in image.tag_v2:
        raise BadFileError(path, "is a camera raw file, which is not read: convert it to PNG")
    has_sub_images = _SUB_IFDS in image.tag_v2
    pages = [page for page in _read_pages(image) if not page.is_mask]
    full = [page for page in pages if not page.is_reduced]
    first, largest = pages[0] if pages else None, max(full or pages, key=lambda page: page.area)
    if first is None or (first.is_reduced and has_sub_images and not full):
        raise BadFileError(
            path,
            "its first page is a reduced copy, and its image is stored below that page, where it "
            "is not read; save the image as the only page",
        )
    is_preview = first.area < largest.area or (first.is_reduced and bool(full))
    if is_preview and not first.is_reduced and _stretch(first, largest) > _MAX_STRETCH:
        raise BadFileError(
            path,
            f"has pages of different shapes, the first of {first.width}x{first.height} and the "
            f"largest of {largest.width}x{largest.height} pixels, so that it is not clear which is "
            "the image; save that one alone",
        )
    chosen = largest if is_preview else first
    image.seek(chosen.number)
    _read_by_libtiff_where_needed(image)
    others = [page for page in full if page is not first and not _is_copy(page, chosen)]
    return (PREVIEW_PAGE,) * is_preview + (OTHER_PAGES,) * bool(others)


def is_inverted(image: TiffImageFile) -> bool:
    """Whether 0 is white in the values that Pillow gives: it inverts those of 8 bits itself."""
    return image.tag_v2.get(_PHOTOMETRIC) == _MIN_IS_WHITE


def bits_per_sample(image: TiffImageFile) -> int:
    """Bits of the first channel."""
    return int(image.tag_v2.get(_BITS, (1,))[0])


def has_planes(image: TiffImageFile) -> bool:
    """Whether the channels of a pixel are stored in planes of their own."""
    return bool(image.tag_v2.get(_PLANAR, 1) == 2)


def _read_pages(image: TiffImageFile) -> list[_Page]:
    pages = []
    for number in range(_MAX_PAGES):
        try:
            image.seek(number)
        except EOFError:
            break
        except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
            if image.tell() != number:
                raise
            # A page of pixels that are not read: its size counts all the same.
        tags = image.tag_v2
        subfile = tags.get(_NEW_SUBFILE_TYPE, 0)
        is_reduced = bool(subfile & _REDUCED) or tags.get(_SUBFILE_TYPE) == 2
        with contextlib.suppress(KeyError):
            size = int(tags[_WIDTH]), int(tags[_HEIGHT])
            pages.append(_Page(number, *size, is_reduced, bool(subfile & _MASK)))
    return pages


def _stretch(page: _Page, other: _Page) -> float:
    """How much the proportions of two pages differ; 1 where they are equal."""
    ratio = page.width * other.height / max(page.height * other.width, 1)
    return max(ratio, 1 / ratio) if ratio else float("inf")


def _is_copy(page: _Page, chosen: _Page) -> bool:
    """Whether a page is the chosen one, or a smaller one of its shape."""
    return page is chosen or (page.area < chosen.area and _stretch(page, chosen) <= _MAX_STRETCH)


def _read_by_libtiff_where_needed(image: TiffImageFile) -> None:
    """Have libtiff read what Pillow itself reads wrongly: uncompressed planes and YCbCr."""
    is_raw = image.tag_v2.get(_COMPRESSION, 1) == 1
    has_deep_planes = has_planes(image) and bits_per_sample(image) == 16
    is_ycbcr = image.tag_v2.get(_PHOTOMETRIC) == _YCBCR and image.mode == "RGB"
    if is_raw and (has_deep_planes or is_ycbcr):
        extent = (0, 0, image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT])
        mode = "RGBX" if is_ycbcr else f"{image.mode};16N"
        image.use_load_libtiff = True
        image.tile = [_Tile("libtiff", extent, 0, (mode, "raw", False, image.tag_v2.offset))]


def describe_pixels(content: bytes) -> str:
    """The pixels of the first page in words."""
    stream = io.BytesIO(content)
    tags = ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    bits, samples = int(tags.get(_BITS, (1,))[0]), int(tags.get(_SAMPLES, 1))
    kind = _NUMBERS.get(tags.get(_SAMPLE_FORMAT, (1,))[0], "numbers")
    channels = f"{samples} channels" if samples > 1 else "one channel"
    return f"{channels} of {bits}-bit {kind}"
