"""Losses of classification, for integer and for soft (mixed) labels.

Sources: label smoothing, Szegedy et al. 2016 (arXiv:1512.00567); focal loss for several classes,
after Lin et al. 2017 (arXiv:1708.02002); logit adjustment, Menon et al. 2021 (arXiv:2007.07314),
section 5.2; effective number of samples, Cui et al. 2019 (arXiv:1901.05555).
Pure torch; which of them is used is a matter of tasks/classification_/lightning_module.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.types import ConfigurationError, DataError

KINDS = ("cross_entropy", "focal")
CLASS_WEIGHT_MODES = ("none", "balanced", "effective")


class ClassificationLoss(nn.Module):
    """Cross entropy or focal loss, with weights, smoothing and logit adjustment.

    Shapes: class_weights (C,), mean about 1; log_prior (C,), log of the training part's class
    frequencies, added to the logits `tau` times in training mode only.
    Raises ConfigurationError for settings out of range.
    """

    class_weights: Tensor | None
    log_prior: Tensor | None

    def __init__(
        self,
        *,
        kind: str = "cross_entropy",
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        log_prior: Tensor | None = None,
        tau: float = 1.0,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        _check_settings(kind=kind, label_smoothing=label_smoothing, gamma=gamma)
        self.kind = kind
        self.label_smoothing = label_smoothing
        self.tau = tau
        self.gamma = gamma if kind == "focal" else 0.0
        # Not saved: they follow from the training part, and a checkpoint is one of a network.
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("log_prior", log_prior, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar in float32.

        Shapes: logits (N, C); target (N,) int64 or (N, C) probabilities.
        """
        logits = logits.float()
        if self.training and self.log_prior is not None:
            logits = logits + self.tau * self.log_prior
        return soft_focal_loss(
            logits,
            as_probabilities(target, num_classes=logits.shape[1]),
            class_weights=self.class_weights,
            label_smoothing=self.label_smoothing,
            gamma=self.gamma,
        )


def _check_settings(*, kind: str, label_smoothing: float, gamma: float) -> None:
    if kind not in KINDS:
        raise ConfigurationError(f"loss kind={kind}: expected one of {', '.join(KINDS)}.")
    if not 0 <= label_smoothing < 1:
        raise ConfigurationError(
            f"label_smoothing={label_smoothing}: expected at least 0 and below 1."
        )
    if gamma < 0:
        raise ConfigurationError(f"focal gamma={gamma}: expected at least 0.")


def as_probabilities(target: Tensor, *, num_classes: int) -> Tensor:
    """Integer labels (N,) as rows of one 1, (N, C) float; soft labels (N, C) as they are."""
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


def class_weights(
    counts: Sequence[float], mode: str = "balanced", *, beta: float = 0.999
) -> Tensor | None:
    """Weight of each class from its number of training images; None for mode "none".

    "balanced": N / (C n_c), as scikit-learn. "effective": (1 - beta) / (1 - beta^n_c), scaled to
    mean 1. Returns (C,) float32.
    Raises ConfigurationError for another mode, DataError where a class has no images.
    """
    if mode not in CLASS_WEIGHT_MODES:
        raise ConfigurationError(
            f"class_weights={mode}: expected one of {', '.join(CLASS_WEIGHT_MODES)}."
        )
    if mode == "none":
        return None
    number = _as_counts(counts)
    if mode == "balanced":
        return (number.sum() / (len(number) * number)).float()
    weights = (1 - beta) / (1 - beta**number)
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
            "Use another split, or switch class weights and logit adjustment off."
        )
    return number
