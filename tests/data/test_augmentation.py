"""Augmentation: image and mask together, repeatable, and true to its settings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from capsule_inspection.data.augmentation import (
    AugmentationSettings,
    Window,
    augment,
    uniform_numbers,
)

NOTHING = AugmentationSettings(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
HALF = torch.full((1, 10), 0.5)


def picture(height: int = 24, width: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, height // 4, width // 4, generator=generator)
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def apply(
    image: torch.Tensor, settings: AugmentationSettings, uniform: torch.Tensor = HALF
) -> torch.Tensor:
    mask = torch.zeros(len(image), *image.shape[2:], dtype=torch.uint8)
    return augment(image, mask, mask == 0, uniform, settings)[0]


def column(name: str, value: float) -> torch.Tensor:
    from capsule_inspection.data.augmentation import _COLUMNS

    uniform = HALF.clone()
    uniform[:, _COLUMNS.index(name)] = value
    return uniform


def test_no_change_is_no_change() -> None:
    torch.testing.assert_close(apply(picture(), NOTHING), picture(), atol=1e-5, rtol=0)


def test_flips_are_torchvisions_flips() -> None:
    flip = dataclasses.replace(NOTHING, vertical_flip=1.0)
    torch.testing.assert_close(
        apply(picture(), flip), v2.vertical_flip(picture()), atol=1e-4, rtol=0
    )
    flip = dataclasses.replace(NOTHING, horizontal_flip=1.0)
    torch.testing.assert_close(
        apply(picture(), flip), v2.horizontal_flip(picture()), atol=1e-4, rtol=0
    )


def test_rotation_is_one_in_pixels_also_of_wide_images() -> None:
    image = picture(64, 160)
    turn = dataclasses.replace(NOTHING, rotation_deg=10.0)
    ours = apply(image, turn, column("rotation", 1.0))
    theirs = v2.rotate(image, 10.0, interpolation=v2.InterpolationMode.BILINEAR)
    inside = (slice(None), slice(None), slice(24, 40), slice(40, 120))
    torch.testing.assert_close(ours[inside], theirs[inside], atol=0.02, rtol=0)


def test_colours_change_as_torchvision_changes_them() -> None:
    image = picture() * 0.5 + 0.25
    brighter = dataclasses.replace(NOTHING, brightness=0.2)
    torch.testing.assert_close(
        apply(image, brighter, column("brightness", 1.0)), image * 1.2, atol=1e-5, rtol=0
    )
    greyer = dataclasses.replace(NOTHING, saturation=1.0)
    torch.testing.assert_close(
        apply(image, greyer, column("saturation", 0.0)),
        v2.rgb_to_grayscale(image, num_output_channels=3),
        atol=1e-3,
        rtol=0,
    )
    flat = dataclasses.replace(NOTHING, contrast=0.5)
    torch.testing.assert_close(
        apply(image, flat, column("contrast", 0.0)),
        v2.adjust_contrast(image, 0.5),
        atol=1e-3,
        rtol=0,
    )


def test_hue_turns_colours_and_leaves_grey_alone() -> None:
    turned = dataclasses.replace(NOTHING, hue_deg=60.0)
    grey = torch.full((1, 3, 4, 4), 0.5)
    torch.testing.assert_close(apply(grey, turned, column("hue", 1.0)), grey, atol=1e-5, rtol=0)
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 0.6
    assert not torch.allclose(apply(red, turned, column("hue", 1.0)), red, atol=0.05)


def test_the_mask_moves_with_the_image() -> None:
    image = torch.zeros(1, 3, 32, 96)
    mask = torch.zeros(1, 32, 96, dtype=torch.uint8)
    image[:, :, 8:14, 20:40] = 1.0
    mask[:, 8:14, 20:40] = 4
    settings = AugmentationSettings(8.0, 0.1, 0.1, 1.0, 0.0, 0, 0, 0, 0, 0)
    uniform = torch.rand(1, 10, generator=torch.Generator().manual_seed(1))
    whole = torch.ones(1, 32, 96).bool()
    changed, warped, valid, _ = augment(image, mask, whole, uniform, settings)
    assert set(warped.unique().tolist()) == {0, 4}
    agreement = ((changed[:, 0] > 0.5) == (warped == 4)).float().mean()
    assert agreement > 0.98
    assert warped.dtype == torch.uint8
    assert bool(valid.all())


def test_numbers_belong_to_the_image_not_to_its_place_in_the_batch() -> None:
    index, draw = torch.tensor([3, 9, 4]), torch.tensor([0, 0, 1])
    together = uniform_numbers(seed=1, epoch=2, index=index, draw=draw)
    alone = uniform_numbers(seed=1, epoch=2, index=index[1:2], draw=draw[1:2])
    assert torch.equal(together[1], alone[0])


@pytest.mark.parametrize("changed", [{"seed": 2}, {"epoch": 3}, {"draw": torch.tensor([1])}])
def test_another_seed_epoch_or_draw_gives_other_numbers(changed: dict) -> None:
    usual = {"seed": 1, "epoch": 2, "index": torch.tensor([3]), "draw": torch.tensor([0])}
    assert not torch.equal(uniform_numbers(**usual), uniform_numbers(**(usual | changed)))


@pytest.mark.parametrize("changed", [{"epoch": 3}, {"seed": 2**32 - 2}, {"draw": 1}])
def test_the_largest_seeds_give_each_epoch_seed_and_draw_numbers_of_its_own(changed: dict) -> None:
    def numbers(*, seed: int = 2**32 - 1, epoch: int = 2, draw: int = 0) -> torch.Tensor:
        index, draws = torch.tensor([3]), torch.tensor([draw])
        return uniform_numbers(seed=seed, epoch=epoch, index=index, draw=draws)

    assert not torch.equal(numbers(), numbers(**changed))


def test_numbers_of_a_seed_stay_what_they_were() -> None:
    found = uniform_numbers(seed=7, epoch=3, index=torch.tensor([5]), draw=torch.tensor([2]))
    expected = np.random.Generator(np.random.Philox(key=(5 << 32) + 2 << 64 | (7 << 32) + 3))
    assert found[0].tolist() == expected.random(10, np.float32).tolist()


def test_numbers_are_uniform() -> None:
    numbers = uniform_numbers(
        seed=0, epoch=0, index=torch.arange(2000), draw=torch.zeros(2000, dtype=torch.long)
    ).numpy()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.03)


def test_channels_last_stays_channels_last() -> None:
    image = picture().contiguous(memory_format=torch.channels_last)
    settings = AugmentationSettings(5, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1, 0.1, 3, 0)
    assert apply(image, settings).is_contiguous(memory_format=torch.channels_last)


def test_all_that_is_seen_through_a_window_has_its_size_also_where_nothing_is_masked() -> None:
    image = picture(24, 60).expand(2, 3, 24, 60).contiguous()
    mask, valid = torch.zeros(2, 24, 60, dtype=torch.uint8), torch.ones(2, 24, 60).bool()
    window = Window((10, 20), torch.full((2, 2), 0.5))
    found = augment(image, mask, valid, HALF.expand(2, 10), NOTHING, target=image, window=window)
    assert found.image.shape == (2, 3, 10, 20)
    assert found.mask.shape == found.valid.shape == (2, 10, 20)
    assert found.target is not None
    torch.testing.assert_close(found.target, image[:, :, 7:17, 20:40], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.image, found.target)


def test_a_window_beyond_the_image_is_moved_back_into_it() -> None:
    image, mask = picture(24, 60), torch.zeros(1, 24, 60, dtype=torch.uint8)
    window = Window((10, 20), torch.tensor([[1.0, 0.0]]))
    found = augment(image, mask, mask == 0, HALF, NOTHING, window=window)
    torch.testing.assert_close(found.image, image[:, :, :10, 40:], atol=1e-5, rtol=0)
