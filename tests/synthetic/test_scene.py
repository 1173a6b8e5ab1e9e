"""A rendered capsule is repeatable, varied, and looks as the camera would see it."""

from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.synthetic.scene import render_capsule


def test_a_seed_renders_the_same_bytes_and_another_one_another_capsule() -> None:
    first, same, other = (render_capsule(np.random.default_rng(n), size_px=160) for n in (5, 5, 1))
    assert first.image.tobytes() == same.image.tobytes()
    assert first.foreground.tobytes() == same.foreground.tobytes()
    assert not np.array_equal(first.image, other.image)


def test_capsule_has_its_place_and_proportions_at_any_size() -> None:
    for size_px in (32, 96, 250, 800):
        scene = render_capsule(np.random.default_rng(0), size_px=size_px)
        assert scene.image.shape == (size_px, size_px, 3)
        assert scene.image.dtype == np.uint8
        assert set(np.unique(scene.foreground)) == {0, 1}
        rows, columns = np.nonzero(scene.foreground)
        assert np.ptp(columns) / size_px == pytest.approx(0.85, abs=0.04)
        assert np.ptp(rows) / size_px == pytest.approx(0.275, abs=0.04)
    with pytest.raises(ValueError, match="at least 32"):
        render_capsule(np.random.default_rng(0), size_px=16)


def test_halves_are_black_and_orange_on_light_paper() -> None:
    scene = render_capsule(np.random.default_rng(3), size_px=200)
    inside = scene.foreground > 0
    left, right = inside.copy(), inside.copy()
    left[:, 95:], right[:, :110] = False, False
    assert scene.image[left].mean() < 45
    red, green, blue = scene.image[right].mean(axis=0)
    assert red > green + 35 > blue + 35
    assert scene.image[:20].mean() > 200


def test_grain_is_that_of_the_real_images() -> None:
    corner = render_capsule(np.random.default_rng(4)).image[40:100, 40:100].astype(float)
    assert 1.5 < (corner - corner.mean(axis=(0, 1))).std() < 5
