from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_formats import IMAGE_SUFFIXES
from capsule_inspection.data.image_io import DecodeConfig, decode_mask, read_content, read_image
from capsule_inspection.data.image_notes import (
    ALPHA_OF_ZEROS,
    EXIF_KEPT,
    EXIF_SWAPPED,
    EXIF_TURNED,
    ON_WHITE,
    ONE_COLOUR,
)
from capsule_inspection.data.masks.rules import MaskRules, compile_rules
from capsule_inspection.data.masks.values import MaskPixels
from capsule_inspection.types import DataError

RNG = np.random.default_rng(0)
SIZE = (16, 24)
PIXELS = RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]
LOSSLESS = ".png .bmp .tif .tiff .webp"
GREYS = ".png .bmp .tif"
same = np.testing.assert_array_equal


def read_mask(path: Path) -> MaskPixels:
    code = compile_rules(MaskRules(), ("good", "crack"), path.parent)
    return decode_mask(read_content(path), path, code=code)


def pixels_of(path: Path, **config: Any) -> np.ndarray:
    return read_image(path, DecodeConfig(**config)).pixels


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
        found = pixels_of(path)
        assert found.dtype == np.uint8
        assert found.flags.writeable
        same(found, expected if expected.ndim == 3 else np.stack([expected] * 3, axis=2))


def test_jpeg_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", PIXELS)
    same(pixels_of(path), np.asarray(Image.open(path)))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_exif_orientation_is_respected(tmp_path: Path, suffix: str) -> None:
    for orientation in range(1, 9):
        path = save(tmp_path / f"a{suffix}", PIXELS, exif=turned_by_exif(orientation))
        image = read_image(path)
        with Image.open(path) as picture:
            same(image.pixels, np.asarray(ImageOps.exif_transpose(picture)))
        size = image.pixels.shape[1::-1]
        assert size == ((16, 24) if orientation >= 5 else (24, 16))
        assert (EXIF_TURNED in image.notes) == (orientation > 1)
        assert (EXIF_SWAPPED in image.notes) == (orientation >= 5)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_orientation_can_be_ignored(tmp_path: Path, suffix: str) -> None:
    for orientation in range(1, 9):
        path = save(tmp_path / f"a{suffix}", PIXELS, exif=turned_by_exif(orientation))
        image = read_image(path, DecodeConfig(exif_orientation=False))
        same(image.pixels, PIXELS)
        assert image.notes == ((EXIF_KEPT,) if orientation > 1 else ())
    deep = save(tmp_path / "a.tif", DEEP, exif=turned_by_exif(6), compression="tiff_lzw")
    same(pixels_of(deep, exif_orientation=False)[:, :, 0], np.rint(DEEP / 257))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_exif_turns_images_of_any_depth_and_is_ignored_where_damaged(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * np.uint16(257)
    path = save(tmp_path / "a.png", deep, exif=turned_by_exif(3))
    same(pixels_of(path)[:, :, 0], np.rot90(GREY, k=2))
    path = save(tmp_path / "a.jpg", PIXELS, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert pixels_of(path).shape == (16, 24, 3)


OPAQUE_AND_NOT = {
    "zeros everywhere": (np.zeros(SIZE), PIXELS, (ALPHA_OF_ZEROS,)),
    "partly transparent": (HALF_SEEN[:, :, 3], READ["transparency on white"][2], (ON_WHITE,)),
    "opaque": (np.full(SIZE, 255), PIXELS, ()),
}


@pytest.mark.parametrize("name", OPAQUE_AND_NOT)
def test_an_alpha_channel_counts_unless_it_is_zero_everywhere(tmp_path: Path, name: str) -> None:
    alpha, expected, notes = OPAQUE_AND_NOT[name]
    for suffix in (".png", ".tif", ".webp"):
        path = save(tmp_path / f"a{suffix}", np.dstack([PIXELS, alpha]).astype(np.uint8))
        image = read_image(path)
        same(image.pixels, expected)
        assert image.notes == notes


def test_an_image_of_one_colour_is_noted(tmp_path: Path) -> None:
    flat = np.full((40, 60, 3), 7, np.uint8)
    assert read_image(save(tmp_path / "a.png", flat)).notes == (ONE_COLOUR,)
    flat[33, 45] = 8
    assert read_image(save(tmp_path / "a.png", flat)).notes == ()


def test_formats_of_fewer_colours_are_read(tmp_path: Path) -> None:
    same(
        pixels_of(save(tmp_path / "a.gif", indexed(GREY % 3, COLOURS.ravel().tolist())))[0, 0],
        COLOURS[GREY[0, 0] % 3],
    )
    top_down = bytearray(save(tmp_path / "a.bmp", PIXELS).read_bytes())
    top_down[22:26] = struct.pack("<i", -16)
    (tmp_path / "a.bmp").write_bytes(top_down)
    same(pixels_of(tmp_path / "a.bmp"), PIXELS[::-1])
    np.testing.assert_allclose(
        pixels_of(save(tmp_path / "a.avif", np.full((*SIZE, 3), 77, np.uint8))), 77, atol=2
    )


def test_neither_suffix_nor_name_of_a_file_matters(tmp_path: Path) -> None:
    folder = tmp_path / "my photos, 膠囊=1"
    folder.mkdir()
    same(pixels_of(save(folder / "a.bmp", PIXELS).rename(folder / "рис 1.png")), PIXELS)


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


def test_max_pixels_is_the_largest_number_that_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.webp", PIXELS)
    assert pixels_of(path, max_pixels=24 * 16).shape == (16, 24, 3)
    with pytest.raises(DataError, match=r"24x16 pixels; data\.max_pixels allows 383"):
        pixels_of(path, max_pixels=24 * 16 - 1)


def test_truncated_files_are_found(tmp_path: Path) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    modes = {".pgm": "L", ".pbm": "1"}
    for suffix in sorted(IMAGE_SUFFIXES):
        image = Image.fromarray(noise).convert(modes.get(suffix, "RGB"))
        path = save(tmp_path / f"a{suffix}", image)
        content = path.read_bytes()
        for share in (0.3, 0.7, 0.95):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(BadFileError, match=r"a\.\w+: is damaged") as caught:
                read_image(path)
            assert "\n" not in str(caught.value)


def test_damage_inside_a_file_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.avif", PIXELS)
    content = path.read_bytes()
    start = content.index(b"mdat") + 4
    path.write_bytes(content[:start] + bytes(len(content) - start))
    with pytest.raises(BadFileError, match=r"a\.avif: is damaged"):
        read_image(path)


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def tiny(width: int, height: int) -> tuple[Callable[[Path], object], str]:
    reason = f"is {width}x{height} pixels; at least 8x8 are needed"
    return lambda path: Image.new("RGB", (width, height)).save(path), reason


def animate(name: str) -> Callable[[Path], object]:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    return lambda path: frames[0].save(path, name, save_all=True, append_images=frames[1:])


def jpeg_of_12_bits(path: Path) -> None:
    content = bytearray(save(path.with_suffix(".jpg"), PIXELS).read_bytes())
    content[content.index(b"\xff\xc0") + 4] = 12
    path.write_bytes(content)


NO_IMAGE = "is not a PNG, JPEG, BMP, TIFF, WebP, GIF, JPEG 2000, PNM or AVIF image"
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "there is no such file"),
    "folder": (Path.mkdir, "cannot be read"),
    "empty": (Path.touch, "is empty (0 bytes)"),
    "cut inside the header": (written(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x18"), "is damaged"),
    "narrow": tiny(7, 100),
    "low": tiny(100, 7),
    "a web page": (written(b"<html>404</html>"), NO_IMAGE),
    "HEIC": (written(b"\0\0\0\x18ftypheic"), "is a HEIC file, which is not read: convert it"),
    "an animation": (animate("GIF"), "is an animation of several frames; save one of them as PNG"),
    "an animated PNG": (animate("PNG"), "is an animation of several frames"),
    "12-bit JPEG": (jpeg_of_12_bits, "is damaged, or of a variant that is not read (cannot handle"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_used_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    make, reason = BAD_FILES[name]
    make(tmp_path / "a.png")
    for read in (read_image, read_mask):
        with pytest.raises(BadFileError) as caught:
            read(tmp_path / "a.png")
        assert f"a.png: {reason}" in str(caught.value)


def test_missing_permission_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path / "a.png", PIXELS)
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(DataError, match=r"a\.png: may not be read \(permission denied\)"):
        read_image(path)


def png_of(*chunks: tuple[bytes, bytes], colour_type: int = 2) -> bytes:
    """A PNG of `PIXELS`, with these chunks between header and end."""
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 8, colour_type, 0, 0, 0)
    whole = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in whole
    ]
    return b"".join([b"\x89PNG\r\n\x1a\n", *parts])


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)
STREAM = zlib.compress(ROWS)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"IDAT", STREAM)],
        [(b"IDAT", STREAM[:99]), (b"IDAT", STREAM[99:])],
        [(b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0"), (b"IDAT", STREAM)],
        [(b"tEXt", b"Software\0camera"), (b"IDAT", STREAM), (b"tIME", bytes(7))],
        [(b"tEXt", b"Raw profile type exif\0damaged"), (b"IDAT", STREAM)],
        [(b"IDAT", STREAM), (b"zTXt", b"Comment\0\0" + zlib.compress(b"no chunk for OpenCV"))],
        [(b"IDAT", zlib.compress(ROWS + b"more"))],
        [(b"IDAT", STREAM[:-4])],
    ],
    ids=["one", "two", "gamma", "text", "exif text", "zip text", "too long", "no checksum"],
)
def test_pixels_of_a_png_are_those_of_pillow_whichever_library_decodes(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_of(*chunks) + b"behind its end")
    same(pixels_of(path), PIXELS)
    with Image.open(path) as image:
        same(np.asarray(image), PIXELS)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_png_is_turned_by_an_orientation_behind_its_pixels(
    tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "a.png"
    exif = turned_by_exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    path.write_bytes(png_of((b"IDAT", STREAM), (b"eXIf", exif)))
    read = read_image(path)
    same(read.pixels, np.rot90(PIXELS, -1 if orientation == 6 else 2))
    assert EXIF_TURNED in read.notes


@pytest.mark.parametrize(
    "stream",
    [zlib.compress(ROWS[:-100]), STREAM[:-200], STREAM[:-4] + b"rest"],
    ids=["too short", "cut", "wrong checksum"],
)
def test_a_png_whose_pixels_do_not_fit_its_header_is_bad_although_its_checksums_are_right(
    tmp_path: Path, stream: bytes
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_of((b"IDAT", stream)))
    with pytest.raises(BadFileError, match="is damaged"):
        read_image(path)
