from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFile, ImageFilter, ImageOps

from capsule_inspection.contracts import DataError
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.mask_values import MaskValuesError
from capsule_inspection.data.reading import (
    IMAGE_SUFFIXES,
    inspect_image,
    inspect_mask,
    read_header,
    read_image,
    read_mask,
)

SUFFIXES = sorted(IMAGE_SUFFIXES)
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]


def save(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if path.suffix == ".webp":
        options |= {"lossless": True, "exact": True}
    picture.save(path, **options)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def write_png(path: Path, *, rows: np.ndarray, colour_type: int) -> Path:
    """A 16-bit PNG by hand: what Pillow cannot write itself."""
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colour_images_of_all_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", PIXELS)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (16, 24, 3)
    assert read_header(path) == (24, 16)
    if suffix in {".jpg", ".jpeg"}:
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
    else:
        np.testing.assert_array_equal(image, PIXELS)


def test_an_image_can_be_written_into(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "a.png", PIXELS)).flags.writeable


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_is_repeated_in_all_channels(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", GREY))
    np.testing.assert_array_equal(image, np.stack([GREY] * 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_black_and_white_images_become_0_and_255(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", Image.fromarray(GREY > 127)))
    np.testing.assert_array_equal(image[:, :, 1], np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_palettes_are_resolved(tmp_path: Path, suffix: str) -> None:
    indexed = Image.frombytes("P", (24, 16), (GREY % 3).astype(np.uint8).tobytes())
    indexed.putpalette([10, 20, 30, 200, 100, 0, 1, 2, 3])
    colours = np.array([[10, 20, 30], [200, 100, 0], [1, 2, 3]], np.uint8)
    image = read_image(save(tmp_path / f"a{suffix}", indexed))
    np.testing.assert_array_equal(image, colours[GREY % 3])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_transparency_is_laid_on_white(tmp_path: Path, suffix: str) -> None:
    rgba = np.dstack([PIXELS, np.zeros_like(GREY)])
    rgba[:8, :, 3] = 255
    image = read_image(save(tmp_path / f"a{suffix}", rgba))
    np.testing.assert_array_equal(image[:8], PIXELS[:8])
    assert (image[8:] == 255).all()


def test_half_transparent_black_on_white_is_grey(tmp_path: Path) -> None:
    grey_alpha = Image.merge("LA", [Image.new("L", (9, 9), 0), Image.new("L", (9, 9), 128)])
    assert set(read_image(save(tmp_path / "a.png", grey_alpha)).ravel()) == {127}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_divided_by_257_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.arange(16 * 24, dtype=np.uint16).reshape(16, 24) * np.uint16(170)
    deep[0, 0], deep[0, 1], deep[0, 2] = 65535, 257 * 77, 300
    image = read_image(save(tmp_path / f"a{suffix}", deep))
    np.testing.assert_array_equal(image[:, :, 2], np.rint(deep / 257).astype(np.uint8))
    assert image[0, :3, 0].tolist() == [255, 77, 1]


def test_big_endian_16_bit_tiff_is_read_as_little_endian_one(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (16, 24)).astype(np.uint16)
    little = save(tmp_path / "little.tif", deep)
    (tmp_path / "big.tif").write_bytes(_big_endian_tiff(deep))
    np.testing.assert_array_equal(read_image(tmp_path / "big.tif"), read_image(little))


def _big_endian_tiff(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 0), (277, 1)]
    tags += [(278, height), (279, pixels.size * 2)]
    offset = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(">HHII", tag, 4, 1, offset if tag == 273 else value) for tag, value in tags
    )
    directory = struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0)
    return b"MM\0*" + struct.pack(">I", 8) + directory + pixels.astype(">u2").tobytes()


def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (16, 24, 3)).astype(np.uint16)
    image = read_image(write_png(tmp_path / "a.png", rows=deep, colour_type=2))
    np.testing.assert_array_equal(image, (deep >> 8).astype(np.uint8))


def test_cmyk_becomes_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)))
    assert read_image(path)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    path = tmp_path / "a.tif"
    first.save(path, save_all=True, append_images=[second])
    np.testing.assert_array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", PIXELS, exif=exif)
    image = read_image(path)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(image, np.asarray(ImageOps.exif_transpose(picture)))
    size = (image.shape[1], image.shape[0])
    assert read_header(path) == size
    assert inspect_image(path).header == size
    assert size == ((16, 24) if orientation >= 5 else (24, 16))


def test_orientation_6_turns_a_quarter_clockwise(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", PIXELS, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(PIXELS, k=-1))


def test_16_bit_images_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    deep = GREY.astype(np.uint16) * np.uint16(257)
    image = read_image(save(tmp_path / "a.png", deep, exif=exif))
    np.testing.assert_array_equal(image[:, :, 0], np.rot90(GREY, k=2))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_counts_as_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", PIXELS, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_image(path).shape == (16, 24, 3)


def test_the_header_of_a_png_is_read_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(ImageFile.ImageFile, "load", _never)
    assert read_header(path) == (24, 16)


def _never(*_: object) -> None:
    raise AssertionError("the image was decoded")


def bomb(suffix: str, path: Path) -> Path:
    """A small file whose header says 20,000x20,000."""
    content = bytearray(save(path.with_suffix(suffix), PIXELS).read_bytes())
    if suffix == ".png":
        content[16:24] = struct.pack(">II", 20_000, 20_000)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    elif suffix == ".bmp":
        content[18:26] = struct.pack("<ii", 20_000, 20_000)
    elif suffix == ".jpg":
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", 20_000, 20_000)
    else:  # tags 256 and 257, of one LONG each
        for tag in (256, 257):
            start = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
            content[start : start + 4] = struct.pack("<I", 20_000)
    path.with_suffix(suffix).write_bytes(content)
    return path.with_suffix(suffix)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif"])
def test_a_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = bomb(suffix, tmp_path / "bomb")
    monkeypatch.setattr(ImageFile.ImageFile, "load", _never)
    for read in (read_header, read_image, inspect_image, inspect_mask):
        with pytest.raises(DataError, match=r"20000x20000 pixels; .* allows 100000000"):
            read(path)


def test_a_webp_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.webp", PIXELS)
    monkeypatch.setattr(ImageFile.ImageFile, "load", _never)
    with pytest.raises(DataError, match=r"24x16 pixels; data\.max_pixels allows 383"):
        read_image(path, max_pixels=383)


def test_max_pixels_is_a_setting(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    assert read_image(path, max_pixels=24 * 16).shape == (16, 24, 3)
    with pytest.raises(DataError, match=r"24x16 pixels; data\.max_pixels allows 383"):
        read_image(path, max_pixels=24 * 16 - 1)


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_tiny_images_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", size))
    with pytest.raises(DataError, match=f"is {size[0]}x{size[1]} pixels; at least 8x8"):
        read_image(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_files_are_found(tmp_path: Path, suffix: str, share: float) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for read in (read_image, inspect_image):
        with pytest.raises(BadFileError, match=r"a\.\w+: is damaged") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_file_cut_inside_its_header_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DataError, match="damaged"):
        read_header(path)


def test_an_empty_file_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png: is empty \(0 bytes\)"):
        read_header(tmp_path / "a.png")


@pytest.mark.parametrize("content", [b"<html>404</html>", b"x", b"\0" * 5000])
def test_what_is_no_image_is_named_as_such(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: is not a PNG, JPEG, BMP, TIFF or WebP image"):
        read_image(tmp_path / "a.png")


def test_other_image_formats_are_refused_whatever_their_name(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match="is not a PNG"):
        read_image(tmp_path / "a.png")


def test_a_wrong_suffix_does_no_harm(tmp_path: Path) -> None:
    path = save(tmp_path / "a.bmp", PIXELS).rename(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), PIXELS)


def test_32_bit_images_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(GREY.astype(np.float32)))
    for read in (read_image, inspect_image):
        with pytest.raises(DataError, match="has 32-bit pixels; save it with 8 or 16 bits"):
            read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.png: there is no such file"):
        read_header(tmp_path / "a.png")


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_header(tmp_path)


def test_missing_permission_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(Path, "open", _deny)
    with pytest.raises(DataError, match=r"a\.png: may not be read \(permission denied\)"):
        read_image(path)


def _deny(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_said_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        read_image(path)


def test_paths_with_spaces_and_other_scripts_work(tmp_path: Path) -> None:
    folder = tmp_path / "my photos, 膠囊=1"
    folder.mkdir()
    np.testing.assert_array_equal(read_image(save(folder / "рис 1.png", PIXELS)), PIXELS)


def test_marked_pixels_get_the_label(tmp_path: Path) -> None:
    marked = GREY > 200
    path = save(tmp_path / "a.png", np.where(marked, 255, 0).astype(np.uint8))
    mask = read_mask(path, expected_size=(16, 24), label=3)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, np.where(marked, 3, 0))


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint16), (".tif", np.int32)],
)
def test_masks_of_zero_and_one_work_in_any_depth(
    tmp_path: Path, suffix: str, dtype: type[np.generic]
) -> None:
    path = save(tmp_path / f"a{suffix}", (GREY > 99).astype(dtype))
    mask = read_mask(path, expected_size=(16, 24), label=1)
    np.testing.assert_array_equal(mask, GREY > 99)
    assert not inspect_mask(path).empty


def test_soft_edges_are_cut_at_half_of_the_largest_value(tmp_path: Path) -> None:
    values = np.zeros((16, 24), np.uint8)
    values[2, :6] = [10, 49, 50, 51, 99, 100]
    mask = read_mask(save(tmp_path / "a.png", values), expected_size=(16, 24), label=1)
    assert mask[2, :7].tolist() == [0, 0, 1, 1, 1, 1, 0]


def test_transparent_pixels_are_unmarked(tmp_path: Path) -> None:
    rgba = np.full((16, 24, 4), 255, np.uint8)
    rgba[:, 10:, 3] = 0
    mask = read_mask(save(tmp_path / "a.png", rgba), expected_size=(16, 24), label=1)
    assert mask[:, :10].all()
    assert not mask[:, 10:].any()


def test_coloured_masks_count_by_their_largest_channel(tmp_path: Path) -> None:
    colours = np.zeros((16, 24, 3), np.uint8)
    colours[:5, :, 2] = 255
    mask = read_mask(save(tmp_path / "a.png", colours), expected_size=(16, 24), label=2)
    assert mask.sum() == 5 * 24 * 2


def test_an_empty_mask_is_all_background(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((16, 24), np.uint8))
    assert not read_mask(path, expected_size=(16, 24), label=1).any()
    assert inspect_mask(path).empty


SIZE = (16, 24)
STRIPES = np.zeros(SIZE, np.uint8)
STRIPES[2:6], STRIPES[7:9], STRIPES[10:15, 4:9] = 1, 2, 5
"""A mask of the classes 1, 2 and 5, of six."""
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128]
"""Colours of the first six numbers in the masks of PASCAL VOC."""


def indexed(numbers: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.frombytes("P", numbers.shape[::-1], numbers.astype(np.uint8).tobytes())
    image.putpalette(palette)
    return image


def recoded(values: dict[int, int], dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """The stripes with other values for 1, 2 and 5."""
    return np.array([0, values[1], values[2], 0, 0, values[5]]).astype(dtype)[STRIPES]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_numbers_of_classes_are_the_classes_of_their_pixels(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", STRIPES)
    mask = read_mask(path, expected_size=SIZE, label=2, num_classes=6)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, STRIPES)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", np.uint16), (".tif", np.uint16), (".tif", np.int32), (".tif", np.float32)],
)
def test_numbers_of_classes_work_in_any_depth(
    tmp_path: Path, suffix: str, dtype: type[np.generic]
) -> None:
    path = save(tmp_path / f"a{suffix}", STRIPES.astype(dtype))
    mask = read_mask(path, expected_size=SIZE, label=2, num_classes=6)
    np.testing.assert_array_equal(mask, STRIPES)


def test_numbers_of_classes_work_in_grey_that_is_saved_as_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.stack([STRIPES] * 3, axis=2))
    mask = read_mask(path, expected_size=SIZE, label=2, num_classes=6)
    np.testing.assert_array_equal(mask, STRIPES)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("first", [[0, 0, 0], [128, 64, 128]])
def test_of_a_coloured_palette_the_indices_are_the_classes(
    tmp_path: Path, suffix: str, first: list[int]
) -> None:
    path = save(tmp_path / f"a{suffix}", indexed(STRIPES, first + VOC[3:]))
    mask = read_mask(path, expected_size=SIZE, label=1, num_classes=6)
    np.testing.assert_array_equal(mask, STRIPES)


def test_of_a_grey_palette_the_brightness_counts(tmp_path: Path) -> None:
    numbers = np.zeros(SIZE, np.uint8)
    numbers[4:9], numbers[3], numbers[9] = 1, 2, 3
    path = save(tmp_path / "a.png", indexed(numbers, [0] * 3 + [255] * 3 + [200] * 3 + [40] * 3))
    mask = read_mask(path, expected_size=SIZE, label=1, num_classes=6)
    np.testing.assert_array_equal(mask, (numbers == 1) | (numbers == 2))


def test_transparent_pixels_of_a_palette_are_unmarked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", indexed(STRIPES, VOC), transparency=b"\xff\xff\0\xff\xff\xff")
    mask = read_mask(path, expected_size=SIZE, label=1, num_classes=6)
    np.testing.assert_array_equal(mask, np.where(STRIPES == 2, 0, STRIPES))


def test_a_palette_with_black_behind_a_colour_is_refused(tmp_path: Path) -> None:
    palette = [255, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]
    path = save(tmp_path / "a.png", indexed(STRIPES, palette))
    with pytest.raises(MaskValuesError, match="black as number 1 and a colour as number 0"):
        read_mask(path, expected_size=SIZE, label=1, num_classes=6)


@pytest.mark.parametrize("palette", [None, VOC])
def test_one_number_alone_marks_what_the_image_shows(
    tmp_path: Path, palette: list[int] | None
) -> None:
    numbers = np.where(STRIPES > 0, np.uint8(3), np.uint8(0))
    path = save(tmp_path / "a.png", indexed(numbers, palette) if palette else numbers)
    mask = read_mask(path, expected_size=SIZE, label=4, num_classes=6)
    np.testing.assert_array_equal(mask, np.where(STRIPES > 0, 4, 0))
    assert inspect_mask(path, num_classes=6)[2:] == (False, (), 0)


def test_classes_and_their_count_are_told_of_masks_that_have_them(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", STRIPES)
    assert inspect_mask(path, num_classes=6)[2:] == (False, (1, 2, 5), 6)
    assert all(type(number) is int for number in inspect_mask(path, num_classes=6).classes)


@pytest.mark.parametrize(
    ("values", "named"),
    [({1: 1, 2: 2, 5: 6}, "0, 1, 2 and 6"), ({1: 1, 2: 0, 5: 12}, "0, 1 and 12")],
)
def test_numbers_that_are_not_those_of_classes_are_refused(
    tmp_path: Path, values: dict[int, int], named: str
) -> None:
    path = save(tmp_path / "a.png", recoded(values))
    expected = (
        f"a.png: has the values {named}; re-export it as PNG with two values (0 and another), "
        "or with the numbers of the classes"
    )
    for read in (read_mask_of_six, inspect_mask_of_six):
        with pytest.raises(MaskValuesError) as caught:
            read(path)
        assert str(caught.value).endswith(expected)


def read_mask_of_six(path: Path) -> object:
    return read_mask(path, expected_size=SIZE, label=1, num_classes=6)


def inspect_mask_of_six(path: Path) -> object:
    return inspect_mask(path, num_classes=6)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_numbers_of_classes_in_a_lossy_format_are_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", np.repeat(np.repeat(STRIPES, 8, axis=0), 8, axis=1))
    with pytest.raises(MaskValuesError, match=r"has the values 0, 1, .*re-export it as PNG"):
        inspect_mask_of_six(path)


@pytest.mark.parametrize(
    ("dtype", "values", "named"),
    [
        (np.uint8, {1: 128, 2: 128, 5: 255}, "0, 128 and 255"),
        (np.uint8, {1: 36, 2: 0, 5: 252}, "0, 36 and 252"),
        (np.uint8, {1: 255, 2: 0, 5: 200}, "0, 200 and 255"),
        (np.uint16, {1: 32768, 2: 0, 5: 65535}, "0, 32768 and 65535"),
        (np.float32, {1: 0.5, 2: 0.0, 5: 1.0}, "0, 0.5 and 1"),
    ],
)
def test_values_between_that_cover_an_area_are_refused(
    tmp_path: Path, dtype: type[np.generic], values: dict[int, int], named: str
) -> None:
    path = save(tmp_path / "a.tif", recoded(values, dtype))
    expected = (
        f"a.tif: has the values {named} over whole areas; re-export it as PNG with two values "
        "(0 and another), or with the numbers of the classes"
    )
    for read in (read_mask_of_six, inspect_mask_of_six):
        with pytest.raises(MaskValuesError) as caught:
            read(path)
        assert str(caught.value).endswith(expected)


def test_colours_of_unequal_brightness_over_areas_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[:5, :, 0], colours[8:13, :, 2] = 255, 128
    with pytest.raises(MaskValuesError, match="has the values 0, 128 and 255 over whole areas"):
        inspect_mask(save(tmp_path / "a.png", colours))


def test_of_many_values_five_are_named(tmp_path: Path) -> None:
    steps = np.repeat(np.arange(0, 256, 32), 3).astype(np.uint8)
    path = save(tmp_path / "a.png", np.tile(steps, (16, 1)))
    with pytest.raises(MaskValuesError, match=r"values 0, 32, 64, 96 \.\.\. and 224 over whole"):
        inspect_mask(path)


def test_two_values_without_a_clear_background_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.where(STRIPES == 5, np.uint8(255), np.uint8(128)))
    with pytest.raises(MaskValuesError, match="has the values 128 and 255 over whole areas"):
        inspect_mask(path)


@pytest.mark.parametrize(("low", "high"), [(0, 7), (0, 200), (100, 255), (1, 3)])
def test_of_any_two_values_the_larger_one_marks(tmp_path: Path, low: int, high: int) -> None:
    path = save(tmp_path / "a.png", np.where(STRIPES > 0, np.uint8(high), np.uint8(low)))
    mask = read_mask(path, expected_size=SIZE, label=1)
    np.testing.assert_array_equal(mask, STRIPES > 0)


def shapes() -> np.ndarray:
    """A mask of 0 and 255 with an ellipse, a bar and a line of two pixels, (240, 320)."""
    picture = Image.new("L", (320, 240))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 30, 130, 110), fill=255)
    draw.polygon([(150, 20), (300, 90), (290, 110), (140, 45)], fill=255)
    draw.line([(15, 220), (300, 135)], fill=255, width=2)
    return np.asarray(picture)


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 95])
def test_the_noise_of_a_lossy_mask_is_cut_at_half(tmp_path: Path, quality: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(shapes()).save(path, quality=quality)
    values = np.asarray(Image.open(path))
    mask = read_mask(path, expected_size=(240, 320), label=1, num_classes=6)
    np.testing.assert_array_equal(mask, values >= values.max() / 2)


@pytest.mark.parametrize("radius", [1, 4])
def test_the_soft_edges_of_a_blurred_mask_are_cut_at_half(tmp_path: Path, radius: int) -> None:
    soft = Image.fromarray(shapes()).filter(ImageFilter.GaussianBlur(radius))
    path = save(tmp_path / "a.png", soft)
    mask = read_mask(path, expected_size=(240, 320), label=1, num_classes=6)
    np.testing.assert_array_equal(mask, np.asarray(soft) >= np.asarray(soft).max() / 2)


def test_every_real_mask_is_cut_at_half(real_capsules: Path) -> None:
    paths = sorted((real_capsules / "ground_truth").glob("*/*.png"))
    assert len(paths) == 87
    for path in paths:
        mask = read_mask(path, expected_size=(800, 800), label=5, num_classes=6)
        np.testing.assert_array_equal(mask, 5 * (np.asarray(Image.open(path)) >= 128))


def test_a_mask_of_another_size_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(ImageFile.ImageFile, "load", _never)
    expected = r"a\.png: mask is 24x16, its image is 16x24 pixels\. Export masks at the image's"
    with pytest.raises(DataError, match=expected):
        read_mask(path, expected_size=(24, 16), label=1)


def test_equal_bytes_have_equal_hashes(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", PIXELS)
    (tmp_path / "b.png").write_bytes(first.read_bytes())
    other = save(tmp_path / "c.png", 255 - PIXELS)
    assert inspect_image(first) == inspect_image(tmp_path / "b.png")
    assert inspect_image(first).sha256 != inspect_image(other).sha256


def test_every_real_photograph_is_read(real_capsules: Path) -> None:
    for path in sorted(real_capsules.glob("*/*/*.jpg"))[::40]:
        assert read_image(path).shape == (800, 800, 3)
