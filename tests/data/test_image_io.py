from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFile, ImageFilter, ImageOps

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_io import (
    IMAGE_SUFFIXES,
    decode_mask,
    read_content,
    read_image,
)
from capsule_inspection.data.mask_values import MaskPixels, MaskValuesError
from capsule_inspection.types import DataError

RNG = np.random.default_rng(0)
SIZE = (16, 24)
PIXELS = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]
LOSSLESS = ".png .bmp .tif .tiff .webp"
GREYS = ".png .bmp .tif"
same = np.testing.assert_array_equal


def read_mask(path: Path, *, num_classes: int = 2) -> MaskPixels:
    return decode_mask(read_content(path), path, num_classes=num_classes)


def save(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if path.suffix == ".webp":
        options |= {"lossless": True, "exact": True}
    picture.save(path, **options)
    return path


def indexed(numbers: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.frombytes("P", numbers.shape[::-1], numbers.astype(np.uint8).tobytes())
    image.putpalette(palette)
    return image


def turned_by_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)


COLOURS = np.array([[10, 20, 30], [200, 100, 0], [1, 2, 3]], np.uint8)
HALF_SEEN = np.dstack([PIXELS, np.where(np.arange(16) < 8, 255, 0)[:, None].repeat(24, axis=1)])
BLACK_AND_ALPHA = Image.merge("LA", [Image.new("L", (24, 16), level) for level in (0, 128)])
DEEP = np.arange(16 * 24, dtype=np.uint16).reshape(SIZE) * np.uint16(170)
DEEP[0, :3] = 65535, 257 * 77, 300
READ = {
    "colour": (PIXELS, LOSSLESS, PIXELS),
    "grey": (GREY, GREYS, GREY),
    "black and white": (Image.fromarray(GREY > 127), GREYS, np.where(GREY > 127, 255, 0)),
    "palette": (indexed(GREY % 3, COLOURS.ravel().tolist()), GREYS, COLOURS[GREY % 3]),
    "transparency on white": (
        HALF_SEEN.astype(np.uint8),
        ".png .tif .webp",
        np.where(HALF_SEEN[:, :, 3:] > 0, PIXELS, 255),
    ),
    "half transparent black": (BLACK_AND_ALPHA, ".png", np.full(SIZE, 127)),
    "16-bit grey, not clipped": (DEEP, ".png .tif", np.rint(DEEP / 257)),
}
"""What is saved, in which formats, and the pixels expected."""


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_image_becomes_rgb_of_8_bits(tmp_path: Path, name: str) -> None:
    image, suffixes, expected = READ[name]
    for suffix in suffixes.split():
        path = save(tmp_path / f"a{suffix}", image)
        found = read_image(path)
        assert found.dtype == np.uint8
        assert found.flags.writeable
        same(found, expected if expected.ndim == 3 else np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_read_as_pillow_reads_it(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", PIXELS)
    same(read_image(path), np.asarray(Image.open(path)))
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)))
    assert read_image(path)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)


def test_16_bits_are_read_in_either_order_of_bytes_and_in_colour(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (*SIZE, 3)).astype(np.uint16)
    expected = read_image(save(tmp_path / "little.tif", deep[:, :, 0]))
    big = save(tmp_path / "big.tif", deep[:, :, 0].astype(">u2"))
    assert big.read_bytes().startswith(b"MM")
    same(read_image(big), expected)
    cv2.imwrite(str(tmp_path / "colour.png"), deep[:, :, ::-1])
    same(read_image(tmp_path / "colour.png"), (deep >> 8).astype(np.uint8))
    grey = read_image(save(tmp_path / "grey.png", DEEP))
    assert grey[0, :3, 0].tolist() == [255, 77, 1]


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    second = Image.fromarray(255 - PIXELS)
    path = save(tmp_path / "a.tif", PIXELS, save_all=True, append_images=[second])
    same(read_image(path), PIXELS)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_exif_orientation_is_respected(tmp_path: Path, suffix: str) -> None:
    for orientation in range(1, 9):
        path = save(tmp_path / f"a{suffix}", PIXELS, exif=turned_by_exif(orientation))
        image = read_image(path)
        with Image.open(path) as picture:
            same(image, np.asarray(ImageOps.exif_transpose(picture)))
        size = (image.shape[1], image.shape[0])
        assert size == ((16, 24) if orientation >= 5 else (24, 16))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_turns_clockwise_and_any_depth_and_is_ignored_where_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PIXELS, exif=turned_by_exif(6))
    same(read_image(path), np.rot90(PIXELS, k=-1))
    deep = GREY.astype(np.uint16) * np.uint16(257)
    path = save(tmp_path / "a.png", deep, exif=turned_by_exif(3))
    same(read_image(path)[:, :, 0], np.rot90(GREY, k=2))
    path = save(tmp_path / "a.jpg", PIXELS, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_image(path).shape == (16, 24, 3)


def test_neither_suffix_nor_name_of_a_file_matters(tmp_path: Path) -> None:
    folder = tmp_path / "my photos, 膠囊=1"
    folder.mkdir()
    same(read_image(save(folder / "a.bmp", PIXELS).rename(folder / "рис 1.png")), PIXELS)


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
    tmp_path: Path, no_decoding: None, suffix: str
) -> None:
    path = bomb(suffix, tmp_path / "bomb")
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"20000x20000 pixels; .* allows 100000000"):
            read(path)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_max_pixels_needs_no_decoding(
    tmp_path: Path, request: pytest.FixtureRequest, suffix: str
) -> None:
    path = save(tmp_path / f"a{suffix}", PIXELS)
    assert read_image(path, max_pixels=24 * 16).shape == (16, 24, 3)
    request.getfixturevalue("no_decoding")
    with pytest.raises(DataError, match=r"24x16 pixels; data\.max_pixels allows 383"):
        read_image(path, max_pixels=24 * 16 - 1)


def test_truncated_files_are_found(tmp_path: Path) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in sorted(IMAGE_SUFFIXES):
        path = save(tmp_path / f"a{suffix}", noise)
        content = path.read_bytes()
        for share in (0.3, 0.7, 0.95):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(BadFileError, match=r"a\.\w+: is damaged") as caught:
                read_image(path)
            assert "\n" not in str(caught.value)


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def tiny(width: int, height: int) -> tuple[Callable[[Path], object], str]:
    reason = f"is {width}x{height} pixels; at least 8x8 are needed"
    return lambda path: Image.new("RGB", (width, height)).save(path), reason


NO_IMAGE = "is not a PNG, JPEG, BMP, TIFF or WebP image"
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "there is no such file"),
    "folder": (Path.mkdir, "cannot be read"),
    "empty": (Path.touch, "is empty (0 bytes)"),
    "cut inside the header": (written(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x18"), "is damaged"),
    "one pixel": tiny(1, 1),
    "narrow": tiny(7, 100),
    "low": tiny(100, 7),
    "a web page": (written(b"<html>404</html>"), NO_IMAGE),
    "one byte": (written(b"x"), NO_IMAGE),
    "zeros": (written(b"\0" * 5000), NO_IMAGE),
    "another format": (lambda path: Image.fromarray(GREY).save(path, format="GIF"), NO_IMAGE),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_used_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    make, reason = BAD_FILES[name]
    make(tmp_path / "a.png")
    for read in (read_image, read_mask):
        with pytest.raises(BadFileError) as caught:
            read(tmp_path / "a.png")
        assert f"a.png: {reason}" in str(caught.value)


def test_32_bit_images_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", Image.fromarray(GREY.astype(np.float32)))
    with pytest.raises(DataError, match="has 32-bit pixels; save it with 8 or 16 bits"):
        read_image(path)


def test_missing_permission_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(DataError, match=r"a\.png: may not be read \(permission denied\)"):
        read_image(path)


def shapes() -> Image.Image:
    """A mask of 0 and 255 with an ellipse, a bar and a line of two pixels, (240, 320)."""
    picture = Image.new("L", (320, 240))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 30, 130, 110), fill=255)
    draw.polygon([(150, 20), (300, 90), (290, 110), (140, 45)], fill=255)
    draw.line([(15, 220), (300, 135)], fill=255, width=2)
    return picture


def blurred(radius: int) -> np.ndarray:
    return np.asarray(shapes().filter(ImageFilter.GaussianBlur(radius)))


STRIPES = np.zeros(SIZE, np.uint8)
STRIPES[2:6], STRIPES[7:9], STRIPES[10:15, 4:9] = 1, 2, 5
"""A mask of the classes 1, 2 and 5, of six."""
MARKED = STRIPES > 0
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128]
"""Colours of the first six numbers in the masks of PASCAL VOC."""
SOFT = np.zeros(SIZE, np.uint8)
SOFT[2, :6] = [10, 49, 50, 51, 99, 100]
SEEN_LEFT = np.full((*SIZE, 4), 255, np.uint8)
SEEN_LEFT[:, 10:, 3] = 0
LEFT = np.indices(SIZE)[1] < 10
BLUE = np.zeros((*SIZE, 3), np.uint8)
BLUE[:5, :, 2] = 255
GREYS_BY_NUMBER = np.zeros(SIZE, np.uint8)
GREYS_BY_NUMBER[4:9], GREYS_BY_NUMBER[3], GREYS_BY_NUMBER[9] = 1, 2, 3
GREY_PALETTE = indexed(GREYS_BY_NUMBER, [0] * 3 + [255] * 3 + [200] * 3 + [40] * 3)


def two_values(low: int, high: int) -> tuple[np.ndarray, str, np.ndarray]:
    return np.where(MARKED, np.uint8(high), np.uint8(low)), ".png", MARKED


RGB_STRIPES = np.stack([STRIPES] * 3, axis=2)
SEE_THROUGH = indexed(STRIPES, VOC)
SEE_THROUGH.info["transparency"] = b"\xff\xff\0\xff\xff\xff"
MASKS: dict[str, tuple[Image.Image | np.ndarray, str, np.ndarray]] = {
    "0 and 255": (np.where(GREY > 200, 255, 0).astype(np.uint8), ".png", GREY > 200),
    "0 and 1": ((GREY > 99).astype(np.uint8), ".png", GREY > 99),
    "0 and 1 of 16 bits": ((GREY > 99).astype(np.uint16), ".png .tif", GREY > 99),
    "0 and 1 of 32 bits": ((GREY > 99).astype(np.int32), ".tif", GREY > 99),
    **{f"{low} and {high}": two_values(low, high) for low, high in ((0, 7), (0, 200), (100, 255))},
    "one number alone": two_values(0, 3),
    "one number of a palette": (indexed(3 * MARKED, VOC), ".png", MARKED),
    "soft edges": (SOFT, ".png", SOFT >= 50),
    "blurred a little": (blurred(1), ".png", blurred(1) >= blurred(1).max() / 2),
    "blurred": (blurred(4), ".png", blurred(4) >= blurred(4).max() / 2),
    "transparent pixels": (SEEN_LEFT, ".png", LEFT),
    "the largest channel": (BLUE, ".png", BLUE[:, :, 2] > 0),
    "brightness of a grey palette": (GREY_PALETTE, ".png", np.isin(GREYS_BY_NUMBER, (1, 2))),
    "nothing": (np.zeros(SIZE, np.uint8), ".png", np.zeros(SIZE, bool)),
    "numbers of 8 bits": (STRIPES, GREYS, STRIPES),
    "numbers of 16 bits": (STRIPES.astype(np.uint16), ".png .tif", STRIPES),
    "numbers of 32 bits": (STRIPES.astype(np.int32), ".tif", STRIPES),
    "numbers that are floats": (STRIPES.astype(np.float32), ".tif", STRIPES),
    "numbers saved as colour": (RGB_STRIPES, ".png", STRIPES),
    "coloured palette": (indexed(STRIPES, VOC), GREYS, STRIPES),
    "palette without black": (indexed(STRIPES, [128, 64, 128, *VOC[3:]]), GREYS, STRIPES),
    "transparent number of a palette": (SEE_THROUGH, ".png", np.where(STRIPES == 2, 0, STRIPES)),
}
"""Masks, in which formats, and what they mean: where is marked, or the classes of pixels."""


@pytest.mark.parametrize("name", MASKS)
def test_marked_pixels_get_the_label_or_the_classes_that_a_mask_names(
    tmp_path: Path, name: str
) -> None:
    image, suffixes, meant = MASKS[name]
    for suffix in suffixes.split():
        path = save(tmp_path / f"a{suffix}", image)
        mask = read_mask(path, num_classes=6).with_label(4)
        assert mask.dtype == np.uint8
        same(mask, np.where(meant, 4, 0) if meant.dtype == bool else meant)
        assert read_mask(path, num_classes=6).has_classes == (meant.dtype != bool)


def test_only_masks_of_several_values_depend_on_the_number_of_classes(tmp_path: Path) -> None:
    for image, expected in (
        (two_values(0, 3)[0], False),
        (indexed(3 * MARKED, VOC), False),
        (SOFT, True),
    ):
        path = save(tmp_path / "a.png", image)
        assert read_mask(path, num_classes=6).is_ambiguous == expected
    path = save(tmp_path / "a.png", two_values(1, 3)[0])  # two numbers, which are no classes
    same(read_mask(path).pixels, MARKED)


def recoded(one: float, two: float, five: float, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """The stripes with other values for 1, 2 and 5."""
    return np.array([0, one, two, 0, 0, five]).astype(dtype)[STRIPES]


REMEDY = "re-export it as PNG with two values (0 and another), or with the numbers of the classes"
NO_BLACK = [255, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]
RED_AND_DARK = np.zeros((*SIZE, 3), np.uint8)
RED_AND_DARK[:5, :, 0], RED_AND_DARK[8:13, :, 2] = 255, 128
STEPS = np.tile(np.repeat(np.arange(0, 256, 32), 3).astype(np.uint8), (16, 1))
REFUSED = {
    "0, 1, 2 and 6": recoded(1, 2, 6),
    "0, 1 and 12": recoded(1, 0, 12),
    "0, 128 and 255 over whole areas": recoded(128, 128, 255),
    "0, 36 and 252 over whole areas": recoded(36, 0, 252),
    "0, 200 and 255 over whole areas": recoded(255, 0, 200),
    "0, 32768 and 65535 over whole areas": recoded(32768, 0, 65535, np.uint16),
    "0, 0.5 and 1 over whole areas": recoded(0.5, 0, 1, np.float32),
    "128 and 255 over whole areas": np.where(STRIPES == 5, np.uint8(255), np.uint8(128)),
    "0, 32, 64, 96 ... and 224 over whole areas": STEPS,
    "0, 128 and 255 over whole areas in colour": RED_AND_DARK,
}


def check_mask_is_refused(path: Path, reason: str) -> None:
    with pytest.raises(MaskValuesError) as caught:
        read_mask(path, num_classes=6)
    assert str(caught.value).endswith(f"{path.name}: has {reason}; {REMEDY}")


@pytest.mark.parametrize("values", REFUSED)
def test_values_of_a_mask_that_do_not_tell_what_they_mean_are_refused(
    tmp_path: Path, values: str
) -> None:
    path = save(tmp_path / "a.tif", REFUSED[values])
    check_mask_is_refused(path, f"the values {values.removesuffix(' in colour')}")


def test_a_palette_with_black_behind_a_colour_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", indexed(STRIPES, NO_BLACK))
    reason = "a palette with black as number 1 and a colour as number 0, so that the background"
    check_mask_is_refused(path, f"{reason} is not known")


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_numbers_of_classes_in_a_lossy_format_are_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", np.repeat(np.repeat(STRIPES, 8, axis=0), 8, axis=1))
    with pytest.raises(MaskValuesError, match=r"has the values 0, 1, .*re-export it as PNG"):
        read_mask(path, num_classes=6)


def test_the_noise_of_a_lossy_mask_is_cut_at_half(tmp_path: Path) -> None:
    for quality in (10, 30, 50, 75, 95):
        path = save(tmp_path / "a.jpg", shapes(), quality=quality)
        values = np.asarray(Image.open(path))
        mask = read_mask(path, num_classes=6).pixels
        same(mask, values >= values.max() / 2)


def test_every_real_mask_is_cut_at_half(real_capsules: Path) -> None:
    paths = sorted((real_capsules / "ground_truth").glob("*/*.png"))
    assert len(paths) == 87
    for path in paths:
        mask = read_mask(path, num_classes=6).with_label(5)
        same(mask, 5 * (np.asarray(Image.open(path)) >= 128))
