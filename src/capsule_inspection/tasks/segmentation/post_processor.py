"""Segmentation: regions of defect pixels, and the class of the image that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from capsule_inspection.metrics.mask_postprocessing import (
    MaskPostProcessor,
    image_probabilities,
    region_score,
)
from capsule_inspection.tasks.post_processor import PostProcessor, Prediction, to_float16


class SegmentationPostProcessor(PostProcessor):
    """Finds regions by hysteresis; an image is a defect where there is one.

    With two classes, good and any defect, it gives no probabilities of classes.
    """

    outputs = ("foreground", "class_probabilities")

    def __init__(self, classes: Sequence[str], mask: MaskPostProcessor, *, is_binary: bool) -> None:
        self.classes = classes
        self.mask = mask
        self.is_binary = is_binary

    def __call__(self, outputs: Mapping[str, np.ndarray], *, valid: np.ndarray) -> Prediction:
        foreground = to_float16(outputs["foreground"] * valid)
        class_probabilities = outputs["class_probabilities"]
        found = self.mask(foreground, class_probabilities)
        score = region_score(foreground, self.mask.min_area_px)
        probabilities = None
        if not self.is_binary:
            probabilities = image_probabilities(
                foreground,
                class_probabilities,
                score=score,
                predicted_label=found.label,
                threshold=self.mask.high_threshold,
            )
        return Prediction(
            label=found.label,
            score=score,
            threshold=self.mask.high_threshold,
            probabilities=probabilities,
            anomaly_map=foreground,
            predicted_mask=found.mask,
            regions=found.regions,
        )

    def state_dict(self) -> dict[str, Any]:
        return {**self.mask.state_dict(), "is_binary": self.is_binary}

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], *, classes: Sequence[str]
    ) -> SegmentationPostProcessor:
        values = dict(state)
        is_binary = values.pop("is_binary")
        if not isinstance(is_binary, bool):
            raise TypeError(f"is_binary is {is_binary!r}")
        return cls(classes, MaskPostProcessor.from_state_dict(values), is_binary=is_binary)


POST_PROCESSOR = SegmentationPostProcessor
