"""The class map: renames, joins and drops classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from capsule_inspection.data.layouts.classes import finish_samples
from capsule_inspection.data.layouts.samples import FoundSample, LayoutSettings
from capsule_inspection.types import DataError

NAMES = ("good", "Scratch", "scr", "dust", "dust", "")
SAMPLES = [FoundSample(f"{i}.png", name, f"{i}_mask.png") for i, name in enumerate(NAMES)]


def test_classes_are_renamed_joined_and_dropped_and_the_dropped_are_counted() -> None:
    settings = LayoutSettings(class_map={"Scratch": "scratch", "scr": "scratch", "dust": None})
    found = finish_samples(Path("/parts"), SAMPLES, settings, layout="folders", other_files=["a"])
    assert found.classes == ("good", "defect", "scratch")
    assert [sample.class_name for sample in found.samples] == ["good", "scratch", "scratch", ""]
    assert found.warnings == ("data.class_map leaves out the images of dust (2).",)
    dropped = {"3.png", "3_mask.png", "4.png", "4_mask.png"}
    assert found.other_files == {"a", *dropped}


def test_a_class_may_become_the_good_one() -> None:
    settings = LayoutSettings(class_map={"dust": "good"})
    found = finish_samples(Path("/parts"), SAMPLES, settings, layout="folders")
    assert [sample.class_name for sample in found.samples].count("good") == 3


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ({"scratch": "x"}, r"names the class scratch, which no image has.*Did you mean Scratch\?"),
        ({"bubble": None}, r"found Scratch, dust, good, scr\. Remove it"),
    ],
)
def test_unknown_names_in_the_map_are_refused_with_a_suggestion(
    class_map: dict[str, str | None], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        finish_samples(Path("p"), SAMPLES, LayoutSettings(class_map=class_map), layout="")


def test_a_map_that_drops_everything_is_refused() -> None:
    settings = LayoutSettings(class_map={"good": None})
    with pytest.raises(DataError, match="drops all classes"):
        finish_samples(Path("parts"), SAMPLES[:1], settings, layout="")


def test_a_map_where_masks_decide_the_class_is_refused() -> None:
    settings = LayoutSettings(class_map={"defect": "crack"})
    with pytest.raises(DataError, match=r"masks decide whether an image is good or defect.*table"):
        finish_samples(Path("p"), SAMPLES[-1:], settings, layout="")
