"""Losses of classification, for integer and for soft (mixed) labels.

Sources: label smoothing, Szegedy et al. 2016 (arXiv:1512.00567); focal loss for several classes,
after Lin et al. 2017 (arXiv:1708.02002); logit adjustment, Menon et al. 2021 (arXiv:2007.07314),
section 5.2; effective number of samples, Cui et al. 2019 (arXiv:1901.05555).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.types import DataError

_BETA = 0.999
"""Of the effective number of samples (ibid.)."""


class ClassificationLoss(nn.Module):
    """Cross entropy or focal loss, with weights, smoothing and logit adjustment.

    Shapes: class_weights (C,), mean about 1; logit_offset (C,), added to the logits in training
    mode only, such as the log of the class frequencies. `gamma` is that of the focal loss.
    """

    class_weights: Tensor | None
    logit_offset: Tensor | None

    def __init__(
        self,
        *,
        name: str = "cross_entropy",
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        logit_offset: Tensor | None = None,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.gamma = gamma if name == "focal" else 0.0
        # Not saved: they depend on the training split, not on the model.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("logit_offset", logit_offset, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar in float32.

        Shapes: logits (N, C); target (N,) int64 or (N, C) probabilities.
        """
        logits = logits.float()
        if self.training and self.logit_offset is not None:
            logits = logits + self.logit_offset
        return soft_focal_loss(
            logits,
            as_probabilities(target, num_classes=logits.shape[1]),
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
            gamma=self.gamma,
        )


def as_probabilities(target: Tensor, *, num_classes: int) -> Tensor:
    """Integer labels (N,) as one-hot rows (N, C) float; soft labels (N, C) as they are."""
    if target.ndim == 2:
        return target.float()
    return F.one_hot(target, num_classes).float()


def soft_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
) -> Tensor:
    """Sum over classes of w t (1 - p)^gamma (-log p), averaged; cross entropy at gamma 0.

    The average is weighted as torch's cross entropy weights it for integer labels: by the weights
    of the labels before smoothing.
    Shapes: logits (N, C); target (N, C), rows sum to 1; class_weights (C,). Returns a scalar.
    """
    log_probabilities = F.log_softmax(logits, dim=1)
    weights = torch.ones_like(logits[0]) if class_weights is None else class_weights
    smooth = target * (1 - label_smoothing) + label_smoothing / logits.shape[1]
    terms = -(weights * smooth) * log_probabilities
    if gamma > 0:
        # The clamp keeps the gradient of x^gamma finite at 0 for gamma below 1.
        terms = terms * (1 - log_probabilities.exp()).clamp(min=1e-6) ** gamma
    return terms.sum() / (weights * target).sum()


def class_weights(counts: Sequence[float], mode: str) -> Tensor | None:
    """Weight of each class from its number of training images, (C,) float32; None for mode "none".

    "balanced": N / (C n_c), as scikit-learn. "effective": (1 - b) / (1 - b^n_c), b = 0.999, scaled
    to mean 1. Raises DataError where a class has no images.
    """
    if mode == "none":
        return None
    number = _as_counts(counts)
    if mode == "balanced":
        return (number.sum() / (len(number) * number)).float()
    weights = (1 - _BETA) / (1 - _BETA**number)
    return (weights * len(number) / weights.sum()).float()


def log_prior(counts: Sequence[float]) -> Tensor:
    """Log of the class frequencies, (C,) float32. Raises DataError where a class has no images."""
    number = _as_counts(counts)
    return (number / number.sum()).log().float()


def _as_counts(counts: Sequence[float]) -> Tensor:
    number = torch.as_tensor(counts, dtype=torch.float64)
    absent = [index for index, count in enumerate(number.tolist()) if count < 1]
    if absent:
        raise DataError(
            f"Classes {absent} have no training images, so they cannot be weighted. "
            "Use another split, or switch task.class_weights and task.logit_adjustment off."
        )
    return number
