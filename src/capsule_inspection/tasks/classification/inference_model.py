"""Classification: calibrated logits of a crop, and where the network looks."""

from __future__ import annotations

import torch
from torch import Tensor

from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.models.base import Model
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.models.explanation import explain
from capsule_inspection.tasks.classification.post_processor import ClassificationPostProcessor
from capsule_inspection.tasks.inference_model import InferenceModel, disable_autocast
from capsule_inspection.types import GOOD_LABEL


class ClassificationInferenceModel(InferenceModel):
    """Logits (N, C) float32 after temperature scaling."""

    outputs = ClassificationPostProcessor.outputs
    network: Classifier

    def __init__(self, network: Model, *, channels_last: bool, scaling: TemperatureScaling) -> None:
        super().__init__(network, channels_last=channels_last)
        self.scaling = scaling

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (image,) = inputs
        logits = self.network(self.normalize(image)).float()
        with disable_autocast(image):
            return (scale_logits(logits, self.scaling),)

    def explain(self, image: Tensor, label: Tensor) -> Tensor | None:
        """Where the network looks for a class, see `explanation.explain`; (N,) to (N, H, W)."""
        return explain(self.network, self.normalize(image), label)

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.vector(self.network.backbone(self.normalize(image))).float()


def scale_logits(logits: Tensor, scaling: TemperatureScaling) -> Tensor:
    """Logits (N, C) divided by the temperature, that of the good class raised by its shift."""
    scaled = logits / scaling.temperature
    before, good, after = scaled.tensor_split((GOOD_LABEL, GOOD_LABEL + 1), dim=1)
    return torch.cat([before, good + scaling.good_shift, after], dim=1)
