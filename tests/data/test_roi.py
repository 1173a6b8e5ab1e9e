"""Finding the part, and the geometry of the box around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capsule_inspection.data.image_io import decode_mask, read_content, read_image
from capsule_inspection.data.masks.rules import MaskRules, compile_rules
from capsule_inspection.data.roi import (
    Box,
    Crop,
    box_around,
    crop_box,
    find_foreground,
    fit_aspect,
)
from capsule_inspection.data.roi import find_foreground as find
from capsule_inspection.synthetic.scene import render_capsule
from capsule_inspection.types import ConfigurationError


def find_box(image: np.ndarray, *, margin: float) -> Box | None:
    foreground = find_foreground(image)
    return None if foreground is None else box_around(foreground, margin=margin)


def background(*, level: int = 210, size_px: int = 160) -> np.ndarray:
    image = np.random.default_rng(0).normal(level, 2.0, (size_px, size_px, 3))
    image += np.linspace(-10, 10, size_px)[:, None, None]
    return np.clip(image, 0, 255).astype(np.uint8)


def with_ellipse(
    image: np.ndarray, *, y: int = 80, colour: tuple[int, int, int] = (30, 30, 30)
) -> np.ndarray:
    image = image.copy()
    cv2.ellipse(image, (80, y), (50, 22), 0, 0, 360, colour, -1)
    return image


def assert_found(image: np.ndarray, expected: np.ndarray, overlap: float) -> None:
    found = find(image)
    assert found is not None
    assert found.dtype == np.uint8
    assert float((found & expected).sum() / (found | expected).sum()) > overlap


def test_foreground_of_a_drawn_capsule_is_the_drawn_outline() -> None:
    for seed in range(4):
        scene = render_capsule(np.random.default_rng(seed), size_px=256)
        assert_found(scene.image, scene.foreground, 0.93)


def test_foreground_does_not_depend_on_one_colour() -> None:
    expected = with_ellipse(np.zeros((160, 160, 3), np.uint8), colour=(1, 1, 1))[..., 0]
    for colour in ((20, 20, 25), (200, 90, 60), (60, 90, 200), (250, 240, 120)):
        assert_found(with_ellipse(background(), colour=colour), expected, 0.95)
    assert_found(with_ellipse(background(level=40), colour=(235, 230, 225)), expected, 0.95)


def test_holes_in_the_part_are_filled_and_dust_and_hairs_are_not_of_the_box() -> None:
    image = with_ellipse(background())
    tight, wide = find_box(image, margin=0.0), find_box(image, margin=0.1)
    assert tight is not None
    assert wide is not None
    # The margin is a share of the longer side.
    assert np.allclose(np.subtract(tight, wide), np.array([1, 1, -1, -1]) * 0.1 * 101, atol=0.5)
    cv2.circle(image, (80, 80), 8, (212, 212, 212), -1)
    cv2.line(image, (2, 20), (30, 25), (120, 120, 120), 1)
    cv2.circle(image, (150, 150), 1, (60, 60, 60), -1)
    found, box = find(image), find_box(image, margin=0.0)
    assert found is not None
    assert found[80, 80] == 1
    assert box is not None
    assert np.allclose(box, (30, 58, 131, 103), atol=3)


def overfilled() -> np.ndarray:
    image = background()
    image[:, 10:] = image[:4] = image[-4:] = 30
    return image


NO_PART = {
    "texture": np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8),
    "empty": background(),
    "one colour": np.full((64, 64, 3), 128, np.uint8),
    "touches all borders": overfilled(),
    "two parts": with_ellipse(with_ellipse(background(), y=40), y=120),
    "tiny": np.zeros((9, 300, 3), np.uint8),
}


@pytest.mark.parametrize("image", NO_PART.values(), ids=NO_PART)
def test_nothing_is_found_where_there_is_no_single_part(image: np.ndarray) -> None:
    assert find(image) is None
    assert find_box(image, margin=0.1) is None


def test_a_box_grows_around_its_centre_and_stays_in_the_image_where_it_fits() -> None:
    square = {"size": (800, 800), "image_size": (100, 100)}
    assert fit_aspect(Box(300, 300, 500, 400), **square) == (300, 250, 500, 450)
    assert fit_aspect(Box(10, 0, 210, 100), **square) == (10, 0, 210, 200)
    beyond = fit_aspect(Box(0, 0, 100, 100), size=(100, 100), image_size=(50, 150))
    assert beyond == (-100, 0, 200, 100)


def test_fitted_box_has_the_aspect_and_holds_the_part() -> None:
    for seed in range(50):
        random = np.random.default_rng(seed)
        size = random.integers(20, 900, 2)
        x0, y0 = random.uniform(-5, size[1] - 6), random.uniform(-5, size[0] - 6)
        box = Box(x0, y0, x0 + random.uniform(2, size[1]), y0 + random.uniform(2, size[0]))
        target = (int(random.integers(16, 600)), int(random.integers(16, 600)))
        fitted = fit_aspect(box, size=(int(size[0]), int(size[1])), image_size=target)
        width, height = fitted.x1 - fitted.x0, fitted.y1 - fitted.y0
        aspect = target[1] / target[0]
        assert abs(width - height * aspect) <= 1 + aspect, seed
        assert fitted.x0 <= max(box.x0, 0) + 1.5, seed
        assert fitted.y0 <= max(box.y0, 0) + 1.5, seed
        assert fitted.x1 >= min(box.x1, size[1]) - 1.5, seed
        assert fitted.y1 >= min(box.y1, size[0]) - 1.5, seed


def cropped(roi: Any, *, size: tuple[int, int] = (60, 90), part: Any = None, **other: Any) -> Crop:
    """The crop of an image of `size` with a part in these rows and columns, if any."""
    foreground = None if part is None else np.zeros(size, np.uint8)
    if foreground is not None:
        foreground[part] = 1
    usual: dict = {"image_size": (40, 60), "margin": 0.05, "foreground": foreground}
    return crop_box(size, roi=roi, **(usual | other))


def test_the_crop_is_the_box_or_the_whole_image_and_tells_whether_a_part_was_found() -> None:
    assert cropped("none") == ((0, 0, 90, 60), True)
    assert cropped("auto") == ((0, 0, 90, 60), False)
    assert cropped([10, 20, 40, 40]) == ((10, 20, 40, 40), True)
    # A small box grows to the target where nothing may be enlarged, and a larger one shrinks.
    small: dict = {"size": (400, 600), "image_size": (96, 224), "part": np.s_[180:220, 100:200]}
    assert cropped("auto", **small, enlarge=False) == ((38, 152, 262, 248), True)
    enlarged = cropped("auto", **small).box
    assert enlarged.x1 - enlarged.x0 < 224
    for enlarge in (True, False):
        assert cropped("none", size=(400, 600), enlarge=enlarge) == ((0, 0, 600, 400), True)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.data())
def test_without_enlarging_the_box_has_the_targets_very_size_and_holds_the_part(
    data: st.DataObject,
) -> None:
    height, width = data.draw(st.integers(40, 899)), data.draw(st.integers(40, 899))
    top, left = data.draw(st.integers(0, height - 21)), data.draw(st.integers(0, width - 21))
    target = (32 * data.draw(st.integers(1, 11)), 32 * data.draw(st.integers(1, 11)))
    part = np.s_[top : top + 20, left : left + 20]
    box = cropped("auto", size=(height, width), image_size=target, part=part, enlarge=False).box
    assert (box.y1 - box.y0, box.x1 - box.x0) == target
    assert box.x0 <= left
    assert box.y0 <= top
    assert box.x1 >= left + 20
    assert box.y1 >= top + 20


def test_a_roi_outside_of_the_image_is_refused_with_the_images_size() -> None:
    for roi in ([-1, 0, 10, 10], [0, -1, 9, 9], [0, 0, 91, 10], [0, 0, 10, 61]):
        with pytest.raises(ConfigurationError, match=r"data\.roi.*width 90 and height 60"):
            cropped(roi)


@pytest.mark.parametrize("step", [22, pytest.param(1, marks=pytest.mark.slow)])
def test_capsule_and_mask_are_found_in_real_images(real_capsules: Path, step: int) -> None:
    paths = sorted(real_capsules.glob("t*/*/*.jpg"))
    assert len(paths) == 262
    for path in paths[::step]:
        image = read_image(path).pixels
        box = find_box(image, margin=0.05)
        assert box is not None, path
        assert 680 < box.x1 - box.x0 < 800, path
        assert 230 < box.y1 - box.y0 < 400, path
        if path.parent.name != "good":
            name = real_capsules / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
            code = compile_rules(MaskRules(), ("good", "crack"), real_capsules)
            rows, columns = np.nonzero(decode_mask(read_content(name), name, code=code).pixels)
            assert box.x0 <= columns.min(), path
            assert columns.max() < box.x1, path
            assert box.y0 <= rows.min(), path
            assert rows.max() < box.y1, path
