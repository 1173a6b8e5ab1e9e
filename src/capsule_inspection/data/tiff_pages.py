"""The page of a TIFF file that is the image, where the file has several.

Scanners and microscopes put a preview first; others store reduced copies after the image.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import NamedTuple

from PIL.TiffImagePlugin import TiffImageFile

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_notes import OTHER_PAGES, PREVIEW_PAGE

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS = 254, 255, 256, 257, 258
_COMPRESSION, _PHOTOMETRIC, _PLANAR, _SUB_IFDS, _DNG_VERSION = 259, 262, 284, 330, 50706
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_MIN_IS_WHITE, _YCBCR = 0, 6
_MAX_PAGES = 64
"""Of a file with more, the others do not count."""
_MAX_STRETCH = 1.1
"""A preview has the proportions of its image, but for rounding."""


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
    than another of the same proportions. Raises BadFileError where that is not clear, for camera
    raw files, and for two variants that Pillow reads wrongly.
    """
    if _DNG_VERSION in image.tag_v2:
        raise BadFileError(path, "is a camera raw file, which is not read: convert it to PNG")
    has_sub_images = _SUB_IFDS in image.tag_v2
    pages = [page for page in _read_pages(image) if not page.is_mask]
    full = [page for page in pages if not page.is_reduced] or pages * (not has_sub_images)
    if not full:
        raise BadFileError(
            path,
            "has reduced copies or masks as pages, but not the image itself; save it as the only "
            "page",
        )
    first, chosen = pages[0], max(full, key=lambda page: page.area)
    if not first.is_reduced and first.area == chosen.area:
        chosen = first
    elif not first.is_reduced and _stretch(first, chosen) > _MAX_STRETCH:
        raise BadFileError(
            path,
            f"has pages of different shapes, the first of {first.width}x{first.height} and the "
            f"largest of {chosen.width}x{chosen.height} pixels, so that it is not clear which is "
            "the image; save that one alone",
        )
    image.seek(chosen.number)
    _refuse_misread(image, path)
    others = [page for page in full if page is not first and not _is_copy(page, chosen)]
    return (PREVIEW_PAGE,) * (chosen is not first) + (OTHER_PAGES,) * bool(others)


def is_inverted(image: TiffImageFile) -> bool:
    """Whether 0 is white in 16-bit values as Pillow gives them: it inverts those of 8 bits."""
    return image.tag_v2.get(_PHOTOMETRIC) == _MIN_IS_WHITE


def bits_per_sample(image: TiffImageFile) -> int:
    """Bits of the first channel."""
    return int(image.tag_v2.get(_BITS, (1,))[0])


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


def _refuse_misread(image: TiffImageFile, path: Path) -> None:
    tags = image.tag_v2
    has_deep_planes = tags.get(_PLANAR) == 2 and bits_per_sample(image) == 16
    is_ycbcr = tags.get(_PHOTOMETRIC) == _YCBCR and image.mode == "RGB"
    if tags.get(_COMPRESSION, 1) == 1 and (has_deep_planes or is_ycbcr):
        found = "YCbCr" if is_ycbcr else "planes of 16 bits"
        raise BadFileError(path, f"is an uncompressed TIFF in {found}; save it as PNG")
