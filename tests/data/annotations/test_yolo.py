from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_files import (
    HEIGHT,
    SQUARE,
    WIDTH,
    check_refused,
    find,
    labels,
    mask_of,
    square,
    write_parts,
    write_text,
)

from capsule_inspection.types import IGNORE_INDEX

NAMES = "train: train/images\nval: val/images\nnc: 2\nnames: [crack, poke]\n"
FRACTIONS = " ".join(
    f"{value / (WIDTH, HEIGHT)[place % 2]:.6f}" for place, value in enumerate(SQUARE)
)
BOX = f"{32 / WIDTH} {22 / HEIGHT} {4 / WIDTH} {4 / HEIGHT}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images for training, one with a polygon and a box, and an unlabelled one to validate."""
    root = tmp_path / "parts"
    write_parts(root, "train/images/0.png", "train/images/1.png", "val/images/2.png")
    write_text(root / "data.yaml", NAMES)
    write_text(root / "train/labels/1.txt", f"0 {FRACTIONS}\n1 {BOX}\n")
    write_text(root / "val/labels/2.txt", "")
    return root


def test_polygons_and_boxes_of_the_splits(root: Path):
    found = find("yolo", root)
    assert labels(found) == {
        "train/images/0.png": "good",
        "train/images/1.png": "crack",
        "val/images/2.png": "good",
    }
    assert {sample.split for sample in found.samples} == {"train", "val"}
    expected = square()
    expected[20:24, 30:34] = IGNORE_INDEX
    assert (mask_of(found, "train/images/1.png") == expected).all()
    expected[20:24, 30:34] = 2
    assert (
        mask_of(find("yolo", root, boxes_as_masks=True), "train/images/1.png") == expected
    ).all()
    assert found.other_files == {"data.yaml", "train/labels/1.txt", "val/labels/2.txt"}


@pytest.mark.parametrize(
    "text",
    [
        "path: ../parts\ntrain: train/images\nval: val/images\nnames: {0: crack, 1: poke}\n",
        "path: /there/parts\ntrain: train/images\nval: [val/images]\nnames: [crack, poke]\n",
        "train: ../train/images\nval: ../val/images\nnames:\n- crack\n- poke\n",
        "train: train.txt\nval: val/images\nnames: [crack, poke]\n",
        "names: [crack, poke]\nnc: 2\n",
    ],
)
def test_spellings_of_the_list(root: Path, text: str):
    write_text(root / "data.yaml", text)
    write_text(root / "train.txt", "./train/images/0.png\n./train/images/1.png\n")
    found = find("yolo", root)
    assert labels(found)["train/images/1.png"] == "crack"
    assert [sample.split for sample in found.samples] == ["train", "train", "val"]


def test_labels_beside_images_with_a_list_of_classes(tmp_path: Path):
    root = tmp_path / "parts"
    write_parts(root, "obj_train_data/a.jpg", "obj_train_data/b.jpg")
    write_text(root / "obj.names", "crack\npoke\n")
    write_text(root / "obj_train_data/a.txt", f"1 {FRACTIONS}\n")
    write_text(root / "train.txt", "data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n")
    found = find("yolo", root)
    assert "train.txt" in found.other_files
    assert labels(found) == {"obj_train_data/a.jpg": "poke", "obj_train_data/b.jpg": "good"}
    assert {sample.split for sample in found.samples} == {"train"}


def test_a_class_of_good_parts_is_not_in_the_masks(root: Path):
    write_text(root / "data.yaml", NAMES.replace("poke", "OK"))
    found = find("yolo", root)
    assert found.classes == ("OK", "crack")
    assert labels(found)["train/images/0.png"] == "OK"
    assert (mask_of(found, "train/images/1.png") == square()).all()


FAULTS = [
    ("5 " + FRACTIONS, "train/labels/1.txt, line 1: expected the number of a class (0 crack"),
    ("0 " + " ".join(map(str, SQUARE)), "expected coordinates from 0 to 1"),
    ("0 0.1 0.2 0.3 0.4 0.9", "found 5 numbers. Predictions with a confidence"),
    ("0 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "found 7 numbers"),
    ("0 0.1 0.2", "found 2 numbers"),
    ("0 0.1 0.2 0.3 nan", 'expected a number, found "nan"'),
    ("crack 0.1 0.2 0.3 0.4", 'expected a number, found "crack"'),
]


@pytest.mark.parametrize(("line", "expected"), FAULTS, ids=[text for _, text in FAULTS])
def test_faulty_labels_are_refused(root: Path, line: str, expected: str):
    write_text(root / "train/labels/1.txt", line)
    check_refused("yolo", root, "train/labels/1.txt", expected)


LISTS = [
    (NAMES.replace("nc: 2", "nc: 3"), "data.yaml: nc is 3, but names has 2: crack, poke"),
    (NAMES.replace("names: [crack, poke]", "classes: 2"), "found 1 other files"),
    (NAMES + "kpt_shape: [17, 3]\n", "keypoints, which mark no area"),
    (NAMES.replace("val/images", "valid/images"), "data.yaml.val: there is no folder valid/images"),
    (NAMES.replace("train/images", "val/images"), "val/images/2.png is in train and in val"),
    ("names: [crack\n", "expected YAML, found a mistake"),
    ("names: {a: crack}\n", "names by class number"),
]


@pytest.mark.parametrize(("text", "expected"), LISTS, ids=[text for _, text in LISTS])
def test_faulty_lists_are_refused(root: Path, text: str, expected: str):
    write_text(root / "data.yaml", text)
    check_refused("yolo", root, expected)


def test_images_that_nobody_has_labelled_are_not_good(root: Path):
    write_parts(root, "test/images/7.png")
    write_text(root / "data.yaml", NAMES + "test: test/images\n")
    expected = "none of the images of test/images has a label file"
    check_refused("yolo", root, expected, "data.unannotated=skip")
    found = find("yolo", root, unannotated="skip")
    assert sorted(labels(found)) == ["train/images/1.png", "val/images/2.png"]
    assert found.warnings[0].startswith("Images without annotation, which are left out")


@pytest.mark.parametrize("pattern", ["val", "val/images", "val/images/*", "2.png"])
def test_an_excluded_split_is_left_out(root: Path, pattern: str):
    found = find("yolo", root, exclude=[pattern])
    assert sorted(labels(found)) == ["train/images/0.png", "train/images/1.png"]
    assert not any("data.yaml" in warning for warning in found.warnings)


def test_labels_without_an_image_and_lists_that_differ_are_refused(root: Path):
    write_text(root / "train/labels/9.txt", f"0 {FRACTIONS}\n")
    check_refused("yolo", root, "1 label files have no image: train/labels/9.txt", "data.exclude")
    (root / "train/labels/9.txt").unlink()
    write_text(root / "old/data.yaml", NAMES.replace("crack", "scratch"))
    check_refused("yolo", root, "several that differ: data.yaml, old/data.yaml")


def test_a_hole_reached_by_a_bridge_is_background(root: Path):
    corners = np.array([[5, 5], [25, 5], [25, 25], [5, 25], [5, 5]])
    hole = np.array([[10, 10], [10, 20], [20, 20], [20, 10], [10, 10]])
    values = (np.concatenate([corners, hole]) / (WIDTH, HEIGHT)).ravel()
    write_text(root / "train/labels/1.txt", "0 " + " ".join(map(str, values)))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[5:25, 5:25] = 1
    expected[10:20, 10:20] = 0
    assert (mask_of(find("yolo", root), "train/images/1.png") == expected).all()
