"""Losses of semantic segmentation; Dice and Tversky are segmentation_models_pytorch's.

Focal is that of classifiers: the library's, for several classes, is a sum over sigmoids.
Sources: Dice, Milletari et al. 2016 (arXiv:1606.04797); focal, Lin et al. 2017 (arXiv:1708.02002);
focal Tversky, Abraham and Khan 2018 (arXiv:1810.07842).
"""

from __future__ import annotations

from collections.abc import Mapping

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models.losses.classification import as_probabilities, soft_focal_loss
from capsule_inspection.types import ConfigurationError

_FALSE_NEGATIVES, _FALSE_POSITIVES = 0.7, 0.3
"""Weights of the Tversky index (ibid.)."""
_TVERSKY_GAMMA = 0.75
"""Abraham and Khan's 4/3, as the power of the loss."""
_SMALLEST_LOSS = 1e-6
"""The Tversky loss is clamped: at 0, as of every batch without defects, the gradient of its power
is not finite."""
_SMOOTH = 1.0
"""Pixels added to both sides of an overlap: a few false positives do not make it zero."""


class SegmentationLoss(nn.Module):
    """Weighted sum of cross_entropy, dice, focal and focal_tversky; a weight of 0 omits a term.

    `class_weights` (C,) are those of the cross entropy. Dice and Tversky are those of the defects,
    each over all pixels of a batch; defects that a batch does not have are left out. Focal is the
    mean of (1 - p)^gamma (-log p) over pixels, p the probability of the true class. `key` is the
    setting of the weights, for messages.
    Raises ConfigurationError where every weight is 0.
    """

    class_weights: Tensor

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        class_weights: Tensor,
        focal_gamma: float = 2.0,
        key: str = "task.loss_weights",
    ) -> None:
        super().__init__()
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise ConfigurationError(
                f"{key}: all of {', '.join(weights)} are 0. One must be above 0."
            )
        self.register_buffer("class_weights", class_weights, persistent=False)
        defects = list(range(1, len(class_weights)))
        self.dice = smp.losses.DiceLoss("multiclass", classes=defects, smooth=_SMOOTH)
        self.focal_gamma = focal_gamma
        self.tversky = smp.losses.TverskyLoss(
            "multiclass",
            classes=defects,
            smooth=_SMOOTH,
            alpha=_FALSE_POSITIVES,
            beta=_FALSE_NEGATIVES,
        )

    def forward(self, logits: Tensor, mask: Tensor, ignored: Tensor | None = None) -> Tensor:
        """The weighted sum, a scalar in float32; 0 where all pixels are ignored.

        Shapes: logits (N, C, H, W); mask (N, H, W), class indices; ignored (N, H, W) bool, true on
        pixels that are left out.
        """
        logits, mask = logits.float(), mask.long()
        if ignored is not None:  # each term is over the pixels of the batch, wherever they are
            logits, mask = logits.movedim(1, -1)[~ignored].T[None], mask[~ignored][None]
            if not mask.numel():
                return logits.sum()  # in the graph, since processes must agree
        total = logits.new_zeros(())
        for name, weight in self.weights.items():
            total = total + weight * self._term(name, logits, mask)
        return total

    def _term(self, name: str, logits: Tensor, mask: Tensor) -> Tensor:
        if name == "cross_entropy":
            losses = F.cross_entropy(logits, mask, weight=self.class_weights, reduction="none")
            return losses.mean()
        if name == "dice":
            return self.dice(logits, mask)
        if name == "focal":
            pixels = logits.movedim(1, -1).flatten(0, -2)
            true = as_probabilities(mask.flatten(), num_classes=pixels.shape[1])
            return soft_focal_loss(pixels, true, gamma=self.focal_gamma)
        return self.tversky(logits, mask).clamp_min(_SMALLEST_LOSS) ** _TVERSKY_GAMMA


def defect_class_weights(num_classes: int, *, defect_weight: float) -> Tensor:
    """Weights (C,) of the cross entropy: 1 for the background, the same for every defect."""
    weights = torch.full((num_classes,), float(defect_weight))
    weights[0] = 1
    return weights
