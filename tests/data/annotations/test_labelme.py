from __future__ import annotations

import base64
import io
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
from PIL import Image

from capsule_inspection.types import IGNORE_INDEX

POINTS = [[x, y] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]


def shape(label: str = "crack", kind: str = "polygon", points: Any = POINTS, **more: Any) -> dict:
    return {"label": label, "shape_type": kind, "points": points, "flags": {}, **more}


def write(root: Path, name: str, *shapes: dict, **changed: Any) -> None:
    document = {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{name}.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **changed,
    }
    write_json(root / f"{name}.json", document)


def png(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """0.png is good by an empty file, 1.png and 2.png have a crack and a poke."""
    root = tmp_path / "parts"
    write_parts(root, "0.png", "1.png", "2.png")
    write(root, "0")
    write(root, "1", shape())
    write(root, "2", shape("poke"))
    return root


def test_polygons_become_masks_and_empty_files_mean_good(root: Path):
    found = find("labelme", root)
    assert labels(found) == {"0.png": "good", "1.png": "crack", "2.png": "poke"}
    assert (mask_of(found, "1.png") == square(1)).all()
    assert (mask_of(found, "2.png") == square(2)).all()
    assert found.layout == "LabelMe (1 image without annotations taken as good)"
    assert found.warnings == ()


def test_images_without_a_file_are_what_the_setting_says(root: Path):
    write_parts(root, "3.png")
    check_refused("labelme", root, "1 of 4 images have no annotation: 3.png", "data.unannotated=")
    assert labels(find("labelme", root, unannotated="good"))["3.png"] == "good"
    assert "3.png" not in labels(find("labelme", root, unannotated="skip"))


def test_masks_with_holes_and_circles_are_areas(root: Path):
    bitmap = np.ones((10, 12), bool)
    bitmap[4:6, 4:6] = False
    write(root, "1", shape(kind="mask", points=[[5, 6], [16, 15]], mask=png(bitmap)))
    write(root, "2", shape(kind="circle", points=[[24, 16], [30, 16]]))
    found = find("labelme", root)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[6:16, 5:17] = bitmap
    assert (mask_of(found, "1.png") == expected).all()
    circle = mask_of(found, "2.png")
    assert circle is not None
    assert circle.sum() == pytest.approx(np.pi * 36, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("rectangle", [[20, 18], [10, 8]]),
        ("line", [[10, 8], [20, 18]]),
        ("linestrip", [[10, 8], [20, 18], [30, 8]]),
    ],
)
def test_rectangles_and_lines_only_contain_the_defect(root: Path, kind: str, points: list):
    write(root, "1", shape(kind=kind, points=points))
    found = find("labelme", root)
    assert labels(found)["1.png"] == "crack"
    assert mask_of(found, "1.png") is None
    weak = mask_of(find("labelme", root, boxes_as_masks=True), "1.png")
    assert weak is not None
    assert weak[9:17, 11:19].any()
    write(root, "1", shape(kind=kind, points=points), shape(points=[[40, 2], [45, 2], [45, 8]]))
    ignored = mask_of(find("labelme", root), "1.png")
    assert ignored is not None
    assert set(np.unique(ignored)) == {0, 1, IGNORE_INDEX}


def test_flags_are_classes_of_the_image(root: Path):
    write(root, "1", flags={"good": False, "crack": True})
    write(root, "0", flags={"good": True, "crack": False})
    found = find("labelme", root)
    assert labels(found) == {"0.png": "good", "1.png": "crack", "2.png": "poke"}
    assert mask_of(found, "1.png") is None
    write(root, "2", shape("poke"), flags={"good": True})
    check_refused("labelme", root, "2.json: the image is labelled good, but shows poke")


def test_two_flags_without_an_area_are_not_clear(root: Path):
    write(root, "1", flags={"poke": True, "crack": True})
    check_refused("labelme", root, "1.json: the image has the classes", "none of which has an area")


OUTSIDE = png(np.ones((4, 5), bool))
FAULTS = [
    (
        {"imagePath": "2.png"},
        "2.png: expected one annotation of each image, found 1.json and 2.json",
    ),
    ({"shapes": [shape(kind="cube")]}, "shapes[0].shape_type: expected one of polygon"),
    ({"shapes": [shape(kind="circle", points=[[1, 2]])]}, "expected 2 points of a circle, found 1"),
    ({"shapes": [shape(points=[[1, 2, 3]])]}, "a list of points x, y"),
    ({"shapes": [shape(label=None)]}, "expected a value named label"),
    ({"shapes": None}, "expected a value named shapes"),
    (
        {"shapes": [shape(kind="mask", points=[[5, 6], [9, 9]], mask="%%")]},
        "expected a PNG in base64",
    ),
    (
        {"shapes": [shape(kind="mask", points=[[45, 6], [49, 9]], mask=OUTSIDE)]},
        "the mask of 5x4 pixels at (45, 6) reaches out of the image of 48x32",
    ),
]


@pytest.mark.parametrize(("changed", "expected"), FAULTS, ids=[text for _, text in FAULTS])
def test_faults_are_refused(root: Path, changed: dict[str, Any], expected: str):
    write(root, "1", **{"shapes": [shape()], **changed})
    check_refused("labelme", root, expected, annotations=root)


def test_a_file_whose_image_is_missing_is_left_to_the_validation(root: Path):
    (root / "1.png").unlink()
    assert labels(find("labelme", root))["1.png"] == "crack"


def test_json_of_another_format_is_refused(tmp_path: Path):
    write_parts(tmp_path / "parts", "0.png")
    write_json(tmp_path / "parts/a.json", {"images": []})
    check_refused("labelme", tmp_path / "parts", "found 1 other files of .json", "data=auto")
