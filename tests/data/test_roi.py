"""Finding the part, and the geometry of the box around it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from capsule_inspection.contracts import ConfigurationError
from capsule_inspection.data.reading import read_image, read_mask
from capsule_inspection.data.roi import (
    Box,
    crop_box,
    explicit_box,
    find_box,
    find_foreground,
    fit_aspect,
)
from capsule_inspection.synthesis.scene import draw_good


def background(*, level: int = 210, size_px: int = 160, noise: float = 2.0) -> np.ndarray:
    random = np.random.default_rng(0)
    image = random.normal(level, noise, (size_px, size_px, 3))
    image += np.linspace(-10, 10, size_px)[:, None, None]
    return np.clip(image, 0, 255).astype(np.uint8)


def with_ellipse(
    image: np.ndarray, *, centre: tuple[int, int], colour: tuple[int, int, int]
) -> np.ndarray:
    image = image.copy()
    cv2.ellipse(image, centre, (50, 22), 0, 0, 360, colour, -1)
    return image


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("seed", range(4))
def test_foreground_of_a_drawn_capsule_is_the_drawn_outline(seed: int) -> None:
    scene = draw_good(np.random.default_rng(seed), size_px=256)
    found = find_foreground(scene.image)
    assert found is not None
    assert found.dtype == np.uint8
    assert overlap(found, scene.foreground) > 0.93


@pytest.mark.parametrize("colour", [(20, 20, 25), (200, 90, 60), (60, 90, 200), (250, 240, 120)])
def test_foreground_does_not_depend_on_one_colour(colour: tuple[int, int, int]) -> None:
    expected = with_ellipse(np.zeros((160, 160, 3), np.uint8), centre=(80, 80), colour=(1, 1, 1))
    found = find_foreground(with_ellipse(background(), centre=(80, 80), colour=colour))
    assert found is not None
    assert overlap(found, expected[..., 0]) > 0.95


def test_light_part_on_a_dark_background_is_found() -> None:
    image = with_ellipse(background(level=40), centre=(80, 80), colour=(235, 230, 225))
    assert find_foreground(image) is not None


def test_holes_in_the_part_are_filled() -> None:
    image = with_ellipse(background(), centre=(80, 80), colour=(30, 30, 30))
    cv2.circle(image, (80, 80), 8, (212, 212, 212), -1)
    found = find_foreground(image)
    assert found is not None
    assert found[80, 80] == 1


def test_dust_and_hairs_are_not_part_of_the_box() -> None:
    image = with_ellipse(background(), centre=(80, 80), colour=(30, 30, 30))
    cv2.line(image, (2, 20), (30, 25), (120, 120, 120), 1)
    cv2.circle(image, (150, 150), 1, (60, 60, 60), -1)
    box = find_box(image, margin=0.0)
    assert box is not None
    assert np.allclose(box, (30, 58, 131, 103), atol=3)


def test_margin_is_a_share_of_the_longer_side() -> None:
    image = with_ellipse(background(), centre=(80, 80), colour=(30, 30, 30))
    tight, wide = find_box(image, margin=0.0), find_box(image, margin=0.1)
    assert tight is not None
    assert wide is not None
    assert np.allclose(np.subtract(tight, wide), np.array([1, 1, -1, -1]) * 0.1 * 101, atol=0.5)


def carpet() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)


def overfilled() -> np.ndarray:
    image = background()
    image[:, 10:] = 30
    image[:4] = 30
    image[-4:] = 30
    return image


def two_parts() -> np.ndarray:
    image = with_ellipse(background(), centre=(80, 40), colour=(30, 30, 30))
    return with_ellipse(image, centre=(80, 120), colour=(30, 30, 30))


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(carpet(), id="texture"),
        pytest.param(background(), id="empty"),
        pytest.param(np.full((64, 64, 3), 128, np.uint8), id="one colour"),
        pytest.param(overfilled(), id="touches all borders"),
        pytest.param(two_parts(), id="two parts"),
        pytest.param(np.zeros((9, 300, 3), np.uint8), id="tiny"),
    ],
)
def test_nothing_is_found_where_there_is_no_single_part(image: np.ndarray) -> None:
    assert find_foreground(image) is None
    assert find_box(image, margin=0.1) is None


def test_box_grows_to_the_aspect_around_its_centre() -> None:
    box = fit_aspect(Box(300, 300, 500, 400), size=(800, 800), image_size=(100, 100))
    assert box == (300, 250, 500, 450)


def test_box_is_shifted_into_the_image_where_it_fits() -> None:
    box = fit_aspect(Box(10, 0, 210, 100), size=(800, 800), image_size=(100, 100))
    assert box == (10, 0, 210, 200)


def test_box_larger_than_the_image_reaches_beyond_it_on_both_sides() -> None:
    box = fit_aspect(Box(0, 0, 100, 100), size=(100, 100), image_size=(50, 150))
    assert box == (-100, 0, 200, 100)


@pytest.mark.parametrize("seed", range(50))
def test_fitted_box_has_the_aspect_and_holds_the_part(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = random.integers(20, 900, 2)
    x0, y0 = random.uniform(-5, size[1] - 6), random.uniform(-5, size[0] - 6)
    box = Box(x0, y0, x0 + random.uniform(2, size[1]), y0 + random.uniform(2, size[0]))
    image_size = (int(random.integers(16, 600)), int(random.integers(16, 600)))
    fitted = fit_aspect(box, size=(int(size[0]), int(size[1])), image_size=image_size)
    width, height = fitted.x1 - fitted.x0, fitted.y1 - fitted.y0
    assert abs(width - height * image_size[1] / image_size[0]) <= 1 + image_size[1] / image_size[0]
    inside = Box(max(box.x0, 0), max(box.y0, 0), min(box.x1, size[1]), min(box.y1, size[0]))
    assert fitted.x0 <= inside.x0 + 1.5
    assert fitted.y0 <= inside.y0 + 1.5
    assert fitted.x1 >= inside.x1 - 1.5
    assert fitted.y1 >= inside.y1 - 1.5


def test_roi_none_takes_the_whole_image_and_counts_as_found() -> None:
    crop = crop_box((60, 90), roi="none", image_size=(40, 60), margin=0.1, foreground=None)
    assert crop == ((0, 0, 90, 60), True)


def test_roi_auto_without_a_part_takes_the_whole_image_and_says_so() -> None:
    crop = crop_box((60, 90), roi="auto", image_size=(40, 60), margin=0.1, foreground=None)
    assert crop == ((0, 0, 90, 60), False)


def test_explicit_box_is_used_as_it_is_where_the_aspect_fits() -> None:
    crop = crop_box(
        (60, 90), roi=[10, 20, 40, 40], image_size=(40, 60), margin=0.1, foreground=None
    )
    assert crop == ((10, 20, 40, 40), True)


def test_a_small_box_grows_to_the_target_where_nothing_may_be_enlarged() -> None:
    foreground = np.zeros((400, 600), np.uint8)
    foreground[180:220, 100:200] = 1
    settings = {"roi": "auto", "image_size": (96, 224), "margin": 0.05, "foreground": foreground}
    crop = crop_box((400, 600), **settings, enlarge=False)  # type: ignore[arg-type]
    assert crop == ((38, 152, 262, 248), True)
    enlarged = crop_box((400, 600), **settings)  # type: ignore[arg-type]
    assert enlarged.box.x1 - enlarged.box.x0 < 224


def test_a_box_larger_than_the_target_is_shrunk_even_where_nothing_may_be_enlarged() -> None:
    settings = {"roi": "none", "image_size": (40, 60), "margin": 0.1, "foreground": None}
    same = crop_box((400, 600), **settings, enlarge=False)  # type: ignore[arg-type]
    assert same == crop_box((400, 600), **settings)  # type: ignore[arg-type]
    assert same == ((0, 0, 600, 400), True)


@pytest.mark.parametrize("seed", range(30))
def test_without_enlarging_the_box_has_the_targets_very_size_and_holds_the_part(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(40, 900, 2))
    top, left = int(random.integers(height - 20)), int(random.integers(width - 20))
    foreground = np.zeros((height, width), np.uint8)
    foreground[top : top + 20, left : left + 20] = 1
    target = (32 * int(random.integers(1, 12)), 32 * int(random.integers(1, 12)))
    crop = crop_box(
        (height, width),
        roi="auto",
        image_size=target,
        margin=0.05,
        foreground=foreground,
        enlarge=False,
    )
    assert (crop.box.y1 - crop.box.y0, crop.box.x1 - crop.box.x0) == target
    assert crop.box.x0 <= left
    assert crop.box.y0 <= top
    assert crop.box.x1 >= left + 20
    assert crop.box.y1 >= top + 20


@pytest.mark.parametrize(
    "roi", ["outo", [0, 0, 10], [5, 0, 5, 10], [0, 9, 10, 3], [0, 0, float("nan"), 4]]
)
def test_impossible_roi_is_refused_by_its_key(roi: str | list[float]) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.roi"):
        explicit_box(roi)


@pytest.mark.parametrize("roi", [[-1, 0, 10, 10], [0, 0, 91, 10], [0, 0, 10, 61]])
def test_roi_outside_of_the_image_is_refused_with_the_images_size(roi: list[float]) -> None:
    with pytest.raises(ConfigurationError, match=r"data\.roi.*width 90 and height 60"):
        crop_box((60, 90), roi=roi, image_size=(40, 60), margin=0.1, foreground=None)


def assert_box_holds_capsule_and_mask(path: Path) -> None:
    image = read_image(path)
    box = find_box(image, margin=0.05)
    assert box is not None, path
    assert 680 < box.x1 - box.x0 < 800, path
    assert 230 < box.y1 - box.y0 < 400, path
    if path.parent.name != "good":
        masks = path.parents[2] / "ground_truth" / path.parent.name
        mask = read_mask(masks / f"{path.stem}_mask.png", expected_size=image.shape[:2], label=1)
        rows, columns = np.nonzero(mask)
        assert box.x0 <= columns.min(), path
        assert columns.max() < box.x1, path
        assert box.y0 <= rows.min(), path
        assert rows.max() < box.y1, path


def test_capsule_is_found_in_some_real_photographs(real_capsules: Path) -> None:
    for path in sorted(real_capsules.glob("t*/*/*.jpg"))[::22]:
        assert_box_holds_capsule_and_mask(path)


@pytest.mark.slow
def test_capsule_is_found_in_every_real_photograph(real_capsules: Path) -> None:
    paths = sorted(real_capsules.glob("t*/*/*.jpg"))
    assert len(paths) == 262
    for path in paths:
        assert_box_holds_capsule_and_mask(path)
