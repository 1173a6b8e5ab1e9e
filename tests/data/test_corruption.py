"""Spoilt batches: repeatable, only where the numbers say so, and never the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capsule_inspection.data.corruption import Corruption, CorruptionSettings, add_noise, cut_holes
from capsule_inspection.data.windows import WHOLE_IMAGES, Windows


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


def spoil(
    kind: str = "cutout",
    *,
    share: float = 1.0,
    windows: Windows = WHOLE_IMAGES,
    seed: int = 1,
    training: bool = True,
    epoch: int = 3,
    batch: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    corruption = Corruption(CorruptionSettings(kind, share, windows), seed=seed)
    return corruption.spoil(batch or raw(), training=training, epoch=epoch)


def test_the_image_is_spoilt_the_target_clean_and_holes_are_marked_where_it_changed() -> None:
    for kind in ("noise", "cutout"):
        found = spoil(kind)
        assert torch.equal(found["target"], raw()["image"])
        changed = (found["image"] != found["target"]).any(-1)
        assert bool(changed.flatten(1).any(1).all()), kind
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
    once, again = spoil(), spoil()
    assert torch.equal(once["image"], again["image"])
    assert torch.equal(once["mask"], again["mask"])
    for other in (spoil(seed=2), spoil(epoch=4), spoil(batch=raw(draw=1))):
        assert not torch.equal(once["image"], other["image"])
    alone = spoil(batch={key: value[4:5] for key, value in raw().items()})
    assert torch.equal(alone["image"][0], once["image"][4])


def test_about_the_share_of_images_that_is_set_is_spoilt() -> None:
    masks = [spoil(share=0.6, seed=0, batch=raw(1), epoch=epoch)["mask"] for epoch in range(300)]
    assert 0.5 < np.mean([bool(mask.any()) for mask in masks]) < 0.7


def test_in_validation_every_second_draw_is_spoilt_always_in_the_same_way() -> None:
    clean, first, later = (
        spoil(share=0.0, seed=0, training=False, batch=raw(draw=draw), epoch=epoch)
        for draw, epoch in ((0, 1), (1, 1), (1, 9))
    )
    assert torch.equal(clean["image"], clean["target"])
    assert not torch.equal(first["image"], first["target"])
    assert torch.equal(first["image"], later["image"])


def test_all_that_has_pixels_is_cut_alike_around_what_was_spoilt() -> None:
    found = spoil(windows=Windows((10, 16)))
    assert found["image"].shape == (6, 13, 21, 3)
    assert found["mask"].shape == found["foreground"].shape == (6, 13, 21)
    assert found["index"].tolist() == list(range(6))
    changed = (found["image"] != found["target"]).any(-1)
    assert bool((found["mask"][changed] == 1).all())
    assert all(bool(mask.any()) for mask in found["mask"])
    assert spoil()["image"].shape == (6, 24, 40, 3)
    whole = spoil(windows=Windows((10, 16)), training=False)
    assert whole["image"].shape == (6, 24, 40, 3)


def test_from_an_epoch_on_fewer_images_are_seen_as_a_whole() -> None:
    windows = Windows((12, 20), whole_from=2)
    assert spoil(windows=windows, epoch=1)["image"].shape == (6, 16, 26, 3)
    whole = spoil(windows=windows, epoch=2)
    # 6 windows of 12 x 20 have the pixels of one and a half images of 24 x 40.
    assert whole["image"].shape == (2, 24, 40, 3)
    assert whole["index"].tolist() == [0, 1]
    # Of a large window the whole image is cut out, so the size alone would not tell.
    large = Corruption(CorruptionSettings("cutout", 1.0, Windows((22, 36), 2)), seed=1)
    assert large.spoil(raw(), training=True, epoch=0)["image"].shape == (6, 24, 40, 3)
    assert [large.window_at(epoch) for epoch in range(3)] == [(22, 36), (22, 36), None]
    assert Corruption(CorruptionSettings("none", 0.0), seed=1).window_at(0) is None


def test_holes_and_noise_fit_images_of_any_size() -> None:
    rng = np.random.default_rng(2)
    for size in ((24, 40), (3, 3), (64, 9)):
        for _ in range(10):
            image, mask = np.full((*size, 3), 128, np.uint8), np.zeros(size, np.uint8)
            cut_holes(image, mask, rng)
            assert mask.any()
            add_noise(image, rng)
