"""A drawn capsule is repeatable, varied, and looks as the camera would see it."""

from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.synthesis.scene import draw_good


def test_same_seed_draws_the_same_bytes() -> None:
    first, second = (draw_good(np.random.default_rng(5), size_px=160) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.foreground.tobytes() == second.foreground.tobytes()


def test_other_seed_draws_another_capsule() -> None:
    first, second = (draw_good(np.random.default_rng(seed), size_px=160) for seed in (1, 2))
    assert not np.array_equal(first.image, second.image)


@pytest.mark.parametrize("size_px", [32, 96, 250, 800])
def test_capsule_has_its_place_and_proportions_at_any_size(size_px: int) -> None:
    scene = draw_good(np.random.default_rng(0), size_px=size_px)
    assert scene.image.shape == (size_px, size_px, 3)
    assert scene.image.dtype == np.uint8
    assert set(np.unique(scene.foreground)) == {0, 1}
    rows, columns = np.nonzero(scene.foreground)
    assert np.ptp(columns) / size_px == pytest.approx(0.85, abs=0.04)
    assert np.ptp(rows) / size_px == pytest.approx(0.275, abs=0.04)


def test_halves_are_black_and_orange_on_light_paper() -> None:
    scene = draw_good(np.random.default_rng(3), size_px=200)
    inside = scene.foreground > 0
    left, right = inside.copy(), inside.copy()
    left[:, 95:], right[:, :110] = False, False
    assert scene.image[left].mean() < 45
    red, green, blue = scene.image[right].mean(axis=0)
    assert red > green + 35 > blue + 35
    assert scene.image[:20].mean() > 200


def test_grain_is_that_of_the_photographs() -> None:
    corner = draw_good(np.random.default_rng(4)).image[40:100, 40:100].astype(float)
    assert 1.5 < (corner - corner.mean(axis=(0, 1))).std() < 5


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        draw_good(np.random.default_rng(0), size_px=16)
