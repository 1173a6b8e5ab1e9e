"""Segmentation: the probability of a defect at each pixel of a crop, and which defect it is."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from capsule_inspection.models.base import Model
from capsule_inspection.models.segmenter import Segmenter, foreground_and_class_probabilities
from capsule_inspection.models.tiling import Tiling, tiled_probabilities
from capsule_inspection.tasks.inference_model import InferenceModel, disable_autocast
from capsule_inspection.tasks.segmentation.post_processor import SegmentationPostProcessor


class SegmentationInferenceModel(InferenceModel):
    """Foreground (N, H, W) float32, the probability that a pixel shows any defect, and its class.

    class_probabilities (N, C - 1, H, W) uint8, in 255ths, are those of the defects where the pixel
    shows one.
    """

    outputs = SegmentationPostProcessor.outputs
    network: Segmenter

    def __init__(self, network: Model, *, channels_last: bool, tiling: Tiling | None) -> None:
        super().__init__(network, channels_last=channels_last)
        self.tiling = tiling

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (image,) = inputs
        probabilities = class_probabilities(self.network, self.normalize(image), self.tiling)
        return foreground_and_class_probabilities(probabilities)

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.coarsest_map(self.normalize(image)).float().mean((2, 3))

    def make_exportable(self) -> None:
        if self.tiling is not None:
            self.tiling = dataclasses.replace(self.tiling, batch_size=None)


def class_probabilities(network: nn.Module, image: Tensor, tiling: Tiling | None) -> Tensor:
    """Class probabilities (N, C, H, W) float32 of normalized images, tile by tile with a tiling."""
    if tiling is not None:
        return tiled_probabilities(network, image, tiling)
    logits: Tensor = network(image)
    with disable_autocast(image):
        return logits.float().softmax(1)
