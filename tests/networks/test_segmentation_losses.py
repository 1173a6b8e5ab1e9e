"""Losses of segmentation, against cases computed by hand and torch's own."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from capsule_inspection.contracts import ConfigurationError
from capsule_inspection.networks.segmentation_losses import SegmentationLoss, class_weights

NAMES = ("cross_entropy", "dice", "focal", "focal_tversky")


def make(*names: str, num_classes: int = 3, defect_weight: float = 3.0) -> SegmentationLoss:
    weights = dict.fromkeys(NAMES, 0.0) | dict.fromkeys(names, 1.0)
    return SegmentationLoss(
        weights, class_weights=class_weights(num_classes, defect_weight=defect_weight)
    )


def sure(mask: Tensor, *, num_classes: int = 3) -> Tensor:
    """Logits of a network that is certain of a mask (N, H, W)."""
    return 40.0 * F.one_hot(mask, num_classes).permute(0, 3, 1, 2).float()


def make_mask() -> Tensor:
    mask = torch.zeros(2, 8, 10, dtype=torch.int64)
    mask[0, 1:4, 2:6] = 1
    mask[1, 5:7, 1:9] = 2
    return mask


def test_class_weights_are_one_for_the_background_and_alike_for_defects() -> None:
    assert class_weights(4, defect_weight=3.0).tolist() == [1.0, 3.0, 3.0, 3.0]
    assert class_weights(2, defect_weight=0.5).tolist() == [1.0, 0.5]


def test_cross_entropy_is_that_of_a_case_computed_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    logits = probabilities.log().T.reshape(1, 3, 1, 2)
    # A pixel of the background, called with 1/2, and one of the defect 2, called with 1/10.
    found = make("cross_entropy")(logits, torch.tensor([[[0, 2]]]))
    expected = (1.0 * torch.tensor(2.0).log() + 3.0 * torch.tensor(10.0).log()) / 2
    torch.testing.assert_close(found, expected)


def test_cross_entropy_is_torchs_of_each_pixel_averaged_over_all() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 8, 10), make_mask()
    weights = torch.tensor([1.0, 3.0, 3.0])
    expected = F.cross_entropy(logits, mask, weight=weights, reduction="sum") / mask.numel()
    torch.testing.assert_close(make("cross_entropy")(logits, mask), expected)
    plain = make("cross_entropy", defect_weight=1.0)(logits, mask)
    torch.testing.assert_close(plain, F.cross_entropy(logits, mask))


def test_dice_is_that_of_a_case_computed_by_hand() -> None:
    # Of the defect 1 there are 3 pixels; 2 are found with 1/2 each, and 1 in vain with 1/4.
    probabilities = torch.tensor([0.5, 0.5, 0.0, 0.25, 0.0, 0.0])
    logits = torch.stack([1 - probabilities, probabilities]).clamp_min(1e-12).log()
    mask = torch.tensor([[[1, 1, 1, 0, 0, 0]]])
    found = make("dice", num_classes=2)(logits.reshape(1, 2, 1, 6), mask)
    expected = 1 - 2 * (1.0 + 1) / (1.25 + 3 + 2 * 1)  # a pixel is added to both masks
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_focal_tversky_is_that_of_a_case_computed_by_hand() -> None:
    probabilities = torch.tensor([0.5, 0.5, 0.0, 0.25, 0.0, 0.0])
    logits = torch.stack([1 - probabilities, probabilities]).clamp_min(1e-12).log()
    mask = torch.tensor([[[1, 1, 1, 0, 0, 0]]])
    found = make("focal_tversky", num_classes=2)(logits.reshape(1, 2, 1, 6), mask)
    index = (1.0 + 1) / (1.0 + 0.3 * 0.25 + 0.7 * 2.0 + 1)
    assert float(found) == pytest.approx((1 - index) ** 0.75, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "dice"])
def test_a_perfect_prediction_costs_nothing(name: str) -> None:
    assert float(make(name)(sure(make_mask()), make_mask())) == pytest.approx(0.0, abs=1e-5)


def test_a_perfect_prediction_costs_next_to_nothing_in_focal_tversky() -> None:
    loss = make("focal_tversky")
    assert float(loss(sure(make_mask()), make_mask())) < 1e-4
    assert float(loss(sure(1 - make_mask().clamp(max=1)), make_mask())) > 0.5


@pytest.mark.parametrize("name", ["dice", "focal_tversky"])
def test_overlaps_know_nothing_of_defects_that_the_batch_does_not_have(name: str) -> None:
    torch.manual_seed(0)
    mask = make_mask() * (make_mask() == 1)
    logits = torch.randn(2, 3, 8, 10)
    of_two = torch.stack([logits[:, [0, 2]].logsumexp(1), logits[:, 1]], 1)
    # The class that is there counts as if it were alone, shared among all.
    alone, among_all = make(name, num_classes=2)(of_two, mask), make(name)(logits, mask)
    power = 0.75 if name == "focal_tversky" else 1.0
    torch.testing.assert_close(among_all, alone / 2**power)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_falls_when_the_prediction_gets_better(name: str) -> None:
    loss, mask = make(name), make_mask()
    steps = [float(loss(share * sure(mask), mask)) for share in (-0.02, 0.0, 0.02, 0.05, 0.1)]
    assert all(later < earlier for earlier, later in pairwise(steps)), steps


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_minimised_to_its_mask(name: str) -> None:
    loss, mask = make(name), make_mask()
    logits = torch.zeros(2, 3, 8, 10, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(80):
        optimizer.zero_grad()
        loss(logits, mask).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(1), mask)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("scale", [0.0, 1.0, 60.0])
def test_a_batch_without_defects_has_finite_gradients_that_pull_towards_none(
    name: str, num_classes: int, scale: float
) -> None:
    torch.manual_seed(0)
    logits = (scale * torch.randn(2, num_classes, 8, 10)).requires_grad_()
    value = make(name, num_classes=num_classes)(logits, torch.zeros(2, 8, 10, dtype=torch.uint8))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    # A step goes against the gradient: defects must not get likelier, the background not rarer.
    assert float(logits.grad[:, 1:].min()) >= -1e-8
    assert float(logits.grad[:, 0].max()) <= 1e-8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("defect_share", [0.0, 0.02, 1.0])
def test_gradients_are_finite_for_every_share_of_defects_even_where_all_is_right(
    name: str, defect_share: float
) -> None:
    mask = torch.zeros(100, dtype=torch.int64)
    mask[: round(100 * defect_share)] = 1
    mask = mask.reshape(1, 10, 10)
    for logits in (torch.zeros(1, 3, 10, 10), sure(mask), sure((mask + 1) % 3)):
        logits = logits.clone().requires_grad_()
        make(name)(logits, mask).backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_the_sum_is_weighted_and_a_weight_of_nothing_leaves_a_loss_out() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 8, 10), make_mask()
    weights = {"cross_entropy": 2.0, "dice": 0.5, "focal": 0.0, "focal_tversky": 0.25}
    both = SegmentationLoss(weights, class_weights=class_weights(3, defect_weight=3.0))
    expected = sum(weights[name] * make(name)(logits, mask) for name in NAMES)
    torch.testing.assert_close(both(logits, mask), expected)
    assert set(both.weights) == {"cross_entropy", "dice", "focal_tversky"}


def test_focal_is_that_of_a_case_computed_by_hand() -> None:
    # Two pixels of two classes: the true one has probability .8, and .5.
    logits = torch.tensor([[0.8, 0.5], [0.2, 0.5]]).log().reshape(1, 2, 1, 2)
    found = make("focal", num_classes=2)(logits, torch.zeros(1, 1, 2, dtype=torch.long))
    by_hand = (0.2**2 * -math.log(0.8) + 0.5**2 * -math.log(0.5)) / 2
    assert float(found) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_of_probabilities_so_that_a_shift_of_all_logits_changes_nothing(
    name: str,
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    mask = torch.randint(3, (2, 8, 8), generator=generator)
    loss = make(name, num_classes=3)
    assert float(loss(logits, mask)) == pytest.approx(float(loss(logits - 5, mask)), abs=1e-5)


def test_gamma_makes_focal_look_at_what_is_hard() -> None:
    torch.manual_seed(0)
    logits, mask = sure(make_mask()) * 0.05, make_mask()
    weights = {"focal": 1.0}
    mild, strict = (
        SegmentationLoss(weights, class_weights=class_weights(3, defect_weight=1.0), focal_gamma=g)
        for g in (0.0, 4.0)
    )
    assert float(strict(logits, mask)) < 0.2 * float(mild(logits, mask))


def test_without_any_weight_there_is_nothing_to_learn_from() -> None:
    with pytest.raises(ConfigurationError, match=r"task\.loss_weights: all of cross_entropy, dice"):
        make()


def test_half_precision_is_not_for_losses() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 3, 8, 10), make_mask()
    found = make(*NAMES)(logits.half(), mask.to(torch.uint8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, make(*NAMES)(logits.half().float(), mask))


def test_a_checkpoint_has_no_state_of_the_loss() -> None:
    assert not make(*NAMES).state_dict()
