from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

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
    write_json,
    write_parts,
)
from pycocotools import mask as coco_mask

from capsule_inspection.data.masks.rules import MaskRules
from capsule_inspection.types import IGNORE_INDEX

_IDS = itertools.count()
CATEGORIES = [{"id": 7, "name": "crack"}, {"id": 3, "name": "poke"}]


def image(key: int, name: str, **changed: Any) -> dict[str, Any]:
    return {"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT, **changed}


def annotation(key: int, category: int = 7, **changed: Any) -> dict[str, Any]:
    return {"id": next(_IDS), "image_id": key, "category_id": category, "iscrowd": 0, **changed}


def document(*annotations: dict[str, Any], images: int = 3) -> dict[str, Any]:
    return {
        "images": [image(key, f"{key}.png") for key in range(images)],
        "annotations": list(annotations),
        "categories": CATEGORIES,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the images 0.png, 1.png and 2.png."""
    write_parts(tmp_path / "parts", *(f"images/{key}.png" for key in range(3)))
    return tmp_path / "parts"


def test_polygons_become_masks_and_images_without_are_good(root: Path):
    write_json(root / "labels.json", document(annotation(1, segmentation=[SQUARE])))
    found = find("coco", root)
    assert labels(found) == {
        "images/0.png": "good",
        "images/1.png": "crack",
        "images/2.png": "good",
    }
    assert found.classes == ("good", "crack")
    assert found.mask_rules == MaskRules(IGNORE_INDEX, classes={1: "crack"}, from_annotations=True)
    assert mask_of(found, "images/0.png") is None
    assert (mask_of(found, "images/1.png") == square()).all()
    assert found.other_files == {"labels.json"}
    assert found.layout == "COCO (labels.json; 2 images without annotations taken as good)"
    assert found.warnings == ()


def test_run_lengths_are_masks_as_text_and_as_numbers(root: Path):
    ring = np.zeros((HEIGHT, WIDTH), np.uint8)
    ring[5:20, 5:30], ring[10:15, 10:20] = 1, 0
    code = coco_mask.encode(np.asfortranarray(ring))
    flat = ring.ravel(order="F")
    counts = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
    for key, given in enumerate((code["counts"].decode(), counts)):
        segmentation = {"size": [HEIGHT, WIDTH], "counts": given}
        write_json(root / "labels.json", document(annotation(key, segmentation=segmentation)))
        assert (mask_of(find("coco", root), f"images/{key}.png") == ring).all()


def test_several_classes_have_numbers_by_name_and_the_largest_is_the_label(root: Path):
    small = [30, 20, 34, 20, 34, 24, 30, 24]
    write_json(
        root / "labels.json",
        document(
            annotation(1, segmentation=[SQUARE]),
            annotation(1, category=3, segmentation=[small]),
        ),
    )
    found = find("coco", root)
    assert found.classes == ("good", "crack", "poke")  # though poke is nowhere the largest
    expected = square(1)
    expected[20:24, 30:34] = 2
    assert (mask_of(found, "images/1.png") == expected).all()
    assert found.mask_rules.classes == {1: "crack", 2: "poke"}
    assert labels(found)["images/1.png"] == "crack"
    assert found.warnings == (
        "Images with defects of several classes, each in the class of the largest area: 1, "
        "such as images/1.png.",
    )


def test_boxes_serve_classification_and_are_masks_on_request_alone(root: Path):
    write_json(root / "labels.json", document(annotation(1, bbox=[10, 8, 10, 10])))
    found = find("coco", root)
    assert labels(found)["images/1.png"] == "crack"
    assert mask_of(found, "images/1.png") is None
    assert "1 of a defect without a mask" in found.layout
    weak = find("coco", root, boxes_as_masks=True)
    assert (mask_of(weak, "images/1.png") == square()).all()
    assert "data.boxes_as_masks" in weak.warnings[0]


def test_a_box_beside_a_polygon_is_ignored_in_the_mask(root: Path):
    annotations = [
        annotation(1, segmentation=[SQUARE]),
        annotation(1, category=3, bbox=[30, 20, 4, 4], segmentation=[]),
    ]
    write_json(root / "labels.json", document(*annotations))
    expected = square()
    expected[20:24, 30:34] = IGNORE_INDEX
    assert (mask_of(find("coco", root), "images/1.png") == expected).all()


def test_a_crowd_is_ignored_but_not_what_is_known_in_it(root: Path):
    crowd = [5, 5, 40, 5, 40, 25, 5, 25]
    annotations = [
        annotation(1, segmentation=[SQUARE]),
        annotation(1, segmentation=[crowd], iscrowd=1),
    ]
    write_json(root / "labels.json", document(*annotations))
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[5:25, 5:40] = IGNORE_INDEX
    expected[8:18, 10:20] = 1
    assert (mask_of(find("coco", root), "images/1.png") == expected).all()


def test_polygons_without_an_area_are_counted_and_give_no_empty_mask(root: Path):
    write_json(root / "labels.json", document(annotation(1, segmentation=[[5, 5, 9, 9]])))
    found = find("coco", root)
    assert labels(found)["images/1.png"] == "crack"
    assert mask_of(found, "images/1.png") is None
    assert found.warnings == (
        "Images with defects without an area, which no mask shows: 1, such as images/1.png.",
    )


def test_class_map_joins_drops_and_makes_good(root: Path):
    small = [30, 20, 34, 20, 34, 24, 30, 24]
    annotations = [
        annotation(0, category=3, segmentation=[small]),
        annotation(1, segmentation=[SQUARE]),
        annotation(1, category=3, segmentation=[small]),
    ]
    write_json(root / "labels.json", document(*annotations))
    joined = find("coco", root, class_map={"poke": "crack"})
    assert joined.classes == ("good", "crack")
    expected = square()
    expected[20:24, 30:34] = 1
    assert (mask_of(joined, "images/1.png") == expected).all()
    dropped = find("coco", root, class_map={"poke": None})
    assert sorted(labels(dropped)) == ["images/1.png", "images/2.png"]
    expected = square()
    expected[20:24, 30:34] = IGNORE_INDEX
    assert (mask_of(dropped, "images/1.png") == expected).all()
    assert "dropped classes only, which are left out (data.class_map): 1" in dropped.warnings[0]
    harmless = find("coco", root, class_map={"poke": "good"})
    assert labels(harmless)["images/0.png"] == "good"
    assert (mask_of(harmless, "images/1.png") == square()).all()


def test_files_of_several_splits_and_names_of_windows(tmp_path: Path):
    root = tmp_path / "parts"
    write_parts(root, "train/0.png", "val/0.png")
    for split in ("train", "val"):
        written = document(annotation(0, segmentation=[SQUARE]), images=1)
        written["images"][0]["file_name"] = f"{split}\\0.png" if split == "val" else "0.png"
        write_json(root / f"annotations/instances_{split}2017.json", written)
    found = find("coco", root)
    splits = {sample.path: sample.split for sample in found.samples}
    assert splits == {"train/0.png": "train", "val/0.png": "val"}
    assert found.layout == "COCO (2 files)"


def test_the_layout_of_roboflow(tmp_path: Path):
    root = tmp_path / "parts"
    for split in ("train", "valid", "test"):
        write_parts(root, f"{split}/{split}.png")
        written = document(annotation(0, segmentation=[SQUARE]), images=1)
        written["images"][0]["file_name"] = f"{split}.png"
        write_json(root / split / "_annotations.coco.json", written)
    splits = {sample.path: sample.split for sample in find("coco", root).samples}
    assert splits == {"train/train.png": "train", "valid/valid.png": "val", "test/test.png": "test"}


def changed(**values: Any) -> dict[str, Any]:
    """A sound document in which values at paths such as `images__0__id` are replaced."""
    written: Any = copy.deepcopy(document(annotation(1, segmentation=[SQUARE])))
    for path, value in values.items():
        *keys, last = [int(key) if key.isdecimal() else key for key in path.split("__")]
        place = written
        for key in keys:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return written


RLE = {"size": [HEIGHT, WIDTH], "counts": [5, 5]}
FAULTS = [
    (changed(annotations__0__category_id=9), "expected a category_id of the categories (7 crack"),
    (changed(annotations__0__image_id=9), "expected an image_id of the 3 images"),
    (
        changed(images__1__id=0),
        "images[1].id: expected another id than that of labels.json.images[0]",
    ),
    (changed(images__1__file_name="0.png"), "images/0.png: expected one annotation of each image"),
    (changed(categories__1__id=7), "categories[1].id: expected another id"),
    (changed(categories=None), "expected a value named categories"),
    (changed(annotations__0__segmentation=RLE), "expected run lengths of 1536 pixels"),
    (changed(annotations__0__segmentation=[[1, 2, 3]]), "expected polygons of x and y in turn"),
    (changed(annotations__0__segmentation=[[1, 2, "x", 4, 5, 6]]), 'expected a number, found "x"'),
    (
        changed(annotations__0__segmentation=None, annotations__0__bbox=[1, 2, -3, 4]),
        "expected a box [x, y, width, height]",
    ),
    ([], "expected an object with named values"),
    (changed(images__0__file_name=None), "expected a value named file_name"),
]


@pytest.mark.parametrize(("written", "expected"), FAULTS, ids=[text for _, text in FAULTS])
def test_faults_are_refused(root: Path, written: object, expected: str):
    path = write_json(root / "labels.json", written)
    check_refused("coco", root, "labels.json", expected, annotations=path)


def test_a_file_that_is_no_json_and_a_folder_without_any(root: Path):
    path = root / "labels.json"
    path.write_text('{"images": [], "annotations": [], "categories": [],}')
    check_refused("coco", root, "labels.json: expected JSON", "line 1")
    path.unlink()
    check_refused("coco", root, "expected a COCO file", "data.annotations")
    check_refused("coco", root, "there is no such file or folder", annotations=Path("absent.json"))


def test_images_of_one_name_in_two_folders(root: Path):
    write_parts(root, "more/1.png")
    write_json(root / "sub/labels.json", document(annotation(1, segmentation=[SQUARE])))
    (root / "images").rename(root / "other")
    check_refused("coco", root, "1.png may be more/1.png, other/1.png", "data.exclude")


@pytest.mark.parametrize("pattern", ["images/1.png", "1.png", "images/*1*"])
def test_an_excluded_image_is_left_out_without_a_word(root: Path, pattern: str):
    write_json(root / "labels.json", document(annotation(1, segmentation=[SQUARE]),
                                              annotation(2, segmentation=[SQUARE])))  # fmt: skip
    found = find("coco", root, exclude=[pattern])
    assert labels(found) == {"images/0.png": "good", "images/2.png": "crack"}
    assert found.warnings == ()


def test_images_of_an_excluded_folder_are_left_out(root: Path):
    write_parts(root, "more/9.png")
    written = document(annotation(1, segmentation=[SQUARE]))
    written["images"].append(image(9, "9.png"))
    write_json(root / "labels.json", written)
    assert "images/9.png" not in labels(find("coco", root, exclude=["more"]))
    assert len(find("coco", root, exclude=["more"]).samples) == 3


def test_a_missing_image_is_left_to_the_validation_but_not_all_of_them(root: Path):
    write_json(root / "labels.json", changed(images__1__file_name="gone.png"))
    assert labels(find("coco", root))["gone.png"] == "crack"
    write_json(root.parent / "others/labels.json", document())
    write_parts(root.parent / "others", "images/9.png")
    check_refused(
        "coco",
        root.parent / "others",
        "none of the 3 images of the annotations is there",
        "data.root",
    )


def test_many_polygons_of_four_corners_are_told(root: Path):
    squares = [annotation(1, segmentation=[SQUARE]) for _ in range(30)]
    write_json(root / "labels.json", document(*squares))
    (warning,) = find("coco", root).warnings
    assert warning.startswith("Polygons that all have four corners, and may be boxes")
    squares[0]["segmentation"] = [SQUARE[:6]]
    write_json(root / "labels.json", document(*squares))
    assert find("coco", root).warnings == ()
