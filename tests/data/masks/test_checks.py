from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data import sample_reader
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.data.validation import validate_samples
from capsule_inspection.types import DataError
from tests.image_folders import draw_part, save_pixels

CLASSES = ("good", "crack", "poke")
EVERYTHING = np.full((32, 48), 255, np.uint8)
Check = Callable[..., tuple[str, ...]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Function that writes images with these masks and returns the warnings, twice the same."""

    def check(
        masks: list[np.ndarray],
        rules: MaskRules = MaskRules(),  # noqa: B008 - frozen
        *,
        classes: tuple[str, ...] = CLASSES,
        labels: tuple[int, ...] = (1,),
        exif: int = 1,
        fits_stored: bool = False,
    ) -> tuple[str, ...]:
        root, samples = tmp_path / f"{len(list(tmp_path.iterdir()))}", []
        orientation = Image.Exif()
        orientation[0x0112] = exif
        for number, mask in enumerate(masks):
            save_pixels(root / f"m/{number}.png", mask)
            height, width = mask.shape if exif < 5 or fits_stored else mask.shape[::-1]
            image = draw_part(number, defect=True, size=(height, width))[0]
            Image.fromarray(image).save(root / f"{number}.jpg", exif=orientation)
            label = labels[number % len(labels)]
            samples.append(FoundSample(f"{number}.jpg", classes[label], f"m/{number}.png"))
        found = FoundSamples(root, classes, tuple(samples), mask_rules=rules)

        def read() -> tuple[str, ...]:
            settings: Any = {"on_bad_file": "error", "workers": 1}
            return validate_samples(found, index_folder=tmp_path / "index", **settings).warnings

        warnings = read()
        with monkeypatch.context() as patch:
            patch.setattr(sample_reader, "read_content", None)  # a warm start reads nothing
            assert read() == warnings
        return warnings

    return check


def drawn(count: int) -> list[np.ndarray]:
    return [draw_part(seed, defect=True)[1] for seed in range(count)]


def coded(*values: int, seed: int = 0) -> np.ndarray:
    """A mask with a square of each value; another place for each seed."""
    pixels = np.zeros((32, 48), np.uint8)
    for place, value in enumerate(values):
        pixels[4 + seed : 10 + seed, 2 + 9 * place : 8 + 9 * place] = value
    return pixels


def test_ordinary_masks_give_no_warning(check: Check) -> None:
    assert check(drawn(6)) == ()
    assert check([mask // 255 for mask in drawn(3)] + drawn(6)[3:]) == ()  # 0 and 1, 0 and 255


def test_masks_that_nearly_all_look_inverted_are_refused(check: Check) -> None:
    inverted = [255 - mask for mask in drawn(10)]
    reason = (
        r"10 of 10 masks mark most of the image \(9\d\.\d% on average\) and of its border, "
        r"the first is m/0\.png: they look inverted\. Set data\.mask_inverted=true; or, .*=binary"
    )
    with pytest.raises(DataError, match=reason):
        check(inverted)
    with pytest.raises(DataError, match="5 of 5 masks mark most"):
        check([EVERYTHING] * 5)
    with pytest.raises(DataError, match="9 of 10 masks mark most"):
        check([*inverted[:9], draw_part(20, defect=True)[1]])
    assert check(inverted, MaskRules(inverted=True)) == ()
    with pytest.raises(DataError, match=r"look inverted\. Set data\.mask_inverted=false"):
        check(drawn(10), MaskRules(inverted=True))


def test_a_few_inverted_masks_and_stated_rules_are_warned_of(check: Check) -> None:
    warning = "masks (the first is m/{}.png) mark most of the image and of its border: are they"
    (one,) = check([*drawn(5), 255 - drawn(6)[5]])
    assert one.startswith(f"1 of 6 {warning.format(5)}")
    (few,) = check([255 - mask for mask in drawn(3)])
    assert few.startswith(f"3 of 3 {warning.format(0)}")
    (stated,) = check([255 - mask for mask in drawn(6)], MaskRules(binary=True))
    assert stated.startswith(f"6 of 6 {warning.format(0)}")


def test_defects_that_cover_most_of_the_image_or_its_border_are_no_error(check: Check) -> None:
    masks = [mask.copy() for mask in drawn(6)]
    for mask in masks:
        mask[4:-4, 4:-4] = 255  # most of the image, nothing of its border
    for width, mask in enumerate(masks[:4], 40):
        mask[:, :width] = 255  # of some the border too
    (warning,) = check(masks)
    assert warning.startswith("4 of 6 masks (the first is m/0.png) mark most of the image and of")


def test_frames_are_warned_of(check: Check) -> None:
    frame = np.pad(np.zeros((30, 46), np.uint8), 1, constant_values=255)
    (warning,) = check([*drawn(4), frame])
    assert warning.startswith("1 of 5 masks (the first is m/4.png) mark most of the image's border")


@pytest.mark.parametrize("orientation", [3, 6])
def test_images_turned_by_exif_without_their_masks_are_warned_of(
    check: Check, orientation: int
) -> None:
    square = [mask[:, 8:40] for mask in drawn(4)]
    (warning,) = check(square, exif=orientation)
    assert warning.startswith("4 of 4 masks (the first is m/0.png) have no EXIF orientation, but")
    assert "data.exif_orientation=false" in warning
    rules = MaskRules(classes={255: "crack"}, from_annotations=True)  # drawn for turned images
    assert check(square, rules, exif=orientation) == ()


def test_the_size_of_a_mask_tells_whether_it_is_turned(check: Check) -> None:
    assert check(drawn(4), exif=6) == ()
    with pytest.raises(DataError, match=r"mask is .*EXIF .* set data\.exif_orientation=false"):
        check(drawn(4), exif=6, fits_stored=True)


def numbered(*masks: tuple[int, ...]) -> list[np.ndarray]:
    return [coded(*values, seed=seed) for seed, values in enumerate(masks)]


def test_other_numbers_of_classes_than_the_products_are_refused_with_the_map(check: Check) -> None:
    masks = numbered((2,), (1,), (2,), (1, 2))
    reason = (
        r"1 of 4 masks \(the first is m/3\.png\) have several values, .* such as m/0\.png with 2 "
        r"for crack\. Set .* as in 'data\.mask_values=\{1: poke, 2: crack\}', or"
    )
    with pytest.raises(DataError, match=reason):
        check(masks, labels=(1, 2, 1, 1))
    rules = MaskRules(classes={1: "poke", 2: "crack"})
    assert check(masks, rules, labels=(1, 2, 1, 1)) == ()
    with pytest.raises(DataError, match=r"as in 'data\.mask_values=\{1: \?, 2: \?\}'"):
        check(numbered((1,), (1,), (1, 2)), labels=(1, 2, 1))


def test_numbers_that_agree_and_masks_of_one_number_are_no_error(check: Check) -> None:
    assert check(numbered((1,), (2,), (255,), (1, 2)), labels=(1, 2)) == ()
    assert check(numbered((2,), (1,), (2,), (7,)), labels=(1, 2)) == ()  # none has several
    names = ("good", "3", "10")
    assert check(numbered((3,), (10,), (3, 10)), classes=names, labels=(1, 2, 1)) == ()
    with pytest.raises(DataError, match=r"with 1 for 3\. Set"):
        check(numbered((1,), (10,), (3, 10)), classes=names, labels=(1, 2, 1))


def test_pages_of_a_mask_that_are_not_read_are_warned_of(check: Check, tmp_path: Path) -> None:
    check(drawn(1))
    root = next(path.parent for path in tmp_path.glob("*/m"))
    first, second = (Image.fromarray(mask) for mask in drawn(2))
    first.save(root / "m/0.tif", save_all=True, append_images=[second])
    sample = FoundSample("0.jpg", "crack", "m/0.tif")
    index = validate_samples(
        FoundSamples(root, CLASSES, (sample,)),
        index_folder=tmp_path / "index",
        on_bad_file="error",
        workers=1,
    )
    assert "1 of 1 masks (the first is m/0.tif) have further pages" in " ".join(index.warnings)


def test_rules_without_an_effect_are_warned_of(check: Check) -> None:
    (warning,) = check(drawn(3), MaskRules(ignore=128))
    assert warning == "data.mask_ignore=128 has no effect: no mask has this value."
    masks = [*drawn(3), coded(255, 128)]
    assert check(masks, MaskRules(ignore=128)) == ()


def test_numbers_that_nothing_confirms_are_named(check: Check) -> None:
    (warning,) = check(numbered((1, 2), (1,), (255,)))
    assert warning == (
        "1 of 3 masks (the first is m/0.png) have several values, which are taken for the numbers "
        "of the classes: 1 crack, 2 poke. If they mean others, set data.mask_values."
    )


def test_numbers_that_count_the_background_are_refused(check: Check) -> None:
    masks = [np.where(mask > 0, 2, 1).astype(np.uint8) for mask in drawn(5)]
    reason = (
        r"background\? Set .* as in 'data\.mask_values=\{1: \?, 2: \?\}' \(.*\), with background"
    )
    with pytest.raises(DataError, match=rf"5 of 5 masks mark most .*{reason}"):
        check(masks)
    rules = MaskRules(classes={1: "background", 2: "crack"})
    assert check(masks, rules) == ()
