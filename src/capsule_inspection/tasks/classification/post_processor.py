"""Classification: good or a defect by the probability of any defect, then which defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from capsule_inspection.metrics.thresholds import Threshold, exceeds
from capsule_inspection.tasks.post_processor import PostProcessor, Prediction
from capsule_inspection.types import GOOD_LABEL


class ClassificationPostProcessor(PostProcessor):
    """The score is the probability of any defect; above the threshold an image is a defect.

    Its class is then the most probable defect. Without a value of the threshold (rule argmax) it is
    the most probable of all classes.
    """

    outputs = ("logits",)

    def __init__(self, classes: Sequence[str], threshold: Threshold) -> None:
        self.classes = classes
        self.threshold = threshold

    def __call__(self, outputs: Mapping[str, np.ndarray], *, valid: np.ndarray) -> Prediction:
        (probabilities,), (score,) = defect_probabilities(outputs["logits"][None])
        return Prediction(
            label=decide(probabilities, score, self.threshold.value),
            score=float(score),
            threshold=self.threshold.value,
            probabilities=probabilities,
        )

    def with_threshold(self, threshold: Threshold) -> ClassificationPostProcessor:
        return ClassificationPostProcessor(self.classes, threshold)

    def state_dict(self) -> dict[str, Any]:
        return self.threshold.state_dict()

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], *, classes: Sequence[str]
    ) -> ClassificationPostProcessor:
        return cls(classes, Threshold.from_state_dict(state))


def decide(probabilities: np.ndarray, score: np.ndarray, threshold: float | None) -> int:
    """The predicted class of one image; `threshold` None leaves it to the most probable one.

    Shapes: probabilities (C,); score ().
    """
    if threshold is None:
        return int(probabilities.argmax())
    if not exceeds(score, threshold):
        return GOOD_LABEL
    is_good = np.arange(len(probabilities)) == GOOD_LABEL
    return int(np.where(is_good, -1.0, probabilities).argmax())


POST_PROCESSOR = ClassificationPostProcessor


def defect_probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities (N, C) and the probability of any defect (N,), of logits (N, C), float64.

    The latter is a sum over the defects: where "good" is nearly certain, one minus its probability
    would round many scores to one value.
    """
    values = logits.astype(np.float64)
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    is_defect = np.arange(logits.shape[1]) != GOOD_LABEL
    return probabilities, probabilities[:, is_defect].sum(axis=1)
