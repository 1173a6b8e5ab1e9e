from __future__ import annotations

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

POINTS = [
    [100 * x / WIDTH, 100 * y / HEIGHT] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)
]


def result(kind: str = "polygonlabels", label: str = "crack", **value: Any) -> dict[str, Any]:
    if kind == "polygonlabels":
        value = {"points": POINTS, **value}
    return {
        "id": "a",
        "type": kind,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {kind: [label], **value},
    }


def task(name: str, *results: dict[str, Any], **changed: Any) -> dict[str, Any]:
    annotation = {"id": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    return {"id": 5, "data": {"image": name}, "annotations": [annotation], **changed}


def encode_brush(values: np.ndarray) -> list[int]:
    """Run lengths as Label Studio writes them, with runs of up to 16 values and single values."""
    bits = f"{values.size:032b}{7:05b}" + f"{3:04b}" * 4
    place = 0
    while place < values.size:
        end = place
        while end < min(place + 16, values.size) and values[end] == values[place]:
            end += 1
        if end - place > 1:
            bits += f"1{0:02b}{end - place - 1:04b}{values[place]:08b}"
        else:
            bits += f"0{0:02b}{0:04b}{values[place]:08b}"
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_parts(tmp_path / "parts", "0.png", "1.png", "images/2.png")
    return tmp_path / "parts"


def test_percent_polygons_and_names_of_uploads_and_local_files(root: Path):
    write_json(
        root / "export.json",
        [
            task("/data/upload/3/8d2e1f3a-0.png"),
            task("s3://bucket/parts/1.png", result()),
            task("/data/local-files/?d=images%2F2.png", result(label="poke")),
        ],
    )
    found = find("label_studio", root)
    assert labels(found) == {"0.png": "good", "1.png": "crack", "images/2.png": "poke"}
    assert (mask_of(found, "1.png") == square(1)).all()
    assert (mask_of(found, "images/2.png") == square(2)).all()


def test_brushes_are_masks_with_holes(root: Path):
    mask = square(255)
    mask[10:14, 12:15] = 0
    channels = np.repeat(mask[:, :, None], 4, axis=2).ravel()
    brush = result("brushlabels", format="rle", rle=encode_brush(channels))
    write_json(root / "export.json", [task("0.png"), task("1.png", brush)])
    assert (mask_of(find("label_studio", root), "1.png") == mask // 255).all()
    brush["value"]["rle"] = brush["value"]["rle"][:-9]
    write_json(root / "export.json", [task("0.png"), task("1.png", brush)])
    check_refused("label_studio", root, "the run lengths end too early")


def test_rectangles_ellipses_and_choices(root: Path):
    x, y = POINTS[0]
    size = {"width": 100 * 10 / WIDTH, "height": 100 * 10 / HEIGHT}
    rectangle = result("rectanglelabels", x=x, y=y, rotation=0, **size)
    ellipse = result("ellipselabels", x=50, y=50, radiusX=25, radiusY=10, rotation=0)
    choice = result("choices", label="good")
    choice["value"] = {"choices": ["good"]}
    tasks = [task("0.png", choice), task("1.png", rectangle), task("images/2.png", ellipse)]
    write_json(root / "export.json", tasks)
    found = find("label_studio", root)
    assert labels(found) == {"0.png": "good", "1.png": "crack", "images/2.png": "crack"}
    assert mask_of(found, "1.png") is None
    ellipse_mask = mask_of(found, "images/2.png")
    assert ellipse_mask is not None
    assert ellipse_mask.sum() == pytest.approx(np.pi * 12 * 3.2, rel=0.03)
    weak = find("label_studio", root, boxes_as_masks=True)
    assert (mask_of(weak, "1.png") == square()).all()


def test_tasks_that_nobody_has_finished_are_not_good(root: Path):
    tasks = [task("0.png", annotations=[]), task("1.png", result())]
    write_json(root / "export.json", tasks)
    check_refused("label_studio", root, "1 of 2 images have no annotation: 0.png")
    assert labels(find("label_studio", root, unannotated="good"))["0.png"] == "good"


def two(**changed: Any) -> list[dict[str, Any]]:
    """The annotations of two people."""
    return [*task("1.png", result())["annotations"], {"id": 2, "result": [], **changed}]


def test_of_several_annotations_the_ground_truth_counts(root: Path):
    tasks = [task("0.png"), task("1.png", annotations=two())]
    write_json(root / "export.json", tasks)
    check_refused("label_studio", root, "expected one annotation, found 2", "ground truth")
    tasks[1] = task("1.png", annotations=two(ground_truth=True))
    tasks[0] = task("0.png", result())
    write_json(root / "export.json", tasks)
    assert labels(find("label_studio", root))["1.png"] == "good"


TURNED = {**result(), "image_rotation": 90}
BARE = {**result(), "type": "polygon", "id": "b"}
LONG = [*encode_brush(np.full(WIDTH * HEIGHT * 4 + 1, 255)), 255]
HUGE = {**result("brushlabels", format="rle", rle=LONG), "original_width": 10**6}
FAULTS = [
    (task("1.png", result("brushlabels", format="rle", rle=LONG)), "48x32, found 6145"),
    (task("1.png", {**HUGE, "original_height": 10**6}), "found 1000000x1000000 pixels"),
    (task("1.png", {**result(), "type": "bitmasklabels"}), "type: expected one of polygonlabels"),
    (task("1.png", result(), BARE), "annotations[0].result[1]: expected an area with a label"),
    (task("1.png", result(points=[])), "points: expected a list of points x, y"),
    (task("1.png", TURNED), "the image was turned while"),
    (task("1.png", result(points=[[500, 1], [2, 3], [4, 5]])), "expected coordinates in percent"),
    (task("1.png", result(points=[[0.5, 0.1], [0.2, 0.3], [0.4, 0.5]])), "none above 0.5"),
    (task("1.png", {**result(), "original_width": 96}), "annotated at 96x32, but 1.png is 48x32"),
    (task("1.png", {**result(), "value": {"points": POINTS}}), "a value named polygonlabels"),
    ({"image": "1.png", "label": []}, "not as JSON-MIN"),
    (task("0.png", result()), "0.png: expected one annotation of each image"),
]


@pytest.mark.parametrize(("written", "expected"), FAULTS, ids=[text for _, text in FAULTS])
def test_faults_are_refused(root: Path, written: dict[str, Any], expected: str):
    path = write_json(root / "export.json", [task("0.png"), written])
    check_refused("label_studio", root, "export.json", expected, annotations=path)


def test_areas_and_their_labels_may_be_two_results(root: Path):
    area = {**result(), "type": "polygon", "value": {"points": POINTS}}
    label = {**result(), "type": "labels", "value": {"points": POINTS, "labels": ["crack"]}}
    write_json(root / "export.json", [task("0.png"), task("1.png", area, label)])
    found = find("label_studio", root)
    assert (mask_of(found, "1.png") == square()).all()
    assert found.warnings == ()
