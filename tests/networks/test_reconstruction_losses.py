"""Losses of reconstruction and of the head, against hand and library."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from capsule_inspection.contracts import ConfigurationError, Normalisation
from capsule_inspection.networks.reconstruction_losses import (
    TERMS,
    HeadLoss,
    ReconstructionLoss,
    dice_loss,
    masked_l1,
)

PLAIN = Normalisation(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
HALF = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    wanted = torch.rand(2, 3, 48, 64, generator=generator)
    drawn = (wanted + 0.1 * torch.randn(2, 3, 48, 64, generator=generator)).requires_grad_()
    return drawn, wanted, torch.zeros(2, 48, 64)


@pytest.mark.parametrize("name", [*TERMS])
def test_each_term_is_zero_for_a_perfect_image_and_has_a_finite_gradient(name: str) -> None:
    drawn, wanted, mask = pair()
    loss = ReconstructionLoss({name: 1.0}, PLAIN)
    assert float(loss(wanted, wanted, mask)) == pytest.approx(0, abs=1e-5)
    value = loss(drawn, wanted, mask)
    value.backward()
    assert float(value.detach()) > 0
    assert torch.isfinite(drawn.grad).all()  # type: ignore[arg-type]


def test_a_mixture_is_the_weighted_sum_of_its_terms() -> None:
    drawn, wanted, mask = pair()
    drawn = drawn.detach()
    single = {n: float(ReconstructionLoss({n: 1.0}, PLAIN)(drawn, wanted, mask)) for n in TERMS}
    mixed = ReconstructionLoss({"l1": 2.0, "l2": 0.5, "ssim": 0.0, "gradient": 1.0}, PLAIN)
    expected = 2 * single["l1"] + 0.5 * single["l2"] + single["gradient"]
    assert float(mixed(drawn, wanted, mask)) == pytest.approx(expected, rel=1e-5)


def test_ssim_is_that_of_the_images_before_they_were_normalised() -> None:
    drawn, wanted, mask = pair()
    drawn = drawn.detach()
    ours = ReconstructionLoss({"ssim": 1.0}, HALF)(
        (drawn - 0.5) / 0.25, (wanted - 0.5) / 0.25, mask
    )
    theirs = structural_similarity_index_measure(drawn, wanted, data_range=1.0)
    assert float(ours) == pytest.approx(1 - float(theirs), abs=1e-5)  # type: ignore[arg-type]


def test_what_was_spoilt_counts_by_itself() -> None:
    drawn, wanted = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    mask = torch.zeros(1, 4, 4)
    mask[0, 0, :3] = 1
    drawn[0, :, 0, 0] = 0.6
    drawn[0, :, 3, 3] = 0.9
    assert float(masked_l1(drawn, wanted, mask)) == pytest.approx(0.6 / 4)
    assert float(masked_l1(drawn, wanted, torch.zeros(1, 4, 4))) == 0


def test_no_term_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"task\.loss_weights"):
        ReconstructionLoss({"l1": 0.0, "l2": 0.0}, PLAIN)


def test_dice_is_that_of_the_images_with_something_to_find() -> None:
    wanted = torch.zeros(2, 4, 4)
    wanted[0, :2] = 1
    assert float(dice_loss(wanted, wanted)) == pytest.approx(0)
    # Of 8 pixels 4 are found and nothing else: 1 - (2 * 4 + 1) / (4 + 8 + 1).
    half = wanted.clone()
    half[0, 1] = 0
    assert float(dice_loss(half, wanted)) == pytest.approx(1 - 9 / 13)
    assert float(dice_loss(torch.ones(2, 4, 4), torch.zeros(2, 4, 4))) == 0


def test_the_head_pays_for_defects_missed_and_for_false_alarms() -> None:
    mask = torch.zeros(2, 8, 8, dtype=torch.uint8)
    mask[0, 2:5, 2:5] = 1
    right = torch.where(mask > 0, 6.0, -6.0)
    loss = HeadLoss()
    assert float(loss(right, mask)) < 0.05
    assert float(loss(torch.full((2, 8, 8), -6.0), mask)) > 0.5
    assert float(loss(torch.full((2, 8, 8), 6.0), mask)) > 1.0


@pytest.mark.parametrize("side", [16, 22, 41, 48, 90, 91, 96, 160, 161, 176])
def test_multi_scale_ssim_takes_as_many_scales_as_the_image_is_large_enough_for(side: int) -> None:
    image = torch.rand(1, 3, side, side + 7, generator=torch.Generator().manual_seed(0))
    loss = ReconstructionLoss({"ms_ssim": 1.0}, PLAIN)
    assert float(loss(image, image, torch.zeros(1, side, side + 7))) == pytest.approx(0, abs=1e-4)
