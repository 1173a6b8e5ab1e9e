from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from capsule_inspection.data.image_io import decode_mask, read_content
from capsule_inspection.data.masks.refusals import MaskValuesError
from capsule_inspection.data.masks.rules import Colour, MaskRules, compile_rules
from capsule_inspection.data.masks.values import MaskPixels

CLASSES = ("good", "crack", "poke", "scratch", "squeeze", "split")
SIZE = (16, 24)
PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]
GREYS = ".png .bmp .tif"
same = np.testing.assert_array_equal


DEFAULT = MaskRules()


def read_mask(
    path: Path, rules: MaskRules = DEFAULT, classes: tuple[str, ...] = CLASSES
) -> MaskPixels:
    return decode_mask(read_content(path), path, code=compile_rules(rules, classes, path.parent))


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
    "video range": two_values(16, 235),
    "video range, blurred": (
        np.maximum(blurred(1), 16),
        ".png",
        np.maximum(blurred(1), 16) >= blurred(1).max() / 2,
    ),
    "palette sorted by colour": (indexed(1 - MARKED, [255, 0, 0, 0, 0, 0]), ".png", MARKED),
    "one number of a palette without black": (
        indexed(MARKED, [128, 64, 128, 60, 0, 0]),
        ".png",
        MARKED,
    ),
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
        mask = read_mask(path).with_label(4)
        assert mask.dtype == np.uint8
        same(mask, np.where(meant, 4, 0) if meant.dtype == bool else meant)
        assert read_mask(path).has_classes == (meant.dtype != bool)


def recoded(one: float, two: float, five: float, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    """The stripes with other values for 1, 2 and 5."""
    return np.array([0, one, two, 0, 0, five]).astype(dtype)[STRIPES]


REMEDY = r"as PNG with two values \(0 and another\), or with the numbers of the classes \(0 backgr"
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
}


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_numbers_of_classes_in_a_lossy_format_are_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", np.repeat(np.repeat(STRIPES, 8, axis=0), 8, axis=1))
    with pytest.raises(MaskValuesError, match=r"has the values 0, 1, .*re-export it as PNG"):
        read_mask(path)


def test_the_noise_of_a_lossy_mask_is_cut_at_half(tmp_path: Path) -> None:
    for quality in (10, 30, 50, 75, 95):
        path = save(tmp_path / "a.jpg", shapes(), quality=quality)
        values = np.asarray(Image.open(path))
        mask = read_mask(path).pixels
        same(mask, values >= values.max() / 2)


def test_every_real_mask_is_cut_at_half(real_capsules: Path) -> None:
    paths = sorted((real_capsules / "ground_truth").glob("*/*.png"))
    assert len(paths) == 87
    for path in paths:
        mask = read_mask(path).with_label(5)
        same(mask, 5 * (np.asarray(Image.open(path)) >= 128))


def squares(*values: int | Colour, background: int | Colour = 0) -> np.ndarray:
    """A mask with a square of 4x4 pixels for each value or colour, side by side."""
    depth = () if isinstance(background, int) else (3,)
    pixels = np.full((*SIZE, *depth), background, np.uint8)
    for place, value in enumerate(values):
        pixels[4:8, 1 + 6 * place : 5 + 6 * place] = value
    return pixels


def found_in_squares(mask: MaskPixels, label: int = 4) -> list[int]:
    """The class of the background and of three squares."""
    pixels = mask.with_label(label)
    return [int(pixels[0, 0]), *(int(pixels[5, 2 + 6 * place]) for place in range(3))]


BLACK, RED, BLUE_DEFECT = (0, 0, 0), (255, 0, 0), (0, 0, 255)
RING = 255
VOC_COLOURS = [*VOC, *[0] * (3 * 249), 224, 224, 192]
BY_NUMBER: dict[int | Colour, str | None] = {7: "crack", 200: "poke", 255: None}
BY_COLOUR: dict[int | Colour, str | None] = {RED: "crack", BLUE_DEFECT: "poke"}
BINARY, IGNORE = MaskRules(binary=True), MaskRules(ignore=RING)
RULES: dict[str, tuple[np.ndarray | Image.Image, MaskRules, list[int]]] = {
    "a ring around one number": (squares(1, RING), IGNORE, [0, 4, 255, 0]),
    "a ring around numbers of classes": (squares(1, 5, RING), IGNORE, [0, 1, 5, 255]),
    "a ring of a coloured palette": (
        indexed(squares(1, 5, RING), VOC_COLOURS),
        IGNORE,
        [0, 1, 5, 255],
    ),
    "grey that is ignored beside white": (squares(255, 128), MaskRules(128), [0, 4, 255, 0]),
    "white that is ignored in colour": (
        squares(RED, (255, 255, 255), background=BLACK),
        IGNORE,
        [0, 4, 255, 0],
    ),
    "ignored pixels alone": (squares(RING), IGNORE, [0, 255, 0, 0]),
    "inverted": (squares(0, background=255), MaskRules(inverted=True), [0, 4, 0, 0]),
    "inverted without a defect": (squares(background=255), MaskRules(inverted=True), [0] * 4),
    "inverted and all defect": (squares(), MaskRules(inverted=True), [4] * 4),
    "inverted with ignored pixels": (
        squares(0, 128, background=255),
        MaskRules(128, inverted=True),
        [0, 4, 255, 0],
    ),
    "numbers of instances": (squares(1, 2, 7), BINARY, [0, 4, 4, 4]),
    "instances of a palette": (indexed(squares(1, 2, 3), VOC), BINARY, [0, 4, 4, 4]),
    "colours of instances": (squares(RED, BLUE_DEFECT, background=BLACK), BINARY, [0, 4, 4, 0]),
    "a map of numbers": (squares(7, 200, 255), MaskRules(classes=BY_NUMBER), [0, 1, 2, 255]),
    "a map of the numbers of a palette": (
        indexed(squares(1, 2), VOC),
        MaskRules(classes={1: "poke", 2: "crack"}),
        [0, 2, 1, 0],
    ),
    "a map of colours": (
        squares(RED, BLUE_DEFECT, background=BLACK),
        MaskRules(classes=BY_COLOUR),
        [0, 1, 2, 0],
    ),
    "a map of the colours of a palette": (
        indexed(squares(3, 1), [0, 0, 0, *BLUE_DEFECT, 9, 9, 9, *RED]),
        MaskRules(classes=BY_COLOUR),
        [0, 1, 2, 0],
    ),
    "a map that names the background": (
        squares(0, 7, background=255),
        MaskRules(classes={0: "poke", 7: None, 255: "good"}),
        [0, 2, 255, 0],
    ),
    "a map and an ignored value": (
        squares(1, RING),
        MaskRules(ignore=RING, classes={1: "poke"}),
        [0, 2, 255, 0],
    ),
    "white numbers in a mask of colours": (
        squares((255, 255, 255), RED, background=BLACK),
        MaskRules(classes={255: "crack", RED: "poke"}),
        [0, 1, 2, 0],
    ),
}
"""A mask, rules, and the class of its background and of its three squares, 4 that of the image."""


@pytest.mark.parametrize("name", RULES)
def test_rules_say_what_values_mean(tmp_path: Path, name: str) -> None:
    image, rules, expected = RULES[name]
    mask = read_mask(save(tmp_path / "a.png", image), rules)
    assert mask.pixels.dtype == np.uint8
    assert found_in_squares(mask) == expected


RIMMED = squares(3)
RIMMED[3, 1:5], RIMMED[8, 1:5] = 1, 2
RING_AROUND_1 = Image.new("L", (160, 120))
ImageDraw.Draw(RING_AROUND_1).ellipse((20, 20, 110, 90), fill=1, outline=255, width=5)
UNCLEAR: dict[str, tuple[np.ndarray | Image.Image, str, str]] = {
    **{values: (mask, f"the values {values}; ", REMEDY) for values, mask in REFUSED.items()},
    "a ring around one class": (
        squares(1, RING),
        r"the values 0, 1 and 255: .* Pascal VOC, set data\.mask_ignore=255; .*=binary",
        r"'data\.mask_values=\{1: \?, 255: \?\}' \(\? is crack, poke, .* or null\)",
    ),
    "a ring in a coloured palette": (
        indexed(squares(1, 5, RING), VOC_COLOURS),
        r"the values 0, 1, 5 and 255",
        r"data\.mask_ignore=255",
    ),
    "another ring": (squares(3, 128), "the values 0, 3 and 128", r"data\.mask_ignore=128"),
    "two colours of equal maximum": (
        squares(RED, BLUE_DEFECT, background=BLACK),
        "the colours 0-0-255, 255-0-0",
        r"'data\.mask_values=\{0-0-255: \?, 255-0-0: \?\}'",
    ),
    "a colour on white": (
        squares(RED, background=(255, 255, 255)),
        "the colours 255-0-0, 255-255-255",
        r"data\.mask_values=binary",
    ),
    "numbers of a palette without black": (
        indexed(squares(1, 2), [255, 0, 0, 0, 0, 0, *BLUE_DEFECT]),
        "the colours 0-0-255, 255-0-0",
        r"data\.mask_values=binary",
    ),
    "a blurred ring around a dark class": (
        RING_AROUND_1.resize((100, 75), Image.Resampling.BILINEAR),
        r"the values 0, 1 and \d+ over whole areas",
        r"data\.mask_ignore=1",
    ),
    "numbers that are interpolated": (RIMMED, "1, 2 as the edges of areas", "nearest pixel"),
    "values below 0": (squares(1).astype(np.int32) - 1, "values below 0 or NaN", "as PNG"),
    "two levels": (squares(128, 255), "the values 0, 128 and 255", r"data\.mask_ignore=128"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_values_that_would_be_read_wrongly_are_refused_with_the_setting(
    tmp_path: Path, name: str
) -> None:
    image, reason, remedy = UNCLEAR[name]
    path = save(tmp_path / "a.tif", image)
    with pytest.raises(MaskValuesError, match=f"a.tif: has {reason}") as caught:
        read_mask(path)
    assert re.search(remedy, str(caught.value))


def test_a_thin_defect_across_another_is_no_edge_of_it(tmp_path: Path) -> None:
    image = squares(2)
    image[6, :] = 1
    assert found_in_squares(read_mask(save(tmp_path / "a.png", image)))[:2] == [0, 2]


def test_shades_of_one_colour_are_the_edges_of_a_defect(tmp_path: Path) -> None:
    soft = np.asarray(shapes().filter(ImageFilter.GaussianBlur(1)))
    for colour in ((1, 0, 0), (1, 0.5, 0)):
        image = np.rint(soft[:, :, None] * np.array(colour)).astype(np.uint8)
        mask = read_mask(save(tmp_path / "a.png", image))
        same(mask.pixels, image[:, :, 0] >= image.max() / 2)


def test_two_colours_of_a_lossy_mask_are_refused(tmp_path: Path) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[8:32, 8:32, 0], image[8:32, 56:80, 2] = 255, 255
    with pytest.raises(MaskValuesError, match="has the colours"):
        read_mask(save(tmp_path / "a.jpg", image, quality=95))
    image[:, :, 2] = 0
    assert read_mask(save(tmp_path / "b.jpg", image, quality=95)).pixels[20, 20] == 1


def test_a_value_that_is_not_in_the_map_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", squares(7, 8))
    rules = MaskRules(classes=BY_NUMBER)
    reason = (
        r"a\.png: has the values 8, not in data\.mask_values \(7 crack, 200 poke, 255 ignored\)"
    )
    with pytest.raises(MaskValuesError, match=reason):
        read_mask(path, rules)
    path = save(tmp_path / "b.png", squares(RED, (0, 255, 0), background=BLACK))
    with pytest.raises(MaskValuesError, match="has the colours 0-255-0, not in"):
        read_mask(path, MaskRules(classes=BY_COLOUR))
    path = save(tmp_path / "c.png", PIXELS)
    with pytest.raises(
        MaskValuesError, match=r"has the colours (\d+-\d+-\d+,? ){12}and \d+ more, not"
    ):
        read_mask(path, MaskRules(classes=BY_COLOUR))
    with pytest.raises(MaskValuesError, match=r"has colours, and data\.mask_values \(7 crack"):
        read_mask(path, rules)
    path = save(tmp_path / "d.tif", np.where(GREY > 99, 0.5, 0).astype(np.float32))
    with pytest.raises(MaskValuesError, match=r"has the values 0\.5, not in"):
        read_mask(path, rules)


@pytest.mark.parametrize("rules", [MaskRules(classes={255: "poke"}), IGNORE])
def test_rules_for_exact_values_refuse_a_lossy_mask(tmp_path: Path, rules: MaskRules) -> None:
    path = save(tmp_path / "a.jpg", shapes(), quality=75)
    with pytest.raises(MaskValuesError, match=r"stored with loss .*[Rr]e-export it as PNG"):
        read_mask(path, rules)


def test_a_picture_is_no_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    with pytest.raises(MaskValuesError, match="is a picture, not a mask; re-export"):
        read_mask(path)


def test_transparent_pixels_are_background_unless_nothing_is_left(tmp_path: Path) -> None:
    colours, square = squares(RED, BLUE_DEFECT, background=BLACK), squares(255)
    mask = read_mask(
        save(tmp_path / "a.png", np.dstack([colours, np.full(SIZE, 160, np.uint8)])),
        MaskRules(classes=BY_COLOUR),
    )
    assert found_in_squares(mask) == [0, 1, 2, 0]
    white, black, clear = np.full((*SIZE, 3), 255, np.uint8), np.zeros((*SIZE, 3), np.uint8), 0
    assert found_in_squares(read_mask(save(tmp_path / "b.png", np.dstack([white, square])))) == [
        *(0, 4, 0, 0)
    ]
    empty = np.dstack([white, np.full(SIZE, clear, np.uint8)])
    assert found_in_squares(read_mask(save(tmp_path / "c.png", empty))) == [0] * 4
    for hidden in (np.dstack([black, square]), np.dstack([colours, np.zeros(SIZE, np.uint8)])):
        with pytest.raises(MaskValuesError, match="black or transparent everywhere, and has a"):
            read_mask(save(tmp_path / "d.png", hidden))


def test_numbers_are_the_names_of_classes_that_are_numbers(tmp_path: Path) -> None:
    for classes in (("good", "1", "2", "10"), ("ok", "type_1", "type_2", "type_10")):
        path = save(tmp_path / "a.png", squares(2, 10))
        assert found_in_squares(read_mask(path, classes=classes)) == [0, 2, 3, 0]
        path = save(tmp_path / "b.png", squares(2, 3))
        with pytest.raises(MaskValuesError, match="has the values 0, 2 and 3"):
            read_mask(path, classes=classes)
    path = save(tmp_path / "b.png", squares(2, 3))
    mask = read_mask(path, classes=("good", "a1", "b2", "c10"))  # of different names
    assert found_in_squares(mask) == [0, 2, 3, 0]


def test_a_mask_of_one_number_keeps_it_for_the_comparison_with_others(tmp_path: Path) -> None:
    assert read_mask(save(tmp_path / "a.png", squares(3))).values == (3,)
    assert read_mask(save(tmp_path / "b.png", squares(1, 3))).values == (1, 3)
    assert read_mask(save(tmp_path / "c.jpg", shapes())).values == ()
