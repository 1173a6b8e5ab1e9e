"""Losses of reconstruction and of the head that reads it, as weighted sums.

Sources: L1, L2, SSIM and multi-scale SSIM (Wang et al. 2003) as torchmetrics has them; the gradient
term is the L1 distance of neighbouring differences (Mathieu et al. 2016, arXiv:1511.05440); Dice
after Milletari et al. 2016.
Pure torch; which are used is decided in conf/task/reconstruction.yaml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models.base import to_colours
from capsule_inspection.types import ConfigurationError, Normalisation

SPOILT = "spoilt"
_DICE_SHARE = 0.5
_ENTROPY_SCALE = 2.0
"""Brings the cross entropy of mostly empty masks to the size of the Dice loss."""
_SPOILT_WEIGHT = 3.0
_WINDOW_PX = 10
"""What torchmetrics asks of the smallest scale."""


class ReconstructionLoss(nn.Module):
    """Weighted sum of l1, l2, ssim, ms_ssim, gradient and spoilt; a weight of 0 leaves a term out.

    `spoilt` is the L1 distance within what was spoilt, which is too small to matter in the others.
    SSIM costs as much as a whole step of a small network on a processor.
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

    def forward(self, reconstruction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """The weighted sum, a scalar in float32.

        Shapes: both (N, 3, H, W), normalised; mask (N, H, W), nonzero where the input was spoilt.
        """
        drawn, wanted = reconstruction.float(), target.float()
        if any("ssim" in name for name in self.terms):
            colours = [to_colours(image, self.normalisation) for image in (drawn, wanted)]
        total = drawn.new_zeros(())
        for name, weight in self.terms.items():
            if name == SPOILT:
                total = total + weight * masked_l1(drawn, wanted, mask)
                continue
            pair = colours if "ssim" in name else [drawn, wanted]
            total = total + weight * TERMS[name](*pair)
        return total


class HeadLoss(nn.Module):
    """Cross entropy in which a spoilt pixel counts three times, plus Dice."""

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Shapes: logits (N, H, W); mask (N, H, W), nonzero on defects. Returns a scalar."""
        logits, wanted = logits.float(), (mask > 0).float()
        weight = 1 + (_SPOILT_WEIGHT - 1) * wanted
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, weight=weight)
        return _ENTROPY_SCALE * entropy + _DICE_SHARE * dice_loss(torch.sigmoid(logits), wanted)


def masked_l1(drawn: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """L1 distance within a mask; 0 where it is empty. Shapes: (N, 3, H, W) twice, (N, H, W)."""
    inside = (mask > 0).float()
    distance = (drawn - wanted).abs().mean(1)
    return (distance * inside).sum() / (inside.sum() + 1)


def dice_loss(probabilities: Tensor, wanted: Tensor) -> Tensor:
    """One minus the mean Dice of the images that have something to find; 0 where none has.

    Shapes: both (N, H, W); wanted of 0 and 1.
    """
    has_any = wanted.flatten(1).any(1)
    overlap = (probabilities * wanted).sum((1, 2))
    together = probabilities.sum((1, 2)) + wanted.sum((1, 2))
    missing = (1 - (2 * overlap + 1) / (together + 1)) * has_any
    return missing.sum() / has_any.sum().clamp(min=1)


def _gradient(drawn: Tensor, wanted: Tensor) -> Tensor:
    difference = drawn - wanted
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    return across + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()


def _ssim(drawn: Tensor, wanted: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = structural_similarity_index_measure(drawn, wanted, data_range=1.0)
    assert isinstance(found, Tensor)
    return 1 - found


def _multi_scale_ssim(drawn: Tensor, wanted: Tensor) -> Tensor:
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    betas = _betas(min(drawn.shape[2:]))
    return 1 - ms_ssim(drawn, wanted, data_range=1.0, betas=betas, normalize="relu")


def _betas(shorter_side_px: int) -> tuple[float, ...]:
    """The weights of Wang et al.'s scales, as many as the image is large enough for."""
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    fitting = [
        count
        for count in range(1, len(weights) + 1)
        if shorter_side_px // max(1, count - 1) ** 2 > _WINDOW_PX and shorter_side_px >= 2**count
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
