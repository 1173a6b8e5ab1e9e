"""Augmentation: image and mask together, repeatable, and true to its settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from capsule_inspection.data.augmentation import (
    _COLUMNS,
    AugmentationSettings,
    augment,
    uniform_numbers,
)

NAMES = list(AugmentationSettings.__dataclass_fields__)
HALF = torch.full((1, 10), 0.5)


def only(**changed: float) -> AugmentationSettings:
    """No change but those that are named."""
    return AugmentationSettings(**(dict.fromkeys(NAMES, 0.0) | changed))


def picture(height: int = 24, width: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, height // 4, width // 4, generator=generator)
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)


def apply(image: Tensor, settings: AugmentationSettings, **numbers: float) -> Tensor:
    """What becomes of the image where each uniform number is a half, but those that are named."""
    uniform = HALF.clone()
    for name, value in numbers.items():
        uniform[:, _COLUMNS.index(name)] = value
    mask = torch.zeros(len(image), *image.shape[2:], dtype=torch.uint8)
    return augment(image, mask, mask == 0, uniform, settings).image


def assert_close(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_flips_and_rotations_are_those_of_torchvision_also_of_wide_images() -> None:
    assert_close(apply(picture(), only()), picture(), 1e-5)
    assert_close(apply(picture(), only(vertical_flip=1.0)), v2.vertical_flip(picture()), 1e-4)
    assert_close(apply(picture(), only(horizontal_flip=1.0)), v2.horizontal_flip(picture()), 1e-4)
    image = picture(64, 160)
    ours = apply(image, only(rotation_deg=10.0), rotation=1.0)
    theirs = v2.rotate(image, 10.0, interpolation=v2.InterpolationMode.BILINEAR)
    assert_close(ours[..., 24:40, 40:120], theirs[..., 24:40, 40:120], 0.02)


def test_colours_change_as_torchvision_changes_them() -> None:
    image = picture() * 0.5 + 0.25
    assert_close(apply(image, only(brightness=0.2), brightness=1.0), image * 1.2, 1e-5)
    grey = v2.rgb_to_grayscale(image, num_output_channels=3)
    assert_close(apply(image, only(saturation=1.0), saturation=0.0), grey, 1e-3)
    flat = v2.adjust_contrast(image, 0.5)
    assert_close(apply(image, only(contrast=0.5), contrast=0.0), flat, 1e-3)
    both = apply(image, only(contrast=0.5, brightness=0.2), contrast=0.0, brightness=1.0)
    assert_close(both, flat * 1.2, 1e-3)


def test_hue_turns_colours_and_leaves_grey_alone() -> None:
    grey, red = torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)
    assert_close(apply(grey, only(hue_deg=60.0), hue=1.0), grey, 1e-5)
    red[:, 0] = 0.6
    assert not torch.allclose(apply(red, only(hue_deg=60.0), hue=1.0), red, atol=0.05)


@pytest.mark.parametrize("crop_size", [None, (10, 20)])
@pytest.mark.parametrize(
    ("settings", "least"),
    [
        (only(vertical_flip=0.5, horizontal_flip=0.5), 1.0),
        # Nearest and bilinear differ at corners only; a mask that is off by a pixel has 0.87.
        (only(rotation_deg=8, shift=0.1, scale=0.1, vertical_flip=0.5, horizontal_flip=0.5), 0.99),
    ],
)
def test_mask_and_validity_move_with_the_image_to_the_pixel(
    settings: AugmentationSettings, least: float, crop_size: tuple[int, int] | None
) -> None:
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(6, 8, 24, generator=generator) > 0.5
    valid = valid.repeat_interleave(4, 1).repeat_interleave(4, 2)
    image = valid[:, None].float().expand(-1, 3, -1, -1).contiguous()
    uniform = torch.rand(6, 10, generator=generator)
    mask = 4 * valid.to(torch.uint8)
    found = augment(image, mask, valid, uniform, settings, crop_size=crop_size)
    assert found.mask.dtype == torch.uint8
    assert set(found.mask.unique().tolist()) == {0, 4}
    assert torch.equal(found.valid, found.mask == 4)
    agreement = ((found.image[:, 0] > 0.5) == (found.mask == 4)).float().mean((1, 2))
    assert agreement.min() >= least


def test_all_crops_have_the_crop_size_also_where_masks_are_empty() -> None:
    image = picture(24, 60).expand(2, 3, 24, 60).contiguous()
    mask, valid = torch.zeros(2, 24, 60, dtype=torch.uint8), torch.ones(2, 24, 60).bool()
    uniform = HALF.expand(2, 10)
    found = augment(image, mask, valid, uniform, only(), target=image, crop_size=(10, 20))
    assert found.image.shape == (2, 3, 10, 20)
    assert found.mask.shape == found.valid.shape == (2, 10, 20)
    assert bool(found.valid.all())
    assert found.target is not None
    assert_close(found.target, image[:, :, 7:17, 20:40], 1e-5)
    torch.testing.assert_close(found.image, found.target)


def numbers(*, seed: int = 1, epoch: int = 2, index: int = 3, repeat: int = 0) -> Tensor:
    of_one = {"index": torch.tensor([index]), "repeat": torch.tensor([repeat])}
    return uniform_numbers(seed=seed, epoch=epoch, **of_one)


def test_numbers_belong_to_seed_epoch_image_and_repeat_and_stay_what_they_were() -> None:
    together = uniform_numbers(
        seed=1, epoch=2, index=torch.tensor([3, 9, 4]), repeat=torch.tensor([0, 0, 1])
    )
    assert torch.equal(together[1:2], numbers(index=9))
    for seed in (1, 2**32 - 1):  # the largest, too
        for other in ({"epoch": 3}, {"seed": seed - 1}, {"repeat": 1}, {"index": 4}):
            assert not torch.equal(numbers(seed=seed), numbers(**({"seed": seed} | other))), other
    expected = np.random.Generator(np.random.Philox(key=(5 << 32) + 2 << 64 | (7 << 32) + 3))
    found = numbers(seed=7, epoch=3, index=5, repeat=2)
    assert found[0].tolist() == expected.random(10, np.float32).tolist()


def test_channels_last_stays_channels_last() -> None:
    image = picture().contiguous(memory_format=torch.channels_last)
    settings = AugmentationSettings(5, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1, 0.1, 3, 0)
    assert apply(image, settings).is_contiguous(memory_format=torch.channels_last)
