from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsule_inspection.data import sample_reader
from capsule_inspection.data.image_io import read_content
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples
from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.data.sample_reader import mask_files
from capsule_inspection.data.validation import fingerprint, validate_samples
from capsule_inspection.types import DEFECT, DataError, DataIndex, Sample
from tests.image_folders import CLASSES, draw_part, found_in, load, save_pixels, write_images

Build = Callable[..., DataIndex]
SIZE = (32, 48)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`validate_samples` with the settings that the tests share."""

    def build(found: FoundSamples, **settings: Any) -> DataIndex:
        settings = {"index_folder": tmp_path / "index", "on_bad_file": "error"} | settings
        return validate_samples(found, workers=1, **settings)

    return build


def write_square(path: Path, place: int, value: int = 255, *, size: tuple[int, int] = SIZE) -> Path:
    """A mask with a square of 6x6 pixels at one of four places."""
    pixels = np.zeros(size, np.uint8)
    pixels[10:16, 4 + 10 * place : 10 + 10 * place] = value
    return save_pixels(path, pixels)


def marked(mask: np.ndarray) -> list[int]:
    """The values at the four places."""
    return [int(mask[12, 6 + 10 * place]) for place in range(4)]


class Pixels:
    """A consumer that keeps the masks."""

    def __init__(self) -> None:
        self.masks: dict[int, np.ndarray | None] = {}

    def add(self, decoded: sample_reader.DecodedSample) -> None:
        self.masks[decoded.row] = decoded.mask


def one_image(root: Path, mask: str | None, class_name: str = "crack") -> FoundSamples:
    write_images(root, ["a.png"], defect=True)
    return FoundSamples(root, (*CLASSES, "poke"), (FoundSample("a.png", class_name, mask),))


def test_a_mask_is_one_file_several_or_a_folder(tmp_path: Path) -> None:
    for name in ("m/1.png", "m/0.png", "m/.hidden.png", "m/deeper/2.png", "a|b.png"):
        write_square(tmp_path / name, 0)
    (tmp_path / "m/notes.txt").write_text("x")
    assert mask_files(tmp_path, "m/1.png") == ["m/1.png"]
    assert mask_files(tmp_path, "m") == ["m/0.png", "m/1.png"]
    assert mask_files(tmp_path, "m/1.png|m/gone.png") == ["m/1.png", "m/gone.png"]
    assert mask_files(tmp_path, "a|b.png") == ["a|b.png"]
    assert mask_files(tmp_path, str(tmp_path / "m/1.png")) == [str(tmp_path / "m/1.png")]


@pytest.mark.parametrize("mask", ["m", "m/000.png|m/001.png"])
def test_the_files_of_a_mask_are_joined_and_kept_as_one(
    tmp_path: Path, build: Build, mask: str
) -> None:
    write_square(tmp_path / "m/000.png", 0)
    write_square(tmp_path / "m/001.png", 2, 254)  # MVTec LOCO has values other than 255
    found = one_image(tmp_path, mask, "poke")
    pixels = Pixels()
    index = build(found, consumers=[pixels])
    assert index.samples[0].mask == mask
    assert pixels.masks[0] is not None
    assert marked(pixels.masks[0]) == [2, 0, 2, 0]
    before = index.samples[0].mask_sha256
    write_square(tmp_path / "m/001.png", 3)
    assert build(found).samples[0].mask_sha256 not in (None, before)


def test_a_warm_start_reads_no_file_of_a_joined_mask(
    tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(2):
        write_square(tmp_path / f"m/{place}.png", place)
    found = one_image(tmp_path, "m")
    cold = build(found)
    read: list[Path] = []
    monkeypatch.setattr(
        sample_reader, "read_content", lambda path: read.append(path) or read_content(path)
    )
    assert build(found) == cold
    assert read == []
    write_square(tmp_path / "m/2.png", 3)  # a new file joins them
    assert build(found) == cold  # `mask_sha256` is not compared
    assert {path.name for path in read} == {"0.png", "1.png", "2.png"}


def test_files_that_do_not_join_are_refused(tmp_path: Path, build: Build) -> None:
    found = one_image(tmp_path, "m")

    def check(reason: str, **settings: Any) -> None:
        for _ in range(2):  # the second time from the store
            with pytest.raises(DataError, match=rf"a\.png: mask m: {reason}"):
                build(replace(found, **settings))

    (tmp_path / "m").mkdir()
    check("the folder has no images")
    write_square(tmp_path / "m/0.png", 0)
    write_square(tmp_path / "m/1.png", 1, size=(48, 32))
    check("1.png is 32x48 pixels, the files before it are 48x32")
    write_square(tmp_path / "m/1.png", 0, 7)
    rules = MaskRules(classes={255: "crack", 7: "poke"})
    check("1.png marks 36 pixels that a file before it marks as another class", mask_rules=rules)
    assert len(build(replace(found, mask_rules=MaskRules(binary=True)))) == 1


def test_a_defect_covers_ignored_pixels_of_another_file(tmp_path: Path, build: Build) -> None:
    write_square(tmp_path / "m/0.png", 0, 9)
    write_square(tmp_path / "m/1.png", 0, 7)
    write_square(tmp_path / "m/2.png", 1, 9)
    pixels = Pixels()
    rules = MaskRules(classes={7: "crack", 9: None})
    build(replace(one_image(tmp_path, "m"), mask_rules=rules), consumers=[pixels])
    assert pixels.masks[0] is not None
    assert marked(pixels.masks[0]) == [1, 255, 0, 0]


def sample_of(index: DataIndex, path: str) -> Sample:
    return next(sample for sample in index.samples if sample.path == path)


def test_without_a_class_the_mask_decides(tmp_path: Path, build: Build) -> None:
    names = ["a.png", "b.png", "c.png", "d.png"]
    write_images(tmp_path, names, defect=True)
    write_square(tmp_path / "a_label.png", 0, 0)
    write_square(tmp_path / "b_label.png", 1)
    samples = [FoundSample(name, "", f"{name[0]}_label.png") for name in names[:3]]
    samples.append(FoundSample("d.png", ""))
    found = FoundSamples(tmp_path, ("good", DEFECT), tuple(samples))
    index = build(found, on_bad_file="skip")
    assert (sample_of(index, "a.png").label, sample_of(index, "a.png").mask) == (0, None)
    assert (sample_of(index, "b.png").label, sample_of(index, "b.png").mask) == (1, "b_label.png")
    assert [(bad.path, bad.reason) for bad in index.skipped] == [
        ("c.png", "mask c_label.png: there is no such file"),
        ("d.png", "has no mask, which decides whether the part is good"),
    ]


def test_a_mask_of_ignored_pixels_alone_is_empty(tmp_path: Path, build: Build) -> None:
    write_square(tmp_path / "m.png", 0, 128)
    pixels, rules = Pixels(), MaskRules(ignore=128)
    with pytest.raises(DataError, match=r"mask m\.png is empty apart from ignored pixels"):
        build(replace(one_image(tmp_path, "m.png"), mask_rules=rules))
    good = replace(one_image(tmp_path, "m.png", "good"), mask_rules=rules)
    index = build(good, consumers=[pixels])
    assert (index.samples[0].label, index.samples[0].mask) == (0, "m.png")
    assert pixels.masks[0] is not None
    assert marked(pixels.masks[0]) == [255, 0, 0, 0]


def test_the_image_itself_is_no_mask(tmp_path: Path, build: Build) -> None:
    mask = draw_part(3, defect=True)[1]
    save_pixels(tmp_path / "a.png", mask)
    save_pixels(tmp_path / "m.png", mask)
    for name in ("m.png", "a.png"):
        found = FoundSamples(tmp_path, CLASSES, (FoundSample("a.png", "crack", name),))
        with pytest.raises(DataError, match="is a copy of the image itself, not a mask"):
            build(found)


def test_other_rules_read_the_masks_again_and_change_fingerprint_and_cache(
    tmp_path: Path,
) -> None:
    write_images(tmp_path, ["a.png", "good.png"])
    pixels = np.full(SIZE, 255, np.uint8)
    pixels[10:16, 14:24] = 0
    save_pixels(tmp_path / "m.png", pixels)
    found = found_in(tmp_path, {"a.png": "m.png", "good.png": None})
    seen = []
    for rules in (MaskRules(), MaskRules(inverted=True), MaskRules(), MaskRules(binary=True)):
        index, cache = load(replace(found, mask_rules=rules), tmp_path / "cache", roi="none")
        seen.append((fingerprint(index), cache.path, float((cache.masks[0] > 0).mean())))
    assert seen[0] == seen[2]
    assert len({name for name, _, _ in seen}) == len({path for _, path, _ in seen}) == 3
    assert seen[0][2] > 0.6 > 0.2 > seen[1][2] > 0
