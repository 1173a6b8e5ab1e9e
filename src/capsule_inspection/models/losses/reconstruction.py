"""Losses of an autoencoder's reconstruction and of its segmentation head.

Sources: L1, L2, SSIM and multi-scale SSIM (Wang et al. 2003) as in torchmetrics; the gradient term
is the L1 distance of neighbouring differences (Mathieu et al. 2016, arXiv:1511.05440); Dice after
Milletari et al. 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from capsule_inspection.models.base import denormalize
from capsule_inspection.types import ConfigurationError, Normalisation

CORRUPTED = "corrupted"
_DICE_WEIGHT = 0.5
_CROSS_ENTROPY_WEIGHT = 2.0
"""Brings the cross entropy of mostly empty masks to the size of the Dice loss."""
_DEFECT_WEIGHT = 3.0
_SURELY_GOOD = -1e4
"""A logit whose cross entropy and probability are 0 in float32."""
_SMALLEST_SCALE_PX = 10
"""torchmetrics needs a larger image at the smallest scale."""


class ReconstructionLoss(nn.Module):
    """Weighted sum of l1, l2, ssim, ms_ssim, gradient and corrupted; a weight of 0 omits a term.

    `corrupted` is the L1 distance within the corrupted region, which is too small to matter in the
    others. SSIM costs as much as a whole step of a small model on a CPU.
    Raises ConfigurationError where every weight is 0.
    """

    def __init__(self, weights: Mapping[str, float], normalisation: Normalisation) -> None:
        super().__init__()
        self.terms = {name: weight for name, weight in weights.items() if weight > 0}
        if not self.terms:
            raise ConfigurationError(
                f"task.loss_weights: all of {', '.join(weights)} are 0. One must be above 0."
            )
        self.normalisation = normalisation

    def forward(
        self,
        reconstruction: Tensor,
        target: Tensor,
        mask: Tensor,
        ignored: Tensor | None = None,
    ) -> Tensor:
        """The weighted sum, a scalar in float32.

        Shapes: both (N, 3, H, W), normalised; mask (N, H, W), nonzero where the input is corrupted;
        ignored (N, H, W) bool, true where any reconstruction is right.
        """
        reconstruction, target = reconstruction.float(), target.float()
        if ignored is not None:
            reconstruction = torch.where(ignored[:, None], target, reconstruction)
        pair = [reconstruction, target]
        if any("ssim" in name for name in self.terms):
            images = [denormalize(image, self.normalisation) for image in pair]
        total = reconstruction.new_zeros(())
        for name, weight in self.terms.items():
            if name == CORRUPTED:
                total = total + weight * masked_l1(reconstruction, target, mask)
            else:
                total = total + weight * TERMS[name](*(images if "ssim" in name else pair))
        return total


class HeadLoss(nn.Module):
    """Cross entropy in which a defect's pixel counts three times, plus Dice."""

    def forward(self, logits: Tensor, mask: Tensor, ignored: Tensor | None = None) -> Tensor:
        """Shapes: logits (N, H, W); mask (N, H, W), nonzero on defects. Returns a scalar.

        ignored (N, H, W) bool is true on pixels that are left out: they are as if they were surely
        no defect.
        """
        logits, target = logits.float(), (mask > 0).float()
        if ignored is not None:
            logits = logits.masked_fill(ignored, _SURELY_GOOD)
        weight = 1 + (_DEFECT_WEIGHT - 1) * target
        entropy = F.binary_cross_entropy_with_logits(logits, target, weight=weight)
        dice = dice_loss(torch.sigmoid(logits), target)
        return _CROSS_ENTROPY_WEIGHT * entropy + _DICE_WEIGHT * dice


def masked_l1(reconstruction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """L1 distance within a mask; 0 where it is empty. Shapes: (N, 3, H, W) twice, (N, H, W)."""
    inside = (mask > 0).float()
    distance = (reconstruction - target).abs().mean(1)
    return (distance * inside).sum() / (inside.sum() + 1)


def dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """One minus the mean Dice of the images with a defect; 0 where none has one.

    Shapes: both (N, H, W); target in {0, 1}.
    """
    has_any = target.flatten(1).any(1)
    overlap = (probabilities * target).sum((1, 2))
    total = probabilities.sum((1, 2)) + target.sum((1, 2))
    missing = (1 - (2 * overlap + 1) / (total + 1)) * has_any
    return missing.sum() / has_any.sum().clamp(min=1)


def _gradient(reconstruction: Tensor, target: Tensor) -> Tensor:
    difference = reconstruction - target
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    return across + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()


def _ssim(reconstruction: Tensor, target: Tensor) -> Tensor:
    found = structural_similarity_index_measure(reconstruction, target, data_range=1.0)
    assert isinstance(found, Tensor)
    return 1 - found


def _multi_scale_ssim(reconstruction: Tensor, target: Tensor) -> Tensor:
    betas = _scale_weights(min(reconstruction.shape[2:]))
    return 1 - multiscale_structural_similarity_index_measure(
        reconstruction, target, data_range=1.0, betas=betas, normalize="relu"
    )


def _scale_weights(shorter_side_px: int) -> tuple[float, ...]:
    """The weights of those scales of Wang et al. for which the image is large enough."""
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    fitting = [
        count
        for count in range(1, len(weights) + 1)
        if shorter_side_px // max(1, count - 1) ** 2 > _SMALLEST_SCALE_PX
        and shorter_side_px >= 2**count
    ]
    scales = max(fitting, default=1)
    total = sum(weights[:scales])
    return tuple(weight / total for weight in weights[:scales])


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "l2": F.mse_loss,
    "ssim": _ssim,
    "ms_ssim": _multi_scale_ssim,
    "gradient": _gradient,
}
