"""Pasted patches change what their mask says, on capsules and on any other part."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.contracts import DataError
from capsule_inspection.synthesis.defects import Painted
from capsule_inspection.synthesis.patches import paste_patch
from capsule_inspection.synthesis.scene import Scene, draw_good

SEEDS = range(30)


@pytest.fixture(scope="module")
def scenes() -> tuple[Scene, Scene]:
    first, second = (draw_good(np.random.default_rng(seed), size_px=240) for seed in (1, 2))
    return first, second


def paste(scenes: tuple[Scene, Scene], seed: int) -> Painted:
    target, source = scenes
    rng = np.random.default_rng(seed)
    return paste_patch(target.image, target.foreground, source.image, source.foreground, rng)


def plain_part(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of one colour on a plain background, and its foreground."""
    foreground = np.zeros((height, width), np.uint8)
    cv2.ellipse(foreground, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 1, -1)
    image = np.full((height, width, 3), 200, np.uint8)
    image[foreground > 0] = (60, 90, 140)
    return image, foreground


def test_same_seed_pastes_the_same_bytes(scenes: tuple[Scene, Scene]) -> None:
    for seed in SEEDS:
        first, second = paste(scenes, seed), paste(scenes, seed)
        assert first.image.tobytes() == second.image.tobytes()
        assert first.mask.tobytes() == second.mask.tobytes()


def test_seeds_paste_different_patches(scenes: tuple[Scene, Scene]) -> None:
    assert len({paste(scenes, seed).image.tobytes() for seed in SEEDS}) == len(SEEDS)


def test_image_changes_within_the_mask_only(scenes: tuple[Scene, Scene]) -> None:
    before = scenes[0].image.copy()
    for seed in SEEDS:
        painted = paste(scenes, seed)
        changed = (painted.image != before).any(axis=2)
        assert not changed[painted.mask == 0].any()
        assert changed[painted.mask == 1].mean() > 0.5
    assert np.array_equal(scenes[0].image, before)


def test_mask_is_of_the_image_size_and_holds_zeros_and_ones(scenes: tuple[Scene, Scene]) -> None:
    mask = paste(scenes, 0).mask
    assert mask.shape == scenes[0].image.shape[:2]
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def test_what_is_marked_can_be_seen(scenes: tuple[Scene, Scene]) -> None:
    for seed in SEEDS:
        painted = paste(scenes, seed)
        change = cv2.absdiff(painted.image, scenes[0].image).max(axis=2)
        assert (change > 8).sum() >= 5, seed


def test_patches_lie_on_or_at_the_part(scenes: tuple[Scene, Scene]) -> None:
    near = cv2.dilate(scenes[0].foreground, np.ones((9, 9), np.uint8))
    on_part = [(paste(scenes, seed).mask & near).any() for seed in SEEDS]
    assert np.mean(on_part) > 0.9


def test_small_patches_are_more_frequent_than_large_ones(scenes: tuple[Scene, Scene]) -> None:
    extent = np.sqrt(scenes[0].foreground.sum())
    sides = [max(cv2.boundingRect(paste(scenes, seed).mask)[2:]) / extent for seed in range(100)]
    assert min(sides) < 0.12
    assert 0.10 < np.median(sides) < 0.30
    assert 0.35 < max(sides) < 0.9


def test_patches_scale_with_the_part() -> None:
    areas = []
    for size_px in (150, 450):
        pair = [draw_good(np.random.default_rng(seed), size_px=size_px) for seed in (1, 2)]
        areas.append(np.median([paste((pair[0], pair[1]), seed).mask.mean() for seed in SEEDS]))
    assert 0.4 < areas[0] / areas[1] < 2.5


@pytest.mark.parametrize(
    "size", [(32, 32), (33, 700), (64, 64), (64, 400), (400, 64), (160, 448), (1000, 1000)]
)
def test_any_size_and_any_part_is_pasted_on(size: tuple[int, int]) -> None:
    image, foreground = plain_part(*size)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        painted = paste_patch(image, foreground * np.uint8(255), image, foreground > 0, rng)
        assert painted.image.shape == image.shape
        assert painted.mask.any()


def test_parts_of_a_few_pixels_and_parts_that_fill_the_image_are_pasted_on() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 2) * np.uint8(2)
    small = np.zeros((96, 128), np.uint8)
    small[0:3, 125:128] = 1
    for foreground in (small, np.ones_like(small)):
        for seed in range(12):
            rng = np.random.default_rng(seed)
            assert paste_patch(texture, foreground, texture, foreground, rng).mask.any()


def test_read_only_images_are_pasted_on(scenes: tuple[Scene, Scene]) -> None:
    image, source = scenes[0].image.copy(), scenes[1].image.copy()
    image.flags.writeable = source.flags.writeable = False
    for seed in range(6):
        rng = np.random.default_rng(seed)
        paste_patch(image, scenes[0].foreground, source, scenes[1].foreground, rng)


def test_empty_foregrounds_are_errors(scenes: tuple[Scene, Scene]) -> None:
    image, foreground = scenes[0].image, scenes[0].foreground
    empty, rng = np.zeros_like(foreground), np.random.default_rng(0)
    for first, second in ((empty, foreground), (foreground, empty)):
        with pytest.raises(DataError, match="foreground is empty"):
            paste_patch(image, first, image, second, rng)


def test_sizes_that_differ_are_an_error(scenes: tuple[Scene, Scene]) -> None:
    image, foreground = scenes[0].image, scenes[0].foreground
    with pytest.raises(DataError, match="240x240, 240x240, 240x200, 240x240"):
        paste_patch(image, foreground, image[:200], foreground, np.random.default_rng(0))


def test_tiny_images_are_an_error() -> None:
    image, foreground = plain_part(20, 60)
    with pytest.raises(DataError, match="60x20"):
        paste_patch(image, foreground, image, foreground, np.random.default_rng(0))


def test_patches_that_cannot_be_seen_are_an_error(
    scenes: tuple[Scene, Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capsule_inspection.synthesis.patches._VISIBLE_LEVELS", 256.0)
    with pytest.raises(DataError, match="no visible patch"):
        paste(scenes, 0)
