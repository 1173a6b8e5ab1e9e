"""Class folders, splits and masks; the meaning of folders is tested by their names alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capsule_inspection.data.layouts import folder
from capsule_inspection.data.layouts.samples import FoundSamples, LayoutSettings
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.types import DataError

Find = Callable[..., FoundSamples]
PLAIN = "good/*8 crack/*5"


def file_names(words: str) -> Iterator[str]:
    """`crack/*3` is three images in a folder, `crack/*_GT.bmp*3` three with this ending."""
    for word in words.split():
        if "*" not in word:
            yield word
            continue
        start, *ending, count = word.split("*")
        for number in range(int(count)):
            yield f"{start}{number:03d}{ending[0] if ending else '.png'}"


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """The samples of a folder with files of these names; `masks` is relative to the folder."""

    def find(words: str, **settings: Any) -> FoundSamples:
        root = tmp_path / "parts"
        for name in file_names(words):
            path = root / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(b'{"shapes": []}')
        if "masks" in settings:
            settings["masks"] = root / settings["masks"]
        return folder.find_folder_samples(scan_tree(root), LayoutSettings(**settings))

    return find


def counts(found: FoundSamples) -> dict[str, int]:
    """Number of images of each class, with its split where there is one."""
    names = (f"{s.split} {s.class_name or 'by mask'}".strip() for s in found.samples)
    return dict(Counter(names))


def masks_of(found: FoundSamples) -> dict[str, str | None]:
    return {sample.path: sample.mask for sample in found.samples}


STRUCTURES: dict[str, tuple[str, dict[str, int], str]] = {
    "class folders": (PLAIN, {"good": 8, "crack": 5}, "class folders"),
    "images at any depth": (
        f"{PLAIN} crack/2024/01/x*4",
        {"good": 8, "crack": 9},
        "subfolders 2024",
    ),
    "kinds of a class": (
        "good/*3 bad/dent/*2 bad/scratch/*2",
        {"good": 3, "bad": 4},
        "subfolders dent, scr",
    ),
    "dates in every class": ("good/2024/*3 crack/2024/*2", {"good": 3, "crack": 2}, "class"),
    "ImageFolder": (
        "train/good/*4 train/crack/*3 valid/good/*2 valid/crack/*2 test/good/*2 test/crack/*1",
        {"train good": 4, "train crack": 3, "val good": 2, "val crack": 2, "test good": 2}
        | {"test crack": 1},
        "in train, valid, test",
    ),
    "capitals and one split alone": (
        "Train/good/*4 Train/crack/*3 Test/good/*1 Test/dent/*1",
        {"train good": 4, "train crack": 3, "test good": 1, "test dent": 1},
        "in Train, Test",
    ),
    "folders that hold all others": (
        "casting/data/train/ok_front/*2 casting/data/test/ok_front/*1 casting/data/test/def/*1",
        {"train ok_front": 2, "test ok_front": 1, "test def": 1},
        "all in casting/data",
    ),
    "a level of cameras": (
        "cam1/good/*4 cam1/crack/*2 cam2/good/*3",
        {"good": 7, "crack": 2},
        "class folders below cam1, cam2",
    ),
    "cameras in splits": (
        "train/cam1/good/*2 train/cam1/crack/*2 test/cam2/good/*1 test/cam2/crack/*1",
        {"train good": 2, "train crack": 2, "test good": 1, "test crack": 1},
        "below cam1, cam2 in train, test",
    ),
    "splits in classes": (
        "good/train/*3 good/test/*2 crack/train/*2 crack/test/*1",
        {"train good": 3, "test good": 2, "train crack": 2, "test crack": 1},
        "class folders with test, train in them",
    ),
    "folders named images": ("images/good/*3 images/crack/*2", {"good": 3, "crack": 2}, "class"),
    "few images beside the splits": (
        "train/good/*3 train/crack/*3 test/good/*1 overview.png",
        {"train good": 3, "train crack": 3, "test good": 1},
        "class folders in train, test",
    ),
    "few images beside the classes": (f"{PLAIN} overview.jpg", {"good": 8, "crack": 5}, "class"),
    "names that only look like masks": ("good/*_mask.png*4 crack/*2", {"good": 4, "crack": 2}, ""),
    "KolektorSDD2": (
        "train/*6 train/*_GT.png*6 test/*3 test/*_GT.png*3",
        {"train by mask": 6, "test by mask": 3},
        "images whose masks decide the class in train, test, masks beside the images",
    ),
    "images and masks": ("images/*5 masks/*5", {"by mask": 5}, "masks in masks"),
}


@pytest.mark.parametrize("case", STRUCTURES)
def test_the_meaning_of_folders_is_found_and_said(find: Find, case: str) -> None:
    words, expected, said = STRUCTURES[case]
    found = find(words)
    assert counts(found) == expected
    assert said in found.layout
    assert found.warnings == ()


def test_masks_decide_in_numbered_folders_of_one_part_each(find: Find) -> None:
    parts = " ".join(f"KSDD/kos{part:02d}/P*2 KSDD/kos{part:02d}/P*_label.bmp*2" for part in (1, 2))
    found = find(parts)
    assert found.classes == ("good", "defect")
    assert {sample.group for sample in found.samples} == {"KSDD/kos01", "KSDD/kos02"}
    assert masks_of(found)["KSDD/kos01/P000.png"] == "KSDD/kos01/P000_label.bmp"


REFUSED = {
    "cam1/good/*2 cam1/crack/*2 cam2/dent/*2": r"in cam1 \(crack, good\), cam2 \(dent\) are",
    "cam1/a/*2 cam1/b/*2 cam2/a/*2": r"of cam1, cam2, nor of .* \(a, b\), .*data\.good_class",
    "good/*2 cam1/good/*2 cam1/crack/*2": r"at several depths, as good and cam1/good",
    "a/train/good/*2 a/test/dent/*2 b/train/good/*2 b/test/good/*1": r"a, b look like data sets",
    f"{PLAIN} *6": r"6 images are in none: the root itself \(6\).*data=manifest",
    "*9": r"expected a folder for each class; 9 images are in none",
    "train/good/*3 train/dent/*3 test/*3": r"in none: test \(3\).*data\.exclude=\[test\]",
    f"{PLAIN} test/*3": r"named like splits: test; .*: crack, good.*data\.exclude=\[test\]",
    "train/good/*2 test/dent/*2 other/*2": r"named like splits: test, train; .*: other",
    "good/train/*2 good/test/*2 crack/*2": r"some classes have folders of splits.*not .* crack",
    "Class1/train/*2 Class1/test/*2 Class2/train/*2": r"data sets of their own: set data\.root",
    "train_img/*2 train_lab/*2 test_img/*2": r"They look like splits: name them train, val",
    "train/*5 train/Label/*_label.png*1": r"1 of 5 images have masks.*data\.unannotated=good",
    "kos01/*2 kos02/*2": r"none of kos01, kos02 has a usual name.*Set data\.good_class",
    "good/*2 Good/*2": r"Good and good differ only in case",
    "readme.txt": r"expected a folder of images for each class.*found no images",
    "good/*3 bad/*4 bad/*_mask.png*2": r"bad/000_mask\.png looks like the mask of bad/000\.png, as "
    r"2 of 4 .*not bad/002\.png, bad/003\.png\..*data\.masks.*data\.mask_suffixes=\[\]",
    f"{PLAIN} masks/other*3": r"masks: none of its 3 images is named .*data\.exclude=\[masks\]",
}


@pytest.mark.parametrize("words", REFUSED)
def test_folders_of_no_clear_meaning_are_refused_with_a_remedy(find: Find, words: str) -> None:
    with pytest.raises(DataError, match=REFUSED[words]):
        find(words)


NO_CLASSES = {
    f"{PLAIN} unlabeled/*2": r"unlabeled \(2 images\)\..*data\.exclude=\[unlabeled\]; .*class_map",
    f"{PLAIN} good/Thumbs/*1 Unknown/*1": r"data\.exclude=\[Unknown,good/Thumbs\]",
    "d/train/good/*4 d/train/bad/*2 d/test_private/*3": r"data\.exclude=\[d/test_private\]",
}


@pytest.mark.parametrize("words", NO_CLASSES)
def test_folders_that_say_that_they_are_no_class_are_refused(find: Find, words: str) -> None:
    with pytest.raises(DataError, match=NO_CLASSES[words]):
        find(words)


def test_a_class_named_like_none_is_one_where_the_map_says_so(find: Find) -> None:
    words = f"{PLAIN} unknown/*2 unknown_dent/*1"
    found = find(words, class_map={"unknown": "unknown"})
    assert counts(found) == {"good": 8, "crack": 5, "unknown": 2, "unknown_dent": 1}


def test_a_good_class_that_no_folder_has_is_named(find: Find) -> None:
    with pytest.raises(DataError, match=r"no folder of data\.good_class=lot8: .*crack, good has"):
        find(PLAIN, good_class="lot8")


def test_the_good_class_may_have_any_name_and_says_which_folders_are_classes(find: Find) -> None:
    found = find("cam1/a/*2 cam1/b/*2 cam2/a/*2", good_class="a")
    assert found.classes == ("a", "b")
    assert counts(found) == {"a": 4, "b": 2}


def test_the_class_map_may_name_the_good_class(find: Find) -> None:
    names = {"A": "good", "B": "good", "C": "dent"}  # as in SDNET2018
    found = find("x/A/*2 x/C/*1 y/B/*2 y/C/*1", class_map=names)
    assert counts(found) == {"good": 4, "dent": 2}


def test_images_without_a_mask_are_good_on_request_where_masks_decide(find: Find) -> None:
    words = "Train/*5 Train/Label/*_label.png*2 Test/*3 Test/Label/*_label.png*1"  # DAGM
    found = find(words, unannotated="good")
    expected = {"train good": 3, "train by mask": 2, "test good": 2, "test by mask": 1}
    assert counts(found) == expected
    assert masks_of(found)["Train/001.png"] == "Train/Label/001_label.png"


def test_the_same_holds_where_masks_are_beside_their_images(find: Find) -> None:
    words = "parts/*5 parts/*_GT.png*2"
    assert counts(find(words, unannotated="good")) == {"good": 3, "by mask": 2}
    with pytest.raises(DataError, match=r"2 of 5 images have masks.*data\.unannotated=good"):
        find(words)


def test_a_setting_for_images_without_masks_is_refused_where_folders_name_classes(
    find: Find,
) -> None:
    with pytest.raises(DataError, match=r"data\.unannotated=good has no meaning"):
        find(PLAIN, unannotated="good")


MASKS: dict[str, tuple[str, str | None, dict[str, str | None]]] = {
    "mirrored": (
        "good/*1 crack/*2 m/crack/*_mask.png*2",
        "m",
        {"crack/000.png": "m/crack/000_mask.png", "good/000.png": None},
    ),
    "recognised by its name": (
        "good/*1 crack/*1 ground_truth/crack/*.bmp*1",
        None,
        {"crack/000.png": "ground_truth/crack/000.bmp"},
    ),
    "without the splits, as MVTec AD": (
        "train/good/*2 test/good/*1 test/crack/*1 ground_truth/crack/*_mask.png*1",
        None,
        {"test/crack/000.png": "ground_truth/crack/000_mask.png", "test/good/000.png": None},
    ),
    "a class named like masks": (
        "train/good/*2 test/seg/*1 ground_truth/seg/*_mask.png*1",
        None,
        {"test/seg/000.png": "ground_truth/seg/000_mask.png"},
    ),
    "with the splits": (
        "train/good/*1 train/dent/*1 test/dent/*1 m/train/dent/*1 m/test/dent/*1",
        "m",
        {
            "train/dent/000.png": "m/train/dent/000.png",
            "test/dent/000.png": "m/test/dent/000.png",
        },
    ),
    "flat": (
        "good/g*2 crack/c*2 masks/c*_GT.png*2",
        None,
        {"crack/c001.png": "masks/c001_GT.png", "good/g001.png": None},
    ),
    "in the class folder": (
        "good/*2 crack/images/*2 crack/masks/*2",
        None,
        {"crack/images/001.png": "crack/masks/001.png", "good/001.png": None},
    ),
    "beside the class folder": (
        "good/*2 crack/*2 crack_masks/*2",
        None,
        {"crack/001.png": "crack_masks/001.png", "good/001.png": None},
    ),
    "several files": (
        "good/*1 crack/*1 m/crack/000_mask_0.png m/crack/000_mask_1.png",
        "m",
        {"crack/000.png": "m/crack/000_mask_0.png|m/crack/000_mask_1.png"},
    ),
    "a folder for each image": (
        "good/*1 crack/*1 m/crack/000/0.png m/crack/000/1.png",
        "m",
        {"crack/000.png": "m/crack/000"},
    ),
    "other Unicode form and case": (
        "good/a.png crack/\u00e9.png m/Crack/e\u0301_Mask.png",
        "m",
        {"crack/\u00e9.png": "m/Crack/e\u0301_Mask.png"},
    ),
    "one is missing": (
        "good/*1 crack/*2 m/crack/000_seg.png",
        "m",
        {"crack/001.png": "m/crack/001_seg.png", "good/000.png": None},
    ),
    "one is missing in another folder": (
        "a/good/*1 b/good/*1 a/crack/*1 b/crack/*1 masks/a/crack/000_1.png masks/a/crack/000_2.png",
        None,
        {"b/crack/000.png": "masks/b/crack/000_1.png"},
    ),
    "beside": (
        "good/*3 crack/*2 crack/*_label.bmp*2",
        None,
        {"crack/001.png": "crack/001_label.bmp", "good/001.png": None},
    ),
    "beside, several": (
        "good/*1 crack/*1 crack/000_mask_1.png crack/000_mask_2.png",
        None,
        {"crack/000.png": "crack/000_mask_1.png|crack/000_mask_2.png"},
    ),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_are_found_by_the_names_of_their_images(find: Find, case: str) -> None:
    words, masks, expected = MASKS[case]
    found = masks_of(find(words, **({"masks": masks} if masks else {})))
    assert {path: found[path] for path in expected} == expected
    assert not [path for path in found if "mask" in path or "label" in path]


def test_masks_elsewhere_have_absolute_paths_and_those_left_over_are_said(
    find: Find, tmp_path: Path
) -> None:
    for name in ("crack/000.png", "dent/000.png"):
        path = tmp_path / "elsewhere" / name
        path.parent.mkdir(parents=True)
        path.touch()
    found = find("good/*1 crack/*1", masks=tmp_path / "elsewhere")
    assert masks_of(found)["crack/000.png"] == f"{tmp_path.as_posix()}/elsewhere/crack/000.png"
    assert "1 of 2 masks belong to no image, as dent/000.png" in found.warnings[0]


REFUSED_MASKS = {
    "": r"m: there is no such folder\. Set data\.masks",
    "m/crack/000.json": r"found crack/000\.json; masks are images: <stem>\.png or .* labelme",
    "m/cracked/x*3": r"named like the classes \(crack, good\).*found cracked/x000\.png",
}


@pytest.mark.parametrize("words", REFUSED_MASKS)
def test_a_folder_of_masks_that_fits_no_image_is_refused(find: Find, words: str) -> None:
    with pytest.raises(DataError, match=REFUSED_MASKS[words]):
        find(f"{PLAIN} {words}", masks="m")
