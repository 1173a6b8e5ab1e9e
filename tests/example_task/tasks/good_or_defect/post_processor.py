"""An image is a defect where this is more probable than not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from capsule_inspection.tasks.post_processor import PostProcessor, Prediction

THRESHOLD = 0.5


class GoodOrDefectPostProcessor(PostProcessor):
    """Has nothing to fit."""

    outputs = ("score",)

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes

    def __call__(self, outputs: Mapping[str, np.ndarray], *, valid: np.ndarray) -> Prediction:
        score = float(outputs["score"])
        return Prediction(label=int(score > THRESHOLD), score=score, threshold=THRESHOLD)

    def state_dict(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], *, classes: Sequence[str]
    ) -> GoodOrDefectPostProcessor:
        return cls(classes)


POST_PROCESSOR = GoodOrDefectPostProcessor
