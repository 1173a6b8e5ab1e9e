"""Synthetic defects change only what their mask covers, on rendered capsules and other images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from capsule_inspection.synthetic.defects import DEFECT_TYPES, render_defect
from capsule_inspection.synthetic.scene import Scene, render_capsule

SIZE_PX = 400


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_capsule(np.random.default_rng(8), size_px=SIZE_PX)


# Areas of 1000 x 1000 pixels, wider than the range of real masks.
AREAS = {
    "crack": (150, 12_000),
    "faulty_imprint": (300, 50_000),
    "poke": (150, 14_000),
    "scratch": (300, 20_000),
    "squeeze": (800, 120_000),
}


@pytest.mark.parametrize("defect_type", DEFECT_TYPES)
def test_a_defect_changes_only_its_mask_and_is_as_large_as_real_ones(
    defect_type: str, scene: Scene
) -> None:
    before = scene.image.copy()
    inner = cv2.erode(scene.foreground, np.ones((9, 9), np.uint8))
    smallest, largest = AREAS[defect_type]
    parts = []
    for seed in range(17):  # every form of crack is among them
        defect = render_defect(
            scene.image, scene.foreground, defect_type, np.random.default_rng(seed)
        )
        changed = (defect.image != scene.image).any(axis=2)
        assert defect.mask.dtype == np.uint8
        assert not changed[defect.mask == 0].any()
        # Masks are annotated as by hand: around specks, most of what they enclose is unchanged.
        assert changed[defect.mask == 1].mean() > 0.2
        assert smallest < defect.mask.sum() * (1000 / SIZE_PX) ** 2 < largest, seed
        assert (defect.mask & scene.foreground).any()
        # The mask of a dent covers the old outline, too.
        assert defect_type != "squeeze" or (defect.mask & (inner == 0)).any(), seed
        parts.append(cv2.connectedComponents(defect.mask)[0] - 1)
    again = render_defect(scene.image, scene.foreground, defect_type, np.random.default_rng(seed))
    assert again.image.tobytes() == defect.image.tobytes()
    assert again.mask.tobytes() == defect.mask.tobytes()
    assert max(parts) <= 5
    assert np.median(parts) == 1
    assert np.array_equal(scene.image, before)


@pytest.mark.parametrize("defect_type", DEFECT_TYPES)
def test_any_size_aspect_direction_and_shape_works(defect_type: str) -> None:
    scene = render_capsule(np.random.default_rng(1), size_px=300)
    image, foreground = scene.image[80:230], scene.foreground[80:230]
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
        defect = render_defect(pixels, part, defect_type, np.random.default_rng(seed))
        assert defect.image.shape == pixels.shape
        assert defect.mask.shape == part.shape
        assert defect.mask.any()


def test_defects_scale_with_the_foreground() -> None:
    areas = []
    for size_px in (200, 400):
        scene = render_capsule(np.random.default_rng(1), size_px=size_px)
        rngs = [np.random.default_rng(seed) for seed in range(15)]
        masks = [render_defect(scene.image, scene.foreground, "poke", rng).mask for rng in rngs]
        areas.append(np.median([mask.mean() for mask in masks]))
    assert 0.4 < areas[0] / areas[1] < 2.5


def test_the_defect_types_are_in_alphabetical_order() -> None:
    assert DEFECT_TYPES == ("crack", "faulty_imprint", "poke", "scratch", "squeeze")
