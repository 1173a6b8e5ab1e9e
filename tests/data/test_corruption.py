"""Spoilt batches: repeatable, only where the numbers say so, and never the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capsule_inspection.data.corruption import (
    Corruption,
    CorruptionSettings,
    add_noise,
    cut_holes,
)
from capsule_inspection.data.windows import Windows, cut_around, point_of_interest


def raw(count: int = 6, *, draw: int = 0) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    image = generator.integers(100, 150, (count, 24, 40, 3), dtype=np.uint8)
    foreground = torch.zeros(count, 24, 40, dtype=torch.bool)
    foreground[:, 4:20, 10:30] = True
    return {
        "image": torch.from_numpy(image),
        "mask": torch.full((count, 24, 40), 3, dtype=torch.uint8),
        "valid": torch.ones(count, 24, 40, dtype=torch.bool),
        "foreground": foreground,
        "label": torch.zeros(count, dtype=torch.int64),
        "index": torch.arange(count),
        "draw": torch.full((count,), draw),
    }


def spoil(kind: str, *, share: float = 1.0, epoch: int = 3, **changed: torch.Tensor) -> dict:
    corruption = Corruption(CorruptionSettings(kind, share), seed=1)
    return corruption.spoil({**raw(), **changed}, training=True, epoch=epoch)


@pytest.mark.parametrize("kind", ["noise", "cutout"])
def test_the_image_is_spoilt_and_the_target_is_clean(kind: str) -> None:
    found = spoil(kind)
    assert torch.equal(found["target"], raw()["image"])
    for n in range(6):
        assert not torch.equal(found["image"][n], found["target"][n])


def test_the_mask_of_a_hole_is_where_the_image_changed() -> None:
    found = spoil("cutout")
    changed = (found["image"] != found["target"]).any(-1)
    assert bool((found["mask"][changed] == 1).all())
    assert set(found["mask"].unique().tolist()) == {0, 1}


@pytest.mark.parametrize("kind", ["none", "cutout"])
def test_without_a_share_nothing_is_spoilt_and_the_data_sets_own_masks_are_not_shown(
    kind: str,
) -> None:
    found = spoil(kind, share=0.0)
    assert torch.equal(found["image"], found["target"])
    assert not found["mask"].any()


def test_numbers_belong_to_seed_epoch_image_and_draw() -> None:
    once, again = spoil("cutout"), spoil("cutout")
    assert torch.equal(once["image"], again["image"])
    assert torch.equal(once["mask"], again["mask"])
    assert not torch.equal(once["image"], spoil("cutout", epoch=4)["image"])
    other = spoil("cutout", draw=torch.ones(6, dtype=torch.int64))
    assert not torch.equal(once["image"], other["image"])
    alone = Corruption(CorruptionSettings("cutout", 1.0), seed=1).spoil(
        {key: value[4:5] for key, value in raw().items()}, training=True, epoch=3
    )
    assert torch.equal(alone["image"][0], once["image"][4])


def test_about_the_share_of_images_that_was_asked_for_is_spoilt() -> None:
    corruption = Corruption(CorruptionSettings("cutout", 0.6), seed=0)
    spoilt = [
        bool(corruption.spoil(raw(1), training=True, epoch=epoch)["mask"].any())
        for epoch in range(300)
    ]
    assert 0.5 < np.mean(spoilt) < 0.7


def test_in_validation_every_second_draw_is_spoilt_always_in_the_same_way() -> None:
    corruption = Corruption(CorruptionSettings("cutout", 0.0), seed=0)
    clean = corruption.spoil(raw(draw=0), training=False, epoch=1)
    first = corruption.spoil(raw(draw=1), training=False, epoch=1)
    later = corruption.spoil(raw(draw=1), training=False, epoch=9)
    assert torch.equal(clean["image"], clean["target"])
    assert not torch.equal(first["image"], first["target"])
    assert torch.equal(first["image"], later["image"])


def test_the_centre_lies_on_what_was_spoilt_else_on_the_part_else_anywhere() -> None:
    rng = np.random.default_rng(0)
    mask, foreground = np.zeros((20, 40), np.uint8), np.zeros((20, 40), bool)
    foreground[10:, 20:] = True
    for _ in range(20):
        row, column = point_of_interest(mask, foreground, rng)
        assert row >= 10
        assert column >= 20
    mask[2, 3] = 1
    assert point_of_interest(mask, foreground, rng) == (2, 3)
    row, column = point_of_interest(mask * 0, foreground & False, rng)
    assert 0 <= row < 20
    assert 0 <= column < 40


def test_all_that_has_pixels_is_cut_alike_around_what_was_spoilt() -> None:
    corruption = Corruption(CorruptionSettings("cutout", 1.0, Windows((10, 16))), seed=1)
    whole = Corruption(CorruptionSettings("cutout", 1.0), seed=1)
    found = corruption.spoil(raw(), training=True, epoch=0)
    assert found["image"].shape == (6, 13, 21, 3)
    assert found["mask"].shape == found["foreground"].shape == (6, 13, 21)
    assert found["index"].tolist() == list(range(6))
    changed = (found["image"] != found["target"]).any(-1)
    assert bool((found["mask"][changed] == 1).all())
    assert all(bool(mask.any()) for mask in found["mask"])
    assert whole.spoil(raw(), training=True, epoch=0)["image"].shape == (6, 24, 40, 3)
    assert corruption.spoil(raw(), training=False, epoch=0)["image"].shape == (6, 24, 40, 3)


def test_from_an_epoch_on_fewer_images_are_seen_as_a_whole() -> None:
    windows = Windows((12, 20), whole_from=2)
    corruption = Corruption(CorruptionSettings("cutout", 1.0, windows), seed=1)
    assert corruption.spoil(raw(), training=True, epoch=1)["image"].shape == (6, 16, 26, 3)
    whole = corruption.spoil(raw(), training=True, epoch=2)
    # 6 windows of 12 x 20 have the pixels of one and a half images of 24 x 40.
    assert whole["image"].shape == (2, 24, 40, 3)
    assert whole["index"].tolist() == [0, 1]


def test_a_window_nearly_as_large_as_its_image_is_a_window_all_the_same() -> None:
    windows = Windows((22, 36), whole_from=2)
    corruption = Corruption(CorruptionSettings("cutout", 1.0, windows), seed=1)
    # What is cut out for it is the whole image, so the size alone would not tell.
    assert corruption.spoil(raw(), training=True, epoch=0)["image"].shape == (6, 24, 40, 3)
    assert [corruption.window_at(epoch) for epoch in range(3)] == [(22, 36), (22, 36), None]
    assert Corruption(CorruptionSettings("none", 0.0), seed=1).window_at(0) is None


def test_a_window_at_the_rim_is_moved_back_into_the_image() -> None:
    one = {"mask": torch.arange(24 * 40).reshape(1, 24, 40), "index": torch.zeros(1)}
    found = cut_around(one, np.array([[0.0, 39.0]]), window=(10, 10))
    assert torch.equal(found["mask"], one["mask"][:, :13, 27:])
    larger = cut_around(one, np.array([[5.0, 5.0]]), window=(100, 100))
    assert torch.equal(larger["mask"], one["mask"])


@pytest.mark.parametrize("size", [(24, 40), (3, 3), (64, 9)])
def test_holes_and_noise_fit_images_of_any_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        image, mask = np.full((*size, 3), 128, np.uint8), np.zeros(size, np.uint8)
        cut_holes(image, mask, rng)
        assert mask.any()
        add_noise(image, rng)
