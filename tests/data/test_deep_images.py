from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.bit_depth import BitDepthError, smallest_depth
from capsule_inspection.data.image_io import DecodeConfig, has_16_bits, read_image

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)
COLOUR[0, 0] = 255
GREY = COLOUR[:, :, 0]
same = np.testing.assert_array_equal


def of_depth(pixels: np.ndarray, bits: int) -> np.ndarray:
    """The same grey levels as values of more bits."""
    return np.rint(pixels / 255 * (2**bits - 1)).astype(np.uint16)


def save(path: Path, values: np.ndarray) -> Path:
    """Write values of 16 bits: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, by OpenCV."""
    order = {2: None, 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[-1] if values.ndim > 2 else 2]
    assert cv2.imwrite(str(path), values if order is None else values[:, :, order].copy())
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_values_of_any_depth_give_the_grey_levels(tmp_path: Path, suffix: str, bits: int) -> None:
    for pixels in (GREY, COLOUR):
        path = save(tmp_path / f"a{suffix}", of_depth(pixels, bits))
        image = read_image(path, DecodeConfig(bit_depth=bits))
        same(image.pixels, pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2))
        assert image.bit_depth == 16
        assert smallest_depth(image.max_value) == bits


def test_16_bits_are_rounded_and_their_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (32, 48, 3)).astype(np.uint16)
    same(read_image(save(tmp_path / "a.png", deep)).pixels, (deep >> 8).astype(np.uint8))
    grey = read_image(save(tmp_path / "a.png", deep[:, :, 0])).pixels[:, :, 0]
    same(grey, np.rint(deep[:, :, 0] / 257).astype(np.uint8))


def test_12_bits_shifted_to_the_left_are_16_bits(tmp_path: Path) -> None:
    values = of_depth(GREY, 12) * np.uint16(16)
    image = read_image(save(tmp_path / "a.png", values), DecodeConfig(bit_depth=None))
    np.testing.assert_allclose(image.pixels[:, :, 0].astype(int), GREY, atol=1)
    assert smallest_depth(image.max_value) == 16


def test_a_value_above_the_depth_is_an_error_and_is_not_wrapped_round(tmp_path: Path) -> None:
    values = of_depth(GREY, 12)
    values[3, 4] = 5000
    for pixels in (values, np.stack([values] * 3, axis=2)):
        path = save(tmp_path / "a.png", pixels)
        reason = r"a\.png: has values of at least \d{4}, but images of 12 bits have at most 4095"
        with pytest.raises(BitDepthError, match=rf"{reason}; set data\.bit_depth=14, or auto"):
            read_image(path, DecodeConfig(bit_depth=12))


def test_without_a_known_depth_only_values_of_16_bits_are_read(tmp_path: Path) -> None:
    unknown = DecodeConfig(bit_depth=None)
    same(read_image(save(tmp_path / "a.png", of_depth(COLOUR, 16)), unknown).pixels, COLOUR)
    path = save(tmp_path / "a.png", of_depth(GREY, 12))
    with pytest.raises(BitDepthError, match="largest value is 4095: it may be an image of 10, 12"):
        read_image(path, unknown)


def test_alpha_of_another_depth_does_not_count_as_a_value(tmp_path: Path) -> None:
    values, alpha = of_depth(COLOUR, 12), np.full(GREY.shape, 65535, np.uint16)
    path = save(tmp_path / "a.png", np.dstack([values, alpha]))
    image = read_image(path, DecodeConfig(bit_depth=12))
    same(image.pixels, COLOUR)
    assert image.max_value == values.max()
    alpha[:16] = 0
    with pytest.raises(BadFileError, match=r"16-bit colour .* partly transparent"):
        read_image(save(path, np.dstack([values, alpha])), DecodeConfig(bit_depth=12))


@pytest.mark.parametrize(("largest", "depth"), [(4095, 12), (1023, 10)])
def test_a_pnm_says_its_largest_value_itself(tmp_path: Path, largest: int, depth: int) -> None:
    for pixels, number in ((GREY, 5), (COLOUR, 6)):
        content = b"P%d\n# by a camera\n48 32\n%d\n" % (number, largest)
        content += of_depth(pixels, depth).astype(">u2").tobytes()
        (tmp_path / "a.pnm").write_bytes(content)
        image = read_image(tmp_path / "a.pnm")
        same(image.pixels, pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=2))
        assert image.bit_depth == depth
        (tmp_path / "a.pnm").write_bytes(content[:-1])
        with pytest.raises(BadFileError, match="is damaged"):
            read_image(tmp_path / "a.pnm")


def test_a_pnm_of_another_largest_value_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 48 32 1000\n" + bytes(2 * GREY.size))
    with pytest.raises(BadFileError, match="names 1000 as its largest value; expected 255, 1023"):
        read_image(tmp_path / "a.pgm")


def test_a_pnm_of_16_bits_has_the_depth_of_the_data_set(tmp_path: Path) -> None:
    content = b"P5 48 32 65535\n" + of_depth(GREY, 12).astype(">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(content)
    image = read_image(tmp_path / "a.pgm", DecodeConfig(bit_depth=12))
    same(image.pixels[:, :, 0], GREY)
    assert (image.bit_depth, image.max_value) == (16, 4095)


def test_jpeg_2000_says_its_depth_up_to_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.jp2"
    Image.fromarray(of_depth(GREY, 12)).save(path)  # as 16 bits
    image = read_image(path, DecodeConfig(bit_depth=12))
    same(image.pixels[:, :, 0], GREY)
    assert image.bit_depth == 16
    Image.fromarray(COLOUR).save(path)
    same(read_image(path).pixels, COLOUR)


def test_only_files_of_16_bits_tell_a_depth(tmp_path: Path) -> None:
    deep, flat = of_depth(COLOUR, 12), Image.fromarray(COLOUR)
    for suffix in (".png", ".tif"):
        assert has_16_bits(save(tmp_path / f"a{suffix}", deep))
        assert has_16_bits(save(tmp_path / f"a{suffix}", deep[:, :, 0].copy()))
        flat.save(tmp_path / f"b{suffix}")
        assert not has_16_bits(tmp_path / f"b{suffix}")
    for suffix in (".jpg", ".bmp", ".jp2", ".ppm"):
        flat.save(tmp_path / f"b{suffix}")
        assert not has_16_bits(tmp_path / f"b{suffix}")
