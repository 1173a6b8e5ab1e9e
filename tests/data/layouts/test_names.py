"""Usual names of splits and of good classes, and names that are easily confused."""

from __future__ import annotations

import os
import unicodedata

import pytest

from capsule_inspection.data.layouts.names import (
    check_class_names,
    find_good_class,
    is_good_name,
    match_stem,
    readable,
    split_of,
)
from capsule_inspection.types import DataError

GOOD = (
    "good OK Normal MT_Free NODefect_images no_defect Defect-Free Non_Defective ok_front undamaged "
    "OK_Teile images_good 良品 gut i.O. \N{FULLWIDTH LATIN SMALL LETTER O}k"
)
NOT_GOOD = "not_ok no_good ng nok n.i.O. ungood 不良品 abnormal defect front 0"
SPLITS = {"Train": "train", "TRAINING": "train", "valid": "val", "Validation": "val", "dev": "val"}
SPLITS |= {"test_public": "test", "Testing": "test", "测试": "test"}
SPLITS |= dict.fromkeys(("test_private", "crack", "training_day"), "")


@pytest.mark.parametrize("name", [*GOOD.split(), "No Defect", "good "])
def test_usual_names_of_flawless_parts_are_known(name: str) -> None:
    assert is_good_name(name)


@pytest.mark.parametrize("name", NOT_GOOD.split())
def test_names_of_defects_are_not_taken_for_good_ones(name: str) -> None:
    assert not is_good_name(name)


@pytest.mark.parametrize(("name", "split"), SPLITS.items())
def test_usual_names_of_splits_are_known(name: str, split: str) -> None:
    assert split_of(name) == split


def test_the_good_class_is_the_given_one_or_the_only_one_with_a_usual_name() -> None:
    assert find_good_class(["crack", "OK", "not_ok"], None, "root") == "OK"
    assert find_good_class(["crack", "a", "good"], "a", "root") == "a"
    composed = unicodedata.normalize("NFC", "geprüft")
    assert find_good_class([composed, "x"], unicodedata.normalize("NFD", composed), "") == composed
    with pytest.raises(DataError, match=r"root: .*of cat, dog none has a usual name.*good_class"):
        find_good_class(["dog", "cat"], None, "root")
    with pytest.raises(DataError, match=r"good, ok all are usual names.*Set data\.good_class"):
        find_good_class(["ok", "good", "x"], None, "root")
    with pytest.raises(DataError, match=r"data\.good_class=fine is not among the classes: good, x"):
        find_good_class(["good", "x"], "fine", "root")


@pytest.mark.parametrize(
    "pair",
    [
        ("good", "Good"),
        ("crack", "crack "),
        ("a_b", "a b"),
        ("ﾊﾞﾘ", "バリ"),
        ("a\u200b", "a"),
        (unicodedata.normalize("NFC", "ü"), unicodedata.normalize("NFD", "ü")),
    ],
)
def test_classes_that_differ_in_what_is_overlooked_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"differ only in case.*data\.class_map=\{"):
        check_class_names([*pair, "other"], "root")


def test_names_that_are_not_utf8_are_decoded_and_stems_are_composed() -> None:
    latin = os.fsdecode(b"d\xe9lamin\xe9")
    assert readable(latin) == "délaminé"
    assert (
        match_stem(f"{latin}/x\N{COMBINING DIAERESIS}.y.png")
        == "\N{LATIN SMALL LETTER X WITH DIAERESIS}.y"
    )
    assert match_stem("a/frame_0001") == "frame_0001"
    check_class_names(["good", "crack"], "root")
    check_class_names(["良品", "عيب 🙂", "<b>", "=1+1", 'a, "b"', "a/b"], "root")
    for name in ("a\nb", "a\tb", "a\0b", "a\u2028b", "a\udce9b", "x" * 201):
        with pytest.raises(DataError, match=r"control characters|has 201 characters"):
            check_class_names(["good", name], "root")
