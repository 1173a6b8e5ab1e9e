"""Losses of classifiers against hand-computed cases and torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from capsule_inspection.models.losses.classification import (
    ClassificationLoss,
    class_weights,
    log_prior,
    soft_focal_loss,
)
from capsule_inspection.types import DataError

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 2, 1])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
WEIGHTS = torch.tensor([0.5, 1.0, 2.5])


def test_cross_entropy_equals_torchs() -> None:
    for smoothing in (0.0, 0.1):
        for weights in (None, WEIGHTS):
            loss = ClassificationLoss(class_weights=weights, label_smoothing=smoothing)
            expected = F.cross_entropy(LOGITS, LABELS, weight=weights, label_smoothing=smoothing)
            torch.testing.assert_close(loss(LOGITS, LABELS), expected)
    of_soft = ClassificationLoss(label_smoothing=0.2)(LOGITS, SOFT)
    torch.testing.assert_close(of_soft, F.cross_entropy(LOGITS, SOFT, label_smoothing=0.2))
    assert ClassificationLoss()(LOGITS.bfloat16(), LABELS).dtype == torch.float32


def test_focal_loss_is_that_of_cases_by_hand() -> None:
    # Two classes at p = 1/2: (1 - 1/2)^2 * log 2.
    value = ClassificationLoss(name="focal", gamma=2.0)(torch.zeros(1, 2), torch.tensor([1]))
    assert value.item() == pytest.approx(0.25 * math.log(2), rel=1e-6)
    plain = ClassificationLoss(name="focal", gamma=0.0)
    torch.testing.assert_close(plain(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))
    certain = torch.tensor([[100.0, 0.0]])
    assert soft_focal_loss(certain, torch.tensor([[1.0, 0.0]]), gamma=2.0).item() == 0
    of_rows = ClassificationLoss(name="focal", class_weights=WEIGHTS, label_smoothing=0.1)
    one_hot = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(of_rows(LOGITS, LABELS), of_rows(LOGITS, one_hot))


def test_focal_loss_has_finite_gradients_at_certainty() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    ClassificationLoss(name="focal", gamma=0.5)(logits, torch.tensor([0, 0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_logit_adjustment_adds_the_prior_in_training_only() -> None:
    loss = ClassificationLoss(logit_offset=1.5 * log_prior([6, 2, 2]))
    expected = F.cross_entropy(LOGITS + 1.5 * torch.tensor([0.6, 0.2, 0.2]).log(), LABELS)
    torch.testing.assert_close(loss(LOGITS, LABELS), expected)
    torch.testing.assert_close(loss.eval()(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))


def test_class_weights_follow_their_formulas() -> None:
    # Of 10 images: 10 / (2 * 8) and 10 / (2 * 2).
    balanced = class_weights([8, 2], "balanced")
    # (1 - b) / (1 - b^n): 1 / 1.999 and 1, scaled by 2 / (2.999 / 1.999).
    effective = class_weights([2, 1], "effective")
    assert balanced.tolist() == pytest.approx([0.625, 2.5])
    assert effective.tolist() == pytest.approx([2 / 2.999, 2 * 1.999 / 2.999])
    assert class_weights([5, 0], "none") is None
    with pytest.raises(DataError, match=r"Classes \[1\]"):
        class_weights([5, 0], "balanced")
