"""Losses of segmentation, against cases computed by hand and torch's own."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from capsule_inspection.models.losses.segmentation import SegmentationLoss, defect_class_weights
from capsule_inspection.types import ConfigurationError

NAMES = ("cross_entropy", "dice", "focal", "focal_tversky")


def make(*names: str, num_classes: int = 3, defect_weight: float = 3.0) -> SegmentationLoss:
    weights = dict.fromkeys(NAMES, 0.0) | dict.fromkeys(names, 1.0)
    return SegmentationLoss(
        weights, class_weights=defect_class_weights(num_classes, defect_weight=defect_weight)
    )


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_have_no_loss_and_no_gradient(name: str) -> None:
    """Equal to the loss of the other pixels alone, whatever mask and logits say there."""
    loss, mask, logits = make(name), make_mask(), random_logits().requires_grad_()
    ignored = torch.zeros_like(mask, dtype=torch.bool)
    ignored[:, :, 5:] = True
    value = loss(logits, mask, ignored)
    torch.testing.assert_close(value, loss(logits[..., :5], mask[..., :5]))
    value.backward()
    assert logits.grad is not None
    assert not logits.grad[..., 5:].any()
    assert logits.grad[..., :5].abs().sum() > 0
    torch.testing.assert_close(loss(logits, mask, torch.zeros_like(ignored)), loss(logits, mask))
    nothing = loss(logits, mask, torch.ones_like(ignored))
    assert nothing.item() == 0
    nothing.backward()


def sure(mask: Tensor, *, num_classes: int = 3) -> Tensor:
    """Logits of a network that is certain of a mask (N, H, W)."""
    return 40.0 * F.one_hot(mask, num_classes).permute(0, 3, 1, 2).float()


def make_mask() -> Tensor:
    mask = torch.zeros(2, 8, 10, dtype=torch.int64)
    mask[0, 1:4, 2:6] = 1
    mask[1, 5:7, 1:9] = 2
    return mask


def random_logits(num_classes: int = 3) -> Tensor:
    return torch.randn(2, num_classes, 8, 10, generator=torch.Generator().manual_seed(0))


def test_class_weights_are_one_for_the_background_and_equal_for_defects() -> None:
    assert defect_class_weights(4, defect_weight=3.0).tolist() == [1.0, 3.0, 3.0, 3.0]
    assert defect_class_weights(2, defect_weight=0.5).tolist() == [1.0, 0.5]


def test_cross_entropy_is_that_of_a_case_computed_by_hand_and_torchs() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    logits = probabilities.log().T.reshape(1, 3, 1, 2)
    # A pixel of the background, called with 1/2, and one of the defect 2, called with 1/10.
    found = make("cross_entropy")(logits, torch.tensor([[[0, 2]]]))
    expected = (1.0 * torch.tensor(2.0).log() + 3.0 * torch.tensor(10.0).log()) / 2
    torch.testing.assert_close(found, expected)
    plain = make("cross_entropy", defect_weight=1.0)(random_logits(), make_mask())
    torch.testing.assert_close(plain, F.cross_entropy(random_logits(), make_mask()))


def test_overlaps_are_those_of_a_case_computed_by_hand() -> None:
    # Of the defect 1 there are 3 pixels; 2 are found with 1/2 each, and 1 in vain with 1/4.
    probabilities = torch.tensor([0.5, 0.5, 0.0, 0.25, 0.0, 0.0])
    logits = torch.stack([1 - probabilities, probabilities]).clamp_min(1e-12).log()
    mask = torch.tensor([[[1, 1, 1, 0, 0, 0]]])
    dice, tversky = (
        float(make(name, num_classes=2)(logits.reshape(1, 2, 1, 6), mask))
        for name in ("dice", "focal_tversky")
    )
    # A pixel is added to both masks.
    assert dice == pytest.approx(1 - 2 * (1.0 + 1) / (1.25 + 3 + 2 * 1), rel=1e-5)
    index = (1.0 + 1) / (1.0 + 0.3 * 0.25 + 0.7 * 2.0 + 1)
    assert tversky == pytest.approx((1 - index) ** 0.75, rel=1e-5)


def test_focal_is_that_of_a_case_computed_by_hand_and_looks_at_what_is_hard() -> None:
    # Two pixels of two classes: the true one has probability .8, and .5.
    logits = torch.tensor([[0.8, 0.5], [0.2, 0.5]]).log().reshape(1, 2, 1, 2)
    found = make("focal", num_classes=2)(logits, torch.zeros(1, 1, 2, dtype=torch.long))
    by_hand = (0.2**2 * -math.log(0.8) + 0.5**2 * -math.log(0.5)) / 2
    assert float(found) == pytest.approx(by_hand, abs=1e-6)
    weights = defect_class_weights(3, defect_weight=1.0)
    mild, strict = (
        SegmentationLoss({"focal": 1.0}, class_weights=weights, focal_gamma=gamma)(
            sure(make_mask()) * 0.05, make_mask()
        )
        for gamma in (0.0, 4.0)
    )
    assert float(strict) < 0.2 * float(mild)


@pytest.mark.parametrize("name", ["dice", "focal_tversky"])
def test_overlaps_leave_out_defects_that_the_batch_does_not_have(name: str) -> None:
    mask, logits = make_mask() * (make_mask() == 1), random_logits()
    of_two = torch.stack([logits[:, [0, 2]].logsumexp(1), logits[:, 1]], 1)
    # The class that is there counts as if it were alone, shared among all.
    alone, among_all = make(name, num_classes=2)(of_two, mask), make(name)(logits, mask)
    power = 0.75 if name == "focal_tversky" else 1.0
    torch.testing.assert_close(among_all, alone / 2**power)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_decreases_to_zero_and_depends_on_probabilities_only(name: str) -> None:
    loss, mask = make(name), make_mask()
    steps = [float(loss(share * sure(mask), mask)) for share in (-0.02, 0.0, 0.02, 0.05, 0.1)]
    assert all(later < earlier for earlier, later in pairwise(steps)), steps
    assert float(loss(sure(mask), mask)) < (1e-4 if name == "focal_tversky" else 1e-5)
    assert float(loss(sure(1 - mask.clamp(max=1)), mask)) > 0.5
    shifted = float(loss(random_logits() - 5, mask))
    assert float(loss(random_logits(), mask)) == pytest.approx(shifted, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_and_without_defects_they_pull_towards_none(name: str) -> None:
    nothing = torch.zeros(2, 8, 10, dtype=torch.uint8)
    for num_classes in (2, 4):
        for scale in (0.0, 1.0, 60.0):
            logits = (scale * random_logits(num_classes)).requires_grad_()
            value = make(name, num_classes=num_classes)(logits, nothing)
            value.backward()
            assert torch.isfinite(value)
            assert torch.isfinite(logits.grad).all()
            # A step goes against the gradient: no defect gets likelier, no background rarer.
            assert float(logits.grad[:, 1:].min()) >= -1e-8
            assert float(logits.grad[:, 0].max()) <= 1e-8
    for marked in (0, 2, 100):  # also where all is right
        mask = (torch.arange(100) < marked).long().reshape(1, 10, 10)
        for answer in (torch.zeros(1, 3, 10, 10), sure(mask), sure((mask + 1) % 3)):
            logits = answer.clone().requires_grad_()
            make(name)(logits, mask).backward()
            assert torch.isfinite(logits.grad).all()


def test_the_sum_is_weighted_in_float32_and_a_weight_of_nothing_leaves_a_loss_out() -> None:
    logits, mask = random_logits(), make_mask()
    weights = {"cross_entropy": 2.0, "dice": 0.5, "focal": 0.0, "focal_tversky": 0.25}
    mixed = SegmentationLoss(weights, class_weights=defect_class_weights(3, defect_weight=3.0))
    expected = sum(weights[name] * make(name)(logits, mask) for name in NAMES)
    torch.testing.assert_close(mixed(logits, mask), expected)
    assert set(mixed.weights) == {"cross_entropy", "dice", "focal_tversky"}
    assert not mixed.state_dict()  # a checkpoint has no state of the loss
    with pytest.raises(ConfigurationError, match=r"task\.loss_weights: all of cross_entropy, dice"):
        make()
    found = make(*NAMES)(logits.half(), mask.to(torch.uint8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, make(*NAMES)(logits.half().float(), mask))
