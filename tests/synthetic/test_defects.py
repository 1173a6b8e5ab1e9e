"""Synthetic defects change what their mask says, on drawn capsules and on other images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.synthetic.defects import DEFECTS, paint
from capsule_inspection.synthetic.scene import Scene, draw_good
from capsule_inspection.types import DataError

SIZE_PX = 400


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_good(np.random.default_rng(8), size_px=SIZE_PX)


# Areas of 1000 x 1000 pixels, wider than what was counted in real masks.
AREAS = {
    "crack": (150, 12_000),
    "faulty_imprint": (300, 50_000),
    "poke": (150, 14_000),
    "scratch": (300, 20_000),
    "squeeze": (800, 120_000),
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_changes_what_its_mask_says_and_is_as_large_as_real_ones(
    kind: str, scene: Scene
) -> None:
    before = scene.image.copy()
    inner = cv2.erode(scene.foreground, np.ones((9, 9), np.uint8))
    smallest, largest = AREAS[kind]
    parts = []
    for seed in range(17):  # every kind of crack is among them
        painted = paint(scene.image, scene.foreground, kind, np.random.default_rng(seed))
        changed = (painted.image != scene.image).any(axis=2)
        assert painted.mask.dtype == np.uint8
        assert not changed[painted.mask == 0].any()
        # Masks are drawn as by hand: around faint specks, most of what they enclose is unchanged.
        assert changed[painted.mask == 1].mean() > 0.2
        assert smallest < painted.mask.sum() * (1000 / SIZE_PX) ** 2 < largest, seed
        assert (painted.mask & scene.foreground).any()
        # A dent is marked on the old outline, too.
        assert kind != "squeeze" or (painted.mask & (inner == 0)).any(), seed
        parts.append(cv2.connectedComponents(painted.mask)[0] - 1)
    again = paint(scene.image, scene.foreground, kind, np.random.default_rng(seed))
    assert again.image.tobytes() == painted.image.tobytes()
    assert again.mask.tobytes() == painted.mask.tobytes()
    assert max(parts) <= 5
    assert np.median(parts) == 1
    assert np.array_equal(scene.image, before)


@pytest.mark.parametrize("kind", DEFECTS)
def test_any_size_aspect_direction_and_shape_is_used(kind: str) -> None:
    drawn = draw_good(np.random.default_rng(1), size_px=300)
    image, foreground = drawn.image[80:230], drawn.foreground[80:230]
    plain = np.full((120, 200, 3), 200, np.uint8)
    plain[40:80, 30:170] = (60, 90, 140)
    plain_foreground = np.zeros((120, 200), np.uint8)
    plain_foreground[40:80, 30:170] = 255
    square = np.zeros((120, 120), np.uint8)
    square[30:90, 30:90] = 1
    for pixels, part, seed in (
        (image, foreground, 0),
        (image.transpose(1, 0, 2), foreground.T, 0),
        (plain, plain_foreground, 2),  # without print
        (plain[:, :120], square, 2),
    ):
        painted = paint(pixels, part, kind, np.random.default_rng(seed))
        assert painted.image.shape == pixels.shape
        assert painted.mask.shape == part.shape
        assert painted.mask.any()
    with pytest.raises(DataError, match="foreground is empty"):
        paint(image, np.zeros_like(foreground), kind, np.random.default_rng(0))


def test_defects_scale_with_the_foreground() -> None:
    areas = []
    for size_px in (200, 400):
        drawn = draw_good(np.random.default_rng(1), size_px=size_px)
        rngs = [np.random.default_rng(seed) for seed in range(15)]
        masks = [paint(drawn.image, drawn.foreground, "poke", rng).mask for rng in rngs]
        areas.append(np.median([mask.mean() for mask in masks]))
    assert 0.4 < areas[0] / areas[1] < 2.5


def test_foregrounds_of_another_size_and_unknown_kinds_are_errors(scene: Scene) -> None:
    with pytest.raises(DataError, match="foreground is 100x100, its image is 400x400"):
        paint(scene.image, np.ones((100, 100), np.uint8), "poke", np.random.default_rng(0))
    assert DEFECTS == ("crack", "faulty_imprint", "poke", "scratch", "squeeze")
    with pytest.raises(ValueError, match="expected one of crack, faulty_imprint"):
        paint(scene.image, scene.foreground, "melted", np.random.default_rng(0))
