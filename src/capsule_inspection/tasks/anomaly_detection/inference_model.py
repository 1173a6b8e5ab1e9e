"""Anomaly detection: anomaly map and score of a crop.

From what an autoencoder does not reconstruct, or from the distances of patches to good ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from capsule_inspection.models.anomaly_map import (
    AnomalyMapConfig,
    MapConfig,
    compute_anomaly_map,
    compute_residuals,
    finish_anomaly_map,
    score_region,
)
from capsule_inspection.models.autoencoder import Autoencoder
from capsule_inspection.models.base import Model, denormalize
from capsule_inspection.models.patchcore import PatchCore
from capsule_inspection.tasks.anomaly_detection.post_processor import (
    AnomalyDetectionPostProcessor,
)
from capsule_inspection.tasks.inference_model import InferenceModel, disable_autocast


class AnomalyDetectionInferenceModel(InferenceModel):
    """Of an autoencoder: anomaly map (N, H, W) float32 and score (N,) float64, high on defects."""

    inputs = AnomalyDetectionPostProcessor.inputs
    outputs = AnomalyDetectionPostProcessor.outputs
    network: Autoencoder

    def __init__(
        self,
        network: Model,
        *,
        channels_last: bool,
        settings: AnomalyMapConfig,
        residual_std: Tensor | None,
    ) -> None:
        """`residual_std` (R, H, W) divides the residuals, None for no division."""
        super().__init__(network, channels_last=channels_last)
        self.settings = settings
        has_head = getattr(network, "head", None) is not None
        self.uses_residual, self.uses_head = settings.uses(has_head=has_head)
        self.register_buffer("residual_std", residual_std, persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        image, foreground, valid = inputs
        normalized = self.normalize(image)
        output = self.network(normalized)
        with disable_autocast(image):
            residuals = None
            if self.uses_residual:
                residuals = compute_residuals(
                    normalized, output.image, self.settings, self.network.normalisation
                )
            found = compute_anomaly_map(
                output if self.uses_head else output._replace(logits=None),
                residuals=residuals,
                std=self.residual_std,  # type: ignore[arg-type]
                foreground=foreground > 0,
                valid=valid > 0,
                config=self.settings,
            )
        return found.anomaly_map, found.score

    def squared_residuals(self, image: Tensor) -> Tensor:
        """Sum over the batch of the squared residuals, (R, H, W) float32."""
        normalized = self.normalize(image)
        output = self.network(normalized)
        found = compute_residuals(
            normalized, output.image, self.settings, self.network.normalisation
        )
        return found.square().sum(0)

    def reconstruction(self, image: Tensor) -> Tensor:
        """The reconstructed crops, (N, H, W, 3) uint8."""
        output = self.network(self.normalize(image))
        colours = denormalize(output.image, self.network.normalisation).clamp(0, 1)
        return (255 * colours).round().to(torch.uint8).permute(0, 2, 3, 1)

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.coarsest_map(self.normalize(image)).float().mean((2, 3))


class PatchCoreInferenceModel(InferenceModel):
    """Of PatchCore: anomaly map (N, H, W) float32 and score (N,) float64, high on defects."""

    inputs = AnomalyDetectionPostProcessor.inputs
    outputs = AnomalyDetectionPostProcessor.outputs
    network: PatchCore

    def __init__(self, network: Model, *, channels_last: bool, settings: MapConfig) -> None:
        super().__init__(network, channels_last=channels_last)
        self.settings = settings

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        image, foreground, valid = inputs
        with disable_autocast(image):
            region = None
            if self.network.num_neighbors > 1:
                region = score_region(foreground > 0, valid > 0, self.settings)
            found = self.network(self.normalize(image), region)
            size = [self.network.finest_stride * int(side) for side in found.distance.shape[1:]]
            distance = F.interpolate(
                found.distance[:, None], size, mode="bilinear", align_corners=False
            )[:, 0, : image.shape[1], : image.shape[2]]
            anomaly_map, score = finish_anomaly_map(
                distance, foreground=foreground > 0, valid=valid > 0, config=self.settings
            )
        return anomaly_map, score * found.weight.to(score)

    def embedding(self, image: Tensor) -> Tensor:
        return self.network.coarsest_map(self.normalize(image)).float().mean((2, 3))
