"""NSA patches change only what their mask covers, on capsules and on any other part."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.synthetic.defects import SyntheticDefect
from capsule_inspection.synthetic.nsa import render_nsa_patch
from capsule_inspection.synthetic.scene import Scene, render_capsule
from capsule_inspection.types import DataError

SEEDS = range(30)


@pytest.fixture(scope="module")
def scenes() -> tuple[Scene, Scene]:
    first, second = (render_capsule(np.random.default_rng(seed), size_px=240) for seed in (1, 2))
    return first, second


def paste(scenes: tuple[Scene, Scene], seed: int) -> SyntheticDefect:
    target, source = scenes
    rng = np.random.default_rng(seed)
    return render_nsa_patch(target.image, target.foreground, source.image, source.foreground, rng)


def plain_part(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of one colour on a plain background, and its foreground."""
    foreground = np.zeros((height, width), np.uint8)
    cv2.ellipse(foreground, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 1, -1)
    image = np.full((height, width, 3), 200, np.uint8)
    image[foreground > 0] = (60, 90, 140)
    return image, foreground


def test_a_patch_changes_only_its_mask_and_is_visible(scenes: tuple[Scene, Scene]) -> None:
    image, near = scenes[0].image, cv2.dilate(scenes[0].foreground, np.ones((9, 9), np.uint8))
    before = image.copy()
    found, on_part = set(), []
    for seed in SEEDS:
        defect, again = paste(scenes, seed), paste(scenes, seed)
        assert again.image.tobytes() == defect.image.tobytes()
        assert again.mask.tobytes() == defect.mask.tobytes()
        changed = (defect.image != before).any(axis=2)
        assert defect.mask.shape == image.shape[:2]
        assert defect.mask.dtype == np.uint8
        assert set(np.unique(defect.mask)) == {0, 1}
        assert not changed[defect.mask == 0].any()
        assert changed[defect.mask == 1].mean() > 0.5
        assert (cv2.absdiff(defect.image, before).max(axis=2) > 8).sum() >= 5, seed
        on_part.append((defect.mask & near).any())
        found.add(defect.image.tobytes())
    assert len(found) == len(SEEDS)
    assert np.mean(on_part) > 0.9
    assert np.array_equal(image, before)


def test_small_patches_are_more_frequent_than_large_ones(scenes: tuple[Scene, Scene]) -> None:
    extent = np.sqrt(scenes[0].foreground.sum())
    sides = [max(cv2.boundingRect(paste(scenes, seed).mask)[2:]) / extent for seed in range(100)]
    assert min(sides) < 0.12
    assert 0.10 < np.median(sides) < 0.30
    assert 0.35 < max(sides) < 0.9


def test_patches_scale_with_the_part() -> None:
    areas = []
    for size_px in (150, 450):
        pair = [render_capsule(np.random.default_rng(seed), size_px=size_px) for seed in (1, 2)]
        areas.append(np.median([paste((pair[0], pair[1]), seed).mask.mean() for seed in SEEDS]))
    assert 0.4 < areas[0] / areas[1] < 2.5


def test_any_size_and_any_part_is_pasted_on() -> None:
    sizes = ((32, 32), (33, 700), (64, 64), (64, 400), (400, 64), (160, 448), (1000, 1000))
    for size in sizes:
        image, foreground = plain_part(*size)
        image.flags.writeable = False
        for seed in range(8 if size == (1000, 1000) else 25):
            rng = np.random.default_rng(seed)
            defect = render_nsa_patch(image, foreground * np.uint8(255), image, foreground > 0, rng)
            assert defect.image.shape == image.shape
            assert defect.mask.any()


def test_parts_of_a_few_pixels_and_parts_that_fill_the_image_are_pasted_on() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 2) * np.uint8(2)
    small = np.zeros((96, 128), np.uint8)
    small[0:3, 125:128] = 1
    for foreground in (small, np.ones_like(small)):
        for seed in range(12):
            rng = np.random.default_rng(seed)
            assert render_nsa_patch(texture, foreground, texture, foreground, rng).mask.any()


def test_small_images_and_invisible_patches_are_errors(
    scenes: tuple[Scene, Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, part = plain_part(20, 60)
    with pytest.raises(DataError, match="60x20"):
        render_nsa_patch(tiny, part, tiny, part, np.random.default_rng(0))
    monkeypatch.setattr("capsule_inspection.synthetic.nsa._VISIBLE_LEVELS", 256.0)
    with pytest.raises(DataError, match="no visible patch"):
        paste(scenes, 0)
