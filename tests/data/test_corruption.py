"""Corrupted batches: repeatable, only where the numbers say so, and never the target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capsule_inspection.data.corruption import Corruption, add_noise, cut_holes
from capsule_inspection.data.training_crops import FULL_IMAGES, CropSchedule
from capsule_inspection.types import IGNORE_INDEX


def raw(count: int = 6, *, repeat: int = 0) -> dict[str, torch.Tensor]:
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
        "repeat": torch.full((count,), repeat),
    }


def corrupt(
    method: str = "cutout",
    *,
    probability: float = 1.0,
    crops: CropSchedule = FULL_IMAGES,
    seed: int = 1,
    training: bool = True,
    epoch: int = 3,
    batch: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    corruption = Corruption(method, probability=probability, crops=crops, seed=seed)
    return corruption(batch or raw(), training=training, epoch=epoch)


def test_the_image_is_corrupted_the_target_clean_and_the_mask_covers_what_changed() -> None:
    for method in ("noise", "cutout"):
        found = corrupt(method)
        assert torch.equal(found["target"], raw()["image"])
        changed = (found["image"] != found["target"]).any(-1)
        assert bool(changed.flatten(1).any(1).all()), method
    assert bool((found["mask"][changed] == 1).all())
    assert set(found["mask"].unique().tolist()) == {0, 1}


@pytest.mark.parametrize("method", ["none", "cutout"])
def test_with_probability_0_nothing_is_corrupted_and_the_data_sets_own_masks_are_not_used(
    method: str,
) -> None:
    found = corrupt(method, probability=0.0)
    assert torch.equal(found["image"], found["target"])
    assert not found["mask"].any()


def test_ignored_pixels_stay_so_unless_they_are_corrupted() -> None:
    batch = raw()
    batch["mask"][:, :12] = IGNORE_INDEX
    found, plain = corrupt(batch=batch), corrupt()
    assert torch.equal(found["mask"] == 1, plain["mask"] == 1)
    rest = torch.zeros_like(batch["mask"])
    rest[:, :12] = IGNORE_INDEX
    assert torch.equal(found["mask"], torch.where(plain["mask"] == 1, 1, rest))


def test_numbers_belong_to_seed_epoch_image_and_repeat() -> None:
    once, again = corrupt(), corrupt()
    assert torch.equal(once["image"], again["image"])
    assert torch.equal(once["mask"], again["mask"])
    for other in (corrupt(seed=2), corrupt(epoch=4), corrupt(batch=raw(repeat=1))):
        assert not torch.equal(once["image"], other["image"])
    alone = corrupt(batch={key: value[4:5] for key, value in raw().items()})
    assert torch.equal(alone["image"][0], once["image"][4])


def test_the_fraction_of_corrupted_images_is_the_probability() -> None:
    masks = [
        corrupt(probability=0.6, seed=0, batch=raw(1), epoch=epoch)["mask"] for epoch in range(300)
    ]
    assert 0.5 < np.mean([bool(mask.any()) for mask in masks]) < 0.7


def test_in_validation_every_second_repeat_is_corrupted_always_in_the_same_way() -> None:
    clean, first, later = (
        corrupt(probability=0.0, seed=0, training=False, batch=raw(repeat=repeat), epoch=epoch)
        for repeat, epoch in ((0, 1), (1, 1), (1, 9))
    )
    assert torch.equal(clean["image"], clean["target"])
    assert not torch.equal(first["image"], first["target"])
    assert torch.equal(first["image"], later["image"])


def test_all_that_has_pixels_is_cropped_alike_around_the_corruption() -> None:
    found = corrupt(crops=CropSchedule((10, 16)))
    assert found["image"].shape == (6, 13, 21, 3)
    assert found["mask"].shape == found["foreground"].shape == (6, 13, 21)
    assert found["index"].tolist() == list(range(6))
    changed = (found["image"] != found["target"]).any(-1)
    assert bool((found["mask"][changed] == 1).all())
    assert all(bool(mask.any()) for mask in found["mask"])
    assert corrupt()["image"].shape == (6, 24, 40, 3)
    whole = corrupt(crops=CropSchedule((10, 16)), training=False)
    assert whole["image"].shape == (6, 24, 40, 3)


def test_from_an_epoch_on_fewer_full_images_are_used() -> None:
    crops = CropSchedule((12, 20), full_image_from=2)
    assert corrupt(crops=crops, epoch=1)["image"].shape == (6, 16, 26, 3)
    whole = corrupt(crops=crops, epoch=2)
    # 6 crops of 12 x 20 have the pixels of one and a half images of 24 x 40.
    assert whole["image"].shape == (2, 24, 40, 3)
    assert whole["index"].tolist() == [0, 1]
    # Of a large crop the full image is cut out.
    large = Corruption("cutout", probability=1.0, crops=CropSchedule((22, 36), 2), seed=1)
    assert large(raw(), training=True, epoch=0)["image"].shape == (6, 24, 40, 3)


def test_holes_and_noise_fit_images_of_any_size() -> None:
    rng = np.random.default_rng(2)
    for size in ((24, 40), (3, 3), (64, 9)):
        for _ in range(10):
            image, mask = np.full((*size, 3), 128, np.uint8), np.zeros(size, np.uint8)
            cut_holes(image, mask, rng)
            assert mask.any()
            add_noise(image, rng)
