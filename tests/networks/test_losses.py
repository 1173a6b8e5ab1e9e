"""Losses against hand-computed cases and torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from capsule_inspection.contracts import ConfigurationError, DataError
from capsule_inspection.networks.losses import (
    ClassificationLoss,
    class_weights,
    log_prior,
    soft_focal_loss,
)

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 2, 1])
WEIGHTS = torch.tensor([0.5, 1.0, 2.5])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_of_integer_labels_equals_torchs(
    weights: torch.Tensor | None, smoothing: float
) -> None:
    loss = ClassificationLoss(class_weights=weights, label_smoothing=smoothing)
    expected = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss(LOGITS, LABELS), expected)


def test_cross_entropy_of_soft_labels_equals_torchs() -> None:
    soft = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    loss = ClassificationLoss(label_smoothing=0.2)
    expected = F.cross_entropy(LOGITS, soft, label_smoothing=0.2)
    torch.testing.assert_close(loss(LOGITS, soft), expected)


def test_one_hot_rows_and_integer_labels_give_the_same_loss() -> None:
    loss = ClassificationLoss(kind="focal", class_weights=WEIGHTS, label_smoothing=0.1)
    torch.testing.assert_close(loss(LOGITS, LABELS), loss(LOGITS, F.one_hot(LABELS, 3).float()))


def test_focal_loss_of_an_even_guess_is_computed_by_hand() -> None:
    # Two classes at p = 1/2: (1 - 1/2)^2 * log 2.
    loss = ClassificationLoss(kind="focal", gamma=2.0)
    value = loss(torch.zeros(1, 2), torch.tensor([1]))
    assert value.item() == pytest.approx(0.25 * math.log(2), rel=1e-6)


def test_focal_loss_with_gamma_zero_is_cross_entropy() -> None:
    loss = ClassificationLoss(kind="focal", gamma=0.0)
    torch.testing.assert_close(loss(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_focal_loss_has_finite_gradients_at_certainty() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    ClassificationLoss(kind="focal", gamma=0.5)(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_logit_adjustment_adds_the_prior_in_training_only() -> None:
    prior = log_prior([6, 2, 2])
    loss = ClassificationLoss(log_prior=prior, tau=1.5)
    expected = F.cross_entropy(LOGITS + 1.5 * torch.tensor([0.6, 0.2, 0.2]).log(), LABELS)
    torch.testing.assert_close(loss(LOGITS, LABELS), expected)
    torch.testing.assert_close(loss.eval()(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_half_precision_logits_give_a_float32_loss() -> None:
    value = ClassificationLoss()(LOGITS.bfloat16(), LABELS)
    assert value.dtype == torch.float32


def test_balanced_weights_are_inverse_to_the_counts() -> None:
    # 10 images: 10 / (2 * 8) and 10 / (2 * 2).
    weights = class_weights([8, 2], "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.625, 2.5])


def test_effective_weights_follow_their_formula_and_have_mean_one() -> None:
    weights = class_weights([2, 1], "effective", beta=0.5)
    # (1 - b) / (1 - b^n): 0.5 / 0.75 and 0.5 / 0.5, scaled by 2 / (5 / 3).
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.8, 1.2])


def test_no_class_weights_where_none_are_asked_for() -> None:
    assert class_weights([5, 0], "none") is None


def test_a_class_without_images_cannot_be_weighted() -> None:
    with pytest.raises(DataError, match=r"Classes \[1\]"):
        class_weights([5, 0], "balanced")


@pytest.mark.parametrize(
    "settings", [{"kind": "hinge"}, {"label_smoothing": 1.0}, {"kind": "focal", "gamma": -1.0}]
)
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        ClassificationLoss(**settings)


def test_soft_focal_loss_is_zero_for_a_certain_and_right_answer() -> None:
    logits = torch.tensor([[100.0, 0.0]])
    assert soft_focal_loss(logits, torch.tensor([[1.0, 0.0]]), gamma=2.0).item() == 0
