"""Classification: the most probable class of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from capsule_inspection.tasks.post_processor import PostProcessor, Prediction
from capsule_inspection.types import GOOD_LABEL


class ClassificationPostProcessor(PostProcessor):
    """Predicts the most probable class; the score is the probability of any defect."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes

    def __call__(self, outputs: Mapping[str, np.ndarray], *, valid: np.ndarray) -> Prediction:
        probabilities, score = defect_probabilities(torch.from_numpy(outputs["logits"][None]))
        return Prediction(
            label=int(probabilities[0].argmax()),
            score=float(score[0]),
            probabilities=probabilities[0].numpy(),
        )

    def state_dict(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], *, classes: Sequence[str]
    ) -> ClassificationPostProcessor:
        return cls(classes)


def defect_probabilities(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class probabilities (N, C) and the probability of any defect (N,), of logits (N, C), float64.

    The latter is a sum over the defects: where "good" is nearly certain, one minus its probability
    would round many scores to one value.
    """
    probabilities = logits.double().softmax(dim=1)
    is_defect = torch.arange(logits.shape[1]) != GOOD_LABEL
    return probabilities, probabilities[:, is_defect].sum(dim=1)
