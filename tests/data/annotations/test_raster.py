from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from capsule_inspection.data.annotations.raster import (
    check_place,
    ellipse_polygon,
    encode,
    encode_part,
    from_counts,
    line_polygons,
    parse_counts,
    rasterise,
)
from capsule_inspection.data.annotations.shapes import Shape
from capsule_inspection.types import DataError

SQUARE = (2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0)


def library_mask(segmentation: object) -> np.ndarray:
    """What pycocotools makes of an annotation of an image of 12x10 pixels."""
    coco = COCO()
    coco.dataset = {"images": [{"id": 1, "width": 12, "height": 10}]}
    coco.imgs = {1: coco.dataset["images"][0]}
    return coco.annToMask({"image_id": 1, "segmentation": segmentation})


def drawn(*polygons: tuple[float, ...], **changed: bool) -> np.ndarray:
    return rasterise(Shape("crack", polygons, **changed), 10, 12)


def test_a_square_covers_the_pixels_between_its_edges():
    expected = np.zeros((10, 12), bool)
    expected[3:8, 2:6] = True
    assert (drawn(SQUARE) == expected).all()


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_fractions_give_the_same_pixels(shift: float):
    corners = tuple(value + shift for value in SQUARE)
    fractions = tuple(round(value / (12, 10)[place % 2], 6) for place, value in enumerate(corners))
    assert (drawn(fractions, is_relative=True) == drawn(corners)).all()


def test_a_polygon_with_a_bridge_to_its_hole_leaves_the_hole_free():
    outline = (1.0, 1, 9, 1, 9, 9, 1, 9, 1, 1, 3, 3, 3, 6, 6, 6, 6, 3, 3, 3)
    expected = np.zeros((10, 12), bool)
    expected[1:9, 1:9] = True
    expected[3:6, 3:6] = False
    assert (drawn(outline) == expected).all()


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5, 0.7])
def test_polygons_are_those_of_pycocotools(shift: float):
    parts = [
        [1 + shift, 1, 5, 1 + shift, 4, 7, 2, 9],
        [6 + shift, 2, 11, 3, 9 + shift, 8.5],
        [-3, -2, 2, -1, 1, 2],
    ]
    assert (drawn(*map(tuple, parts)) == library_mask(parts).astype(bool)).all()


def test_run_lengths_are_decoded_as_pycocotools_does():
    mask = np.random.default_rng(0).random((10, 12)) > 0.6
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    counts = parse_counts(code["counts"].decode(), "a")
    whole = Shape("crack", rle=from_counts(counts, [10, 12], "a"))
    assert (rasterise(whole, 10, 12) == mask).all()
    assert (library_mask(code).astype(bool) == mask).all()
    assert (library_mask({"size": [10, 12], "counts": counts}).astype(bool) == mask).all()
    assert (rasterise(Shape("crack", rle=encode(mask)), 10, 12) == mask).all()


@pytest.mark.parametrize(
    ("counts", "size"), [([5, 5], [10, 12]), ([-1, 121], [10, 12]), ([0.5, 119.5], [10, 12])]
)
def test_run_lengths_that_do_not_fit_are_refused(counts: list[float], size: list[int]):
    with pytest.raises(DataError, match=r"a: expected run lengths of 120 pixels .* found"):
        from_counts(counts, size, "a")


@pytest.mark.parametrize("size", [[10**9, 10**9], [2**16, 2**16], [0, 12]])
def test_run_lengths_of_a_size_that_no_image_has_are_refused(size: list[int]):
    with pytest.raises(DataError, match=r"a: expected the size of its image, found \d+x\d+ pixels"):
        from_counts([size[0] * size[1]], size, "a")
    with pytest.raises(DataError, match=r"a: expected the size of its image"):
        encode_part(np.ones((1, 1)), (0, 0), (size[1], size[0]), "a")


@pytest.mark.parametrize("text", ["", "~~", "ä", "oooooooooo"])
def test_damaged_compressed_run_lengths_are_refused(text: str):
    with pytest.raises(DataError, match="a: expected compressed run lengths"):
        parse_counts(text, "a")


def test_a_circle_has_the_area_of_its_radius():
    circle = Shape("crack", ellipse_polygon((50, 50), (20, 20)))
    assert rasterise(circle, 100, 100).sum() == pytest.approx(np.pi * 400, rel=0.01)


def test_an_ellipse_is_turned_clockwise():
    turned = Shape("crack", ellipse_polygon((50, 50), (30, 4), angle_deg=30))
    rows, columns = np.nonzero(rasterise(turned, 100, 100))
    assert rows[columns > 60].mean() > 50  # its right end points down


def test_a_line_has_its_width():
    line = rasterise(Shape("crack", line_polygons([(20, 50), (80, 50)])), 100, 100)
    assert line[:, 50].sum() == 10
    assert line[50].sum() == pytest.approx(70, abs=1)  # with round ends


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape.box("crack", (30, 3, 40, 8)), "lies outside of its image of 12x10"),
        (Shape.box("crack", (-30, -30, 50, 50)), "lies outside of its image"),
        (Shape.box("crack", (0.1, 0.2, 0.7, 0.8)), "look like fractions"),
        (Shape.box("crack", (3, 2, 9, 8), is_relative=True), "expected coordinates from 0"),
        (Shape("crack", rle=encode(np.ones((9, 9)))), "the mask is 9x9, its image is 12x10"),
    ],
)
def test_a_shape_that_does_not_fit_its_image_is_refused(shape: Shape, expected: str):
    with pytest.raises(DataError, match="where: ") as caught:
        check_place(shape, 10, 12, "where")
    assert expected in str(caught.value)


def test_a_shape_that_reaches_beyond_the_edge_is_clipped():
    assert check_place(Shape.box("crack", (8, 3, 16, 8)), 10, 12, "where")
    assert not check_place(Shape.box("crack", (8, 3, 12, 8)), 10, 12, "where")
    assert rasterise(Shape.box("crack", (8, 3, 16, 8)), 10, 12).sum() == 4 * 5
