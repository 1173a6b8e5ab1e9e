from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotation_files import (
    HEIGHT,
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

POINTS = "10,8;20,8;20,18;10,18"
META = (
    "<version>1.1</version><meta><job><labels><label><name>crack</name></label><label>"
    "<name>poke</name></label><label><name>good</name></label></labels></job></meta>"
)


def polygon(label: str = "crack", points: str = POINTS, z: int = 0) -> str:
    return f'<polygon label="{label}" points="{points}" z_order="{z}" occluded="0"></polygon>'


def mask(pixels: np.ndarray, left: int, top: int) -> str:
    """A mask as CVAT writes it: run lengths row by row, background first."""
    flat = pixels.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    counts = np.diff([0, *edges, flat.size])
    height, width = pixels.shape
    return (
        f'<mask label="crack" rle="{", ".join(map(str, counts))}" left="{left}" top="{top}" '
        f'width="{width}" height="{height}" z_order="0"/>'
    )


def write(root: Path, *images: str, meta: str = META) -> Path:
    """An annotations.xml whose images 0.png, 1.png, ... have this content."""
    elements = "".join(
        f'<image id="{key}" name="{key}.png" width="{WIDTH}" height="{HEIGHT}">{content}</image>'
        for key, content in enumerate(images)
    )
    return write_text(root / "annotations.xml", f"<annotations>{meta}{elements}</annotations>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_parts(tmp_path / "parts", "images/0.png", "images/1.png")
    return tmp_path / "parts"


def test_polygons_become_masks_and_images_without_are_good(root: Path):
    write(root, "", polygon())
    found = find("cvat", root)
    assert labels(found) == {"images/0.png": "good", "images/1.png": "crack"}
    assert (mask_of(found, "images/1.png") == square()).all()
    assert found.layout == "CVAT (annotations.xml; 1 image without annotations taken as good)"


def test_masks_go_row_by_row_through_their_box(root: Path):
    pixels = np.random.default_rng(0).random((7, 11)) > 0.5
    hole = np.ones((6, 5), bool)
    hole[2:4, 2:4] = False
    write(root, mask(pixels, 4, 9), mask(hole, 30, 20))
    found = find("cvat", root)
    expected = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    expected[0, 9:16, 4:15] = pixels
    expected[1, 20:26, 30:35] = hole
    for key in range(2):
        assert (mask_of(found, f"images/{key}.png") == expected[key]).all()


def test_higher_layers_lie_on_top_and_those_of_the_good_class_make_holes(root: Path):
    inner = "12,10;16,10;16,14;12,14"
    write(root, polygon() + polygon("poke", inner, z=-1), polygon("good", inner, z=1) + polygon())
    found = find("cvat", root)
    assert (mask_of(found, "images/0.png") == square()).all()
    expected = square()
    expected[10:14, 12:16] = 0
    assert (mask_of(found, "images/1.png") == expected).all()


def test_the_outline_of_a_good_part_does_not_hide_its_defect(root: Path):
    write(root, "", polygon() + polygon("good", "2,2;46,2;46,30;2,30"))
    assert (mask_of(find("cvat", root), "images/1.png") == square()).all()


def test_boxes_lines_ellipses_and_tags(root: Path):
    box = '<box label="poke" xtl="30" ytl="20" xbr="34" ybr="24" z_order="0"/>'
    ellipse = '<ellipse label="crack" cx="20" cy="16" rx="8" ry="4" rotation="90"/>'
    write_parts(root, "images/2.png")
    write(root, '<tag label="poke"/>', ellipse + box, "")
    found = find("cvat", root)
    assert list(labels(found).values()) == ["poke", "crack", "good"]
    assert mask_of(found, "images/0.png") is None
    drawn = mask_of(found, "images/1.png")
    assert drawn is not None
    assert (drawn[20:24, 30:34] == IGNORE_INDEX).all()
    rows, columns = np.nonzero(drawn == 1)
    assert np.ptp(rows) > np.ptp(columns)
    line = '<polyline label="crack" points="5,5;40,25"/>'
    turned = '<box label="poke" xtl="10" ytl="14" xbr="30" ybr="18" rotation="90"/>'
    write(root, turned, line, "")
    weak = mask_of(find("cvat", root, boxes_as_masks=True), "images/0.png")
    assert weak is not None
    rows, columns = np.nonzero(weak)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 25, 18, 21)


def test_subsets_are_splits(tmp_path: Path):
    root = tmp_path / "parts"
    write_parts(root, "images/Train/0.png", "images/Validation/0.png")
    images = "".join(
        f'<image id="{key}" name="0.png" subset="{subset}" width="48" height="32">'
        f"{polygon()}</image>"
        for key, subset in enumerate(("Train", "Validation"))
    )
    write_text(root / "annotations.xml", f"<annotations>{META}{images}</annotations>")
    splits = {sample.path: sample.split for sample in find("cvat", root).samples}
    assert splits == {"images/Train/0.png": "train", "images/Validation/0.png": "val"}


FAULTS = [
    (polygon("dent"), "annotations.xml: 1.png: the label dent is not among"),
    (polygon(points="1,2;3"), "points of <polygon>: expected a list of points x, y"),
    (polygon(points="1,2;3,x;5,6"), 'expected a number, found "x"'),
    (mask(np.ones((4, 4)), 46, 2), "reaches out of the image of 48x32"),
    (mask(np.ones((4, 4)), 6, 2).replace("0, 16", "0, 15"), "expected run lengths of 16 pixels"),
    (
        '<mask label="crack" rle="0,4" left="1" top="1" width="-2" height="-2"/>',
        "expected run lengths of 4 pixels",
    ),
    (
        f'<mask label="crack" rle="0,{10**12}" left="0" top="0" width="{10**6}" height="{10**6}"/>',
        "expected the size of its image, found 1000000x1000000",
    ),
    ("<polygon/>", "expected the attribute label of <polygon>"),
    ('<cloud label="crack"/>', "found <cloud>"),
    ('<box label="crack" xtl="9" ytl="2" xbr="3" ybr="4"/>', "expected xtl <= xbr"),
    ('<tag label="good"/>' + polygon(), "the image is labelled good, but shows crack"),
]


@pytest.mark.parametrize(("content", "expected"), FAULTS, ids=[text for _, text in FAULTS])
def test_faults_are_refused(root: Path, content: str, expected: str):
    write(root, "", content)
    check_refused("cvat", root, "annotations.xml: 1.png", expected)


def test_files_of_other_kinds_are_refused(root: Path):
    write(root, meta=META + '<track id="0" label="crack"/>')
    check_refused("cvat", root, "<track>", "CVAT for images 1.1")
    write_text(root / "annotations.xml", "<annotation/>")
    check_refused("cvat", root, "found 1 other files of .xml")
    path = write(root, "").rename(root / "big.xml")
    path.write_text(path.read_text().replace('width="48"', 'width="96"'))
    check_refused("cvat", root, "annotated at 96x32, but images/0.png is 48x32")
