"""Painted defects change what their mask says, on drawn capsules and on other images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.synthesis.defects import DEFECTS, paint
from capsule_inspection.synthesis.scene import Scene, draw_good

SIZE_PX = 400


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_good(np.random.default_rng(8), size_px=SIZE_PX)


def test_kinds_are_those_of_the_real_data() -> None:
    assert DEFECTS == ("crack", "faulty_imprint", "poke", "scratch", "squeeze")


@pytest.mark.parametrize("kind", DEFECTS)
def test_same_seed_paints_the_same_bytes(kind: str, scene: Scene) -> None:
    first, second = (
        paint(scene.image, scene.foreground, kind, np.random.default_rng(3)) for _ in range(2)
    )
    assert first.image.tobytes() == second.image.tobytes()
    assert first.mask.tobytes() == second.mask.tobytes()


@pytest.mark.parametrize("kind", DEFECTS)
def test_image_changes_within_the_mask_only(kind: str, scene: Scene) -> None:
    before = scene.image.copy()
    for seed in range(6):
        painted = paint(scene.image, scene.foreground, kind, np.random.default_rng(seed))
        changed = (painted.image != scene.image).any(axis=2)
        assert not changed[painted.mask == 0].any()
        # Masks are drawn as by hand: around faint specks, most of what they enclose is unchanged.
        assert changed[painted.mask == 1].mean() > 0.2
    assert np.array_equal(scene.image, before)


# Areas of 1000 x 1000 pixels, wider than what was counted in real masks.
@pytest.mark.parametrize(
    ("kind", "smallest", "largest"),
    [
        ("crack", 150, 12_000),
        ("faulty_imprint", 300, 50_000),
        ("poke", 150, 14_000),
        ("scratch", 300, 20_000),
        ("squeeze", 800, 120_000),
    ],
)
def test_areas_are_plausible(kind: str, smallest: int, largest: int, scene: Scene) -> None:
    scale = (1000 / SIZE_PX) ** 2
    for seed in range(12):
        painted = paint(scene.image, scene.foreground, kind, np.random.default_rng(seed))
        assert painted.mask.dtype == np.uint8
        assert smallest < painted.mask.sum() * scale < largest, seed


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("turned", [False, True])
def test_any_size_aspect_and_direction_is_painted(kind: str, turned: bool) -> None:
    drawn = draw_good(np.random.default_rng(1), size_px=300)
    rows = slice(80, 230)
    image, foreground = drawn.image[rows], drawn.foreground[rows]
    if turned:
        image, foreground = image.transpose(1, 0, 2), foreground.T
    painted = paint(image, foreground, kind, np.random.default_rng(0))
    assert painted.image.shape == image.shape
    assert painted.mask.shape == foreground.shape
    assert painted.mask.any()


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_plain_shape_without_print_is_painted_too(kind: str) -> None:
    image = np.full((120, 200, 3), 200, np.uint8)
    image[40:80, 30:170] = (60, 90, 140)
    foreground = np.zeros((120, 200), np.uint8)
    foreground[40:80, 30:170] = 255
    painted = paint(image, foreground, kind, np.random.default_rng(2))
    assert painted.mask.any()


@pytest.mark.parametrize("kind", DEFECTS)
def test_masks_are_drawn_around_what_belongs_together(kind: str, scene: Scene) -> None:
    parts = []
    for seed in range(12):
        mask = paint(scene.image, scene.foreground, kind, np.random.default_rng(seed)).mask
        parts.append(cv2.connectedComponents(mask)[0] - 1)
    assert max(parts) <= 5
    assert np.median(parts) == 1


def test_a_dent_is_marked_on_the_old_outline_too(scene: Scene) -> None:
    inner = cv2.erode(scene.foreground, np.ones((9, 9), np.uint8))
    for seed in range(6):
        painted = paint(scene.image, scene.foreground, "squeeze", np.random.default_rng(seed))
        assert (painted.mask & (inner == 0)).any(), seed


def test_defects_lie_on_or_at_the_capsule(scene: Scene) -> None:
    for seed, kind in enumerate(DEFECTS):
        painted = paint(scene.image, scene.foreground, kind, np.random.default_rng(seed))
        assert (painted.mask & scene.foreground).any()


def test_defects_scale_with_the_foreground() -> None:
    areas = []
    for size_px in (200, 400):
        drawn = draw_good(np.random.default_rng(1), size_px=size_px)
        rngs = [np.random.default_rng(seed) for seed in range(15)]
        masks = [paint(drawn.image, drawn.foreground, "poke", rng).mask for rng in rngs]
        areas.append(np.median([mask.mean() for mask in masks]))
    assert 0.4 < areas[0] / areas[1] < 2.5


@pytest.mark.parametrize("kind", DEFECTS)
def test_empty_foreground_is_an_error(kind: str, scene: Scene) -> None:
    with pytest.raises(DataError, match="foreground is empty"):
        paint(scene.image, np.zeros_like(scene.foreground), kind, np.random.default_rng(0))


def test_foreground_of_another_size_is_an_error(scene: Scene) -> None:
    with pytest.raises(DataError, match="foreground is 100x100, its image is 400x400"):
        paint(scene.image, np.ones((100, 100), np.uint8), "poke", np.random.default_rng(0))


def test_unknown_kind_names_the_known_ones(scene: Scene) -> None:
    with pytest.raises(ValueError, match="expected one of crack, faulty_imprint"):
        paint(scene.image, scene.foreground, "melted", np.random.default_rng(0))
