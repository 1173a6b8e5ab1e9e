"""Losses of reconstruction and of the head, against hand and library."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from capsule_inspection.models.losses.reconstruction import (
    TERMS,
    HeadLoss,
    ReconstructionLoss,
    dice_loss,
    masked_l1,
)
from capsule_inspection.types import ConfigurationError, Normalisation

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
HALF = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    wanted = torch.rand(2, 3, 48, 64, generator=generator)
    drawn = wanted + 0.1 * torch.randn(2, 3, 48, 64, generator=generator)
    mask = torch.zeros(2, 48, 64)
    mask[0, 4:9, 6:20] = 1
    return drawn, wanted, mask


def test_each_term_is_zero_for_a_perfect_image_and_they_add_up_as_weighted() -> None:
    drawn, wanted, mask = pair()
    single = {}
    for name in (*TERMS, "corrupted"):
        loss, image = ReconstructionLoss({name: 1.0}, PLAIN), drawn.clone().requires_grad_()
        assert float(loss(wanted, wanted, mask)) == pytest.approx(0, abs=1e-5), name
        value = loss(image, wanted, mask)
        value.backward()
        single[name] = float(value.detach())
        assert single[name] > 0, name
        assert torch.isfinite(image.grad).all(), name
    weights = {"l1": 2.0, "l2": 0.5, "ssim": 0.0, "gradient": 1.0, "corrupted": 3.0}
    expected = sum(weight * single[name] for name, weight in weights.items())
    mixed = ReconstructionLoss(weights, PLAIN)(drawn, wanted, mask)
    assert float(mixed) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigurationError, match=r"task\.loss_weights"):
        ReconstructionLoss({"l1": 0.0, "l2": 0.0}, PLAIN)


@pytest.mark.parametrize("name", [*TERMS, "corrupted"])
def test_ignored_pixels_of_a_reconstruction_have_no_loss_and_no_gradient(name: str) -> None:
    drawn, wanted, mask = pair()
    loss, ignored = ReconstructionLoss({name: 1.0}, PLAIN), torch.zeros(2, 48, 64, dtype=torch.bool)
    ignored[:, 30:] = True
    image = drawn.clone().requires_grad_()
    value = loss(image, wanted, mask, ignored)
    value.backward()
    assert image.grad is not None
    assert not image.grad[:, :, 30:].any()
    assert image.grad[:, :, :30].abs().sum() > 0
    drawn[:, :, 30:] = 7
    assert float(loss(drawn, wanted, mask, ignored)) == float(value.detach())


def test_ssim_is_that_of_the_images_before_they_were_normalised() -> None:
    drawn, wanted, mask = pair()
    ours = ReconstructionLoss({"ssim": 1.0}, HALF)(
        (drawn - 0.5) / 0.25, (wanted - 0.5) / 0.25, mask
    )
    theirs = structural_similarity_index_measure(drawn, wanted, data_range=1.0)
    assert float(ours) == pytest.approx(1 - float(theirs), abs=1e-5)


def test_masked_l1_is_the_mean_within_the_mask() -> None:
    drawn, wanted = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, :3] = 1
    drawn[0, :, 0, 0] = 0.6
    drawn[0, :, 3, 3] = 0.9
    assert float(masked_l1(drawn, wanted, mask)) == pytest.approx(0.6 / 4)
    assert float(masked_l1(drawn, wanted, torch.zeros(1, 4, 4))) == 0


def test_dice_is_the_mean_over_images_with_a_defect() -> None:
    wanted = torch.zeros(2, 4, 4)
    wanted[0, :2] = 1
    assert float(dice_loss(wanted, wanted)) == pytest.approx(0)
    # Of 8 pixels 4 are found and nothing else: 1 - (2 * 4 + 1) / (4 + 8 + 1).
    half = wanted.clone()
    half[0, 1] = 0
    assert float(dice_loss(half, wanted)) == pytest.approx(1 - 9 / 13)
    assert float(dice_loss(torch.ones(2, 4, 4), torch.zeros(2, 4, 4))) == 0


def test_the_head_loss_punishes_false_negatives_and_false_positives() -> None:
    mask = torch.zeros(2, 8, 8, dtype=torch.uint8)
    mask[0, 2:5, 2:5] = 1
    loss = HeadLoss()
    assert float(loss(torch.where(mask > 0, 6.0, -6.0), mask)) < 0.05
    assert float(loss(torch.full((2, 8, 8), -6.0), mask)) > 0.5
    assert float(loss(torch.full((2, 8, 8), 6.0), mask)) > 1.0


def test_ignored_pixels_have_no_head_loss_and_no_gradient() -> None:
    mask, loss = torch.zeros(2, 8, 8, dtype=torch.uint8), HeadLoss()
    mask[0, 2:5, 2:5] = 1
    ignored = torch.zeros(2, 8, 8, dtype=torch.bool)
    ignored[:, 6:] = True
    logits = torch.full((2, 8, 8), 0.5).requires_grad_()
    value = loss(logits, mask, ignored)
    value.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[:, 6:].any()
    assert logits.grad[:, :6].abs().sum() > 0
    assert float(loss(logits.detach() + 5 * ignored, mask, ignored)) == float(value.detach())
    right = torch.where(mask > 0, 9.0, -9.0) + 18 * ignored
    assert float(loss(right, mask, ignored)) < 0.01 < 1 < float(loss(right, mask))


def test_multi_scale_ssim_uses_as_many_scales_as_fit_the_image() -> None:
    loss = ReconstructionLoss({"ms_ssim": 1.0}, PLAIN)
    for side in (16, 22, 41, 48, 90, 91, 96, 160, 161, 176):
        image = torch.rand(1, 3, side, side + 7, generator=torch.Generator().manual_seed(0))
        value = loss(image, image, torch.zeros(1, side, side + 7))
        assert float(value) == pytest.approx(0, abs=1e-4), side
