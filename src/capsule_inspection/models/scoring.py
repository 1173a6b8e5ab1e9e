"""From a network's outputs to what is reported: probabilities and defect scores.

Pure torch; thresholds are chosen in metrics.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from capsule_inspection.types import GOOD_LABEL


class ClassificationScores(NamedTuple):
    """Shapes: probabilities (N, C), rows sum to 1; score (N,) in [0, 1], high for defects."""

    probabilities: Tensor
    score: Tensor


def scaled_logits(logits: Tensor, *, temperature: float, good_shift: float) -> Tensor:
    """Logits over a temperature, that of "good" raised by a shift (see metrics/temperature.py).

    Shapes: logits (N, C), of any float type; float32 or wider comes back.
    """
    scaled = (logits if logits.dtype == torch.float64 else logits.float()) / temperature
    before, good, after = scaled.tensor_split((GOOD_LABEL, GOOD_LABEL + 1), dim=1)
    return torch.cat([before, good + good_shift, after], dim=1)


def classification_scores(logits: Tensor) -> ClassificationScores:
    """Class probabilities, and one minus the probability of "good".

    Computed in float64 where the device has it. The score is the sum over the defects: where
    "good" is nearly certain, one minus its probability would round many scores to one value.
    Shapes: logits (N, C), of any float type.
    """
    precision = torch.float32 if logits.device.type == "mps" else torch.float64
    probabilities = logits.to(precision).softmax(dim=1)
    is_defect = torch.arange(logits.shape[1], device=logits.device) != GOOD_LABEL
    return ClassificationScores(probabilities, probabilities[:, is_defect].sum(dim=1))
