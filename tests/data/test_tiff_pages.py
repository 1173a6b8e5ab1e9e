from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiff_files import DEFLATE, MIN_IS_WHITE, YCBCR, tiff_page, write_tiff

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_io import DecodeConfig, DecodedImage, read_image
from capsule_inspection.data.image_notes import OTHER_PAGES, PREVIEW_PAGE

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (32, 48), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)
DEEP = GREY.astype(np.uint16) * np.uint16(257)
SMALL = GREY[::4, ::4].copy()
same = np.testing.assert_array_equal


def check_grey(image: DecodedImage, expected: np.ndarray) -> None:
    same(image.pixels, np.repeat(expected[:, :, None], 3, axis=2))


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_min_is_white_is_turned_round(tmp_path: Path, bits: int) -> None:
    highest = 2**bits - 1
    values = {1: GREY >> 7, 8: GREY, 16: DEEP}[bits]
    stored = (highest - values).astype(f"<u{max(bits // 8, 1)}")
    page = tiff_page(stored, bits=bits, tag_262=MIN_IS_WHITE)
    image = read_image(write_tiff(tmp_path / "a.tif", page))
    check_grey(image, (values.astype(int) * 255 // highest).astype(np.uint8))


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read_compressed_too(tmp_path: Path, order: str) -> None:
    for compression in (1, DEFLATE):
        page = tiff_page(DEEP.astype(f"{order}u2"), tag_259=compression)
        check_grey(read_image(write_tiff(tmp_path / "a.tif", page, order=order)), GREY)


def test_colour_in_planes_is_read_at_8_bits(tmp_path: Path) -> None:
    same(read_image(write_tiff(tmp_path / "a.tif", tiff_page(COLOUR, planes=True))).pixels, COLOUR)


def test_packed_12_bits_have_their_own_depth(tmp_path: Path) -> None:
    values = GREY.astype(np.uint16) * np.uint16(16) + (GREY >> 4)
    image = read_image(write_tiff(tmp_path / "a.tif", tiff_page(values, bits=12)))
    check_grey(image, GREY)
    assert (image.bit_depth, image.max_value) == (12, values.max())


REFUSED = {
    "a kind that Pillow does not know": (tiff_page(DEEP >> 6, bits=10), "variant that is not read"),
    "planes": (tiff_page(np.dstack([DEEP] * 3), planes=True), "uncompressed TIFF in planes of 16"),
    "YCbCr": (tiff_page(COLOUR, tag_262=YCBCR, tag_530=1), "an uncompressed TIFF in YCbCr"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pixels_that_are_not_read_right_are_refused(tmp_path: Path, name: str) -> None:
    page, reason = REFUSED[name]
    with pytest.raises(BadFileError, match=rf"{reason}.*; save it as PNG"):
        read_image(write_tiff(tmp_path / "a.tif", page))


def test_signed_and_float_pixels_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", tiff_page(GREY.astype("i2")))
    with pytest.raises(BadFileError, match="has 32-bit or signed pixels; save it with 8"):
        read_image(path)
    path = write_tiff(tmp_path / "a.tif", tiff_page(GREY.astype("f4") / 255))
    with pytest.raises(BadFileError, match="has 32-bit or signed pixels; save it with 8"):
        read_image(path)


PREVIEW, IMAGE = tiff_page(SMALL), tiff_page(GREY)
COPY = tiff_page(SMALL, tag_254=1)
OTHER = tiff_page(255 - GREY)
SEVERAL = {
    "a preview that does not say so": ((PREVIEW, IMAGE), (PREVIEW_PAGE,)),
    "a preview of 16 bits before 8": ((tiff_page(DEEP[::4, ::4].copy()), IMAGE), (PREVIEW_PAGE,)),
    "a marked preview": ((COPY, IMAGE), (PREVIEW_PAGE,)),
    "a preview marked as old files do": ((tiff_page(SMALL, tag_255=2), IMAGE), (PREVIEW_PAGE,)),
    "a marked copy of equal size": ((tiff_page(255 - GREY, tag_254=1), IMAGE), (PREVIEW_PAGE,)),
    "a copy behind": ((IMAGE, COPY, PREVIEW), ()),
    "a mask behind": ((IMAGE, tiff_page(GREY, tag_254=4)), ()),
    "a page that is not read": ((IMAGE, tiff_page(SMALL.astype("f8"))), ()),
    "two pages": ((IMAGE, OTHER), (OTHER_PAGES,)),
    "a preview of two pages": ((PREVIEW, IMAGE, OTHER), (PREVIEW_PAGE, OTHER_PAGES)),
    "one that is marked by mistake": ((tiff_page(GREY, tag_254=1),), ()),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_the_image_of_several_pages_is_read(tmp_path: Path, name: str) -> None:
    pages, notes = SEVERAL[name]
    image = read_image(write_tiff(tmp_path / "a.tif", *pages))
    check_grey(image, GREY)
    assert image.notes == notes


UNCLEAR = {
    "has pages of different shapes, the first of 48x8 and the largest of 48x32 pixels": (
        tiff_page(GREY[:8].copy()),
        IMAGE,
    ),
    "has reduced copies or masks as pages": (tiff_page(SMALL, tag_254=1, tag_330=8),),
    "is a camera raw file, which is not read": (tiff_page(SMALL, tag_50706=1),),
}


@pytest.mark.parametrize("reason", UNCLEAR)
def test_pages_that_leave_open_which_is_the_image_are_refused(tmp_path: Path, reason: str) -> None:
    path = write_tiff(tmp_path / "a.tif", *UNCLEAR[reason])
    with pytest.raises(BadFileError, match=reason):
        read_image(path)


def test_the_size_of_the_page_that_is_read_is_limited(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", PREVIEW, IMAGE)
    with pytest.raises(BadFileError, match=r"is 48x32 pixels; data\.max_pixels allows 1000"):
        read_image(path, DecodeConfig(max_pixels=1000))
