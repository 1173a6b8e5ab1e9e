"""Anomaly detection: an image is a defect where its score exceeds the fitted threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from capsule_inspection.metrics.thresholds import Threshold, exceeds
from capsule_inspection.tasks.backend import FOREGROUND, IMAGE, VALID
from capsule_inspection.tasks.post_processor import PostProcessor, Prediction, to_float16


class AnomalyDetectionPostProcessor(PostProcessor):
    """Compares scores with a threshold; its two classes are good and defect."""

    inputs = (IMAGE, FOREGROUND, VALID)
    outputs = ("anomaly_map", "score")

    def __init__(self, classes: Sequence[str], threshold: Threshold) -> None:
        self.classes = classes
        self.threshold = threshold

    def __call__(self, outputs: Mapping[str, np.ndarray], *, valid: np.ndarray) -> Prediction:
        score = outputs["score"]
        assert self.threshold.value is not None
        return Prediction(
            label=int(exceeds(score, self.threshold.value)),
            score=float(score),
            threshold=self.threshold.value,
            anomaly_map=to_float16(outputs["anomaly_map"]),
        )

    def with_threshold(self, threshold: Threshold) -> AnomalyDetectionPostProcessor:
        """The target rate stays, since reports measure at it."""
        threshold = replace(threshold, target_fpr=self.threshold.target_fpr)
        return AnomalyDetectionPostProcessor(self.classes, threshold)

    def state_dict(self) -> dict[str, Any]:
        return self.threshold.state_dict()

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], *, classes: Sequence[str]
    ) -> AnomalyDetectionPostProcessor:
        threshold = Threshold.from_state_dict(state)
        if threshold.value is None:
            raise TypeError("value is None")
        return cls(classes, threshold)


POST_PROCESSOR = AnomalyDetectionPostProcessor
