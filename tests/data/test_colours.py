from __future__ import annotations

import functools
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from capsule_inspection.data.image_io import DecodedImage, read_image
from capsule_inspection.data.image_notes import CMYK, CONVERTED_PROFILE, IGNORED_PROFILE

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)
same = np.testing.assert_array_equal


@functools.cache
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_gamma(gamma: float, *, grey: bool = False) -> bytes:
    """A profile of the primaries of sRGB, or of grey, with another gamma."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    profile = bytearray(srgb())
    tags = {}
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        name, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        tags[name] = bytes(profile[start : start + size])
    if grey:
        tags = {name: tags[name] for name in (b"desc", b"cprt", b"wtpt")} | {b"kTRC": curve}
        profile[16:20] = b"GRAY"
    else:
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    start = 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    content = bytes(profile[:128]) + table + data
    return struct.pack(">I", len(content)) + content[4:]


def saved(path: Path, image: Image.Image, profile: bytes) -> DecodedImage:
    image.save(path, icc_profile=profile)
    return read_image(path)


def srgb_of(linear: np.ndarray) -> np.ndarray:
    return 255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colours_of_another_profile_become_srgb(tmp_path: Path, suffix: str) -> None:
    image = saved(tmp_path / f"a{suffix}", Image.fromarray(COLOUR), with_gamma(1.0))
    np.testing.assert_allclose(image.pixels, srgb_of(COLOUR / 255), atol=1.5)
    assert image.notes == (CONVERTED_PROFILE,)


def test_grey_has_a_profile_of_its_own(tmp_path: Path) -> None:
    grey = Image.fromarray(COLOUR[:, :, 0])
    image = saved(tmp_path / "a.png", grey, with_gamma(1.0, grey=True))
    np.testing.assert_allclose(image.pixels[:, :, 1], srgb_of(COLOUR[:, :, 0] / 255), atol=1.5)
    assert image.notes == (CONVERTED_PROFILE,)


def test_pixels_in_srgb_are_not_touched(tmp_path: Path) -> None:
    for suffix in (".png", ".tif"):
        image = saved(tmp_path / f"a{suffix}", Image.fromarray(COLOUR), srgb())
        same(image.pixels, COLOUR)
        assert image.notes == ()


def test_a_profile_that_is_damaged_or_of_other_channels_is_ignored(tmp_path: Path) -> None:
    grey = Image.fromarray(COLOUR[:, :, 0])
    for picture, profile in ((Image.fromarray(COLOUR), b"no profile"), (grey, srgb())):
        image = saved(tmp_path / "a.tif", picture, profile)
        same(image.pixels, np.asarray(picture.convert("RGB")))
        assert image.notes == (IGNORED_PROFILE,)


def test_cmyk_without_a_profile_is_converted_and_noted(tmp_path: Path) -> None:
    picture = Image.fromarray(COLOUR).convert("CMYK")
    for suffix in (".tif", ".jpg"):
        picture.save(tmp_path / f"a{suffix}", quality=100)
        image = read_image(tmp_path / f"a{suffix}")
        np.testing.assert_allclose(image.pixels.astype(int), COLOUR, atol=4)
        assert image.notes == (CMYK,)


def test_transparent_pixels_are_white_after_the_conversion(tmp_path: Path) -> None:
    pixels = np.dstack([COLOUR, np.where(np.arange(48) < 24, 255, 0)[None].repeat(32, axis=0)])
    stream = io.BytesIO()
    picture = Image.fromarray(pixels.astype(np.uint8))
    picture.save(stream, "PNG", icc_profile=with_gamma(1.0))
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    image = read_image(tmp_path / "a.png")
    assert (image.pixels[:, 24:] == 255).all()
    np.testing.assert_allclose(image.pixels[:, :24], srgb_of(COLOUR[:, :24] / 255), atol=1.5)
