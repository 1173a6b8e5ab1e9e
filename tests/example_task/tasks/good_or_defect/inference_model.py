"""The probability of a defect, from the pixels of a crop."""

from __future__ import annotations

from capsule_inspection.tasks.good_or_defect.post_processor import GoodOrDefectPostProcessor
from torch import Tensor

from capsule_inspection.tasks.inference_model import InferenceModel


class GoodOrDefectInferenceModel(InferenceModel):
    """Probability of a defect (N,) float32."""

    outputs = GoodOrDefectPostProcessor.outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (image,) = inputs
        return (self.network(self.normalize(image))[:, :2].float().softmax(1)[:, 1],)

    def embedding(self, image: Tensor) -> Tensor:
        return self.normalize(image).mean((2, 3))
