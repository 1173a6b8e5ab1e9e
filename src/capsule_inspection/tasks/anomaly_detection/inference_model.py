"""Anomaly detection: anomaly map and score of a crop, from what is not reconstructed."""

from __future__ import annotations

import torch
from torch import Tensor

from capsule_inspection.models.anomaly_map import (
    AnomalyMapConfig,
    compute_anomaly_map,
    compute_residuals,
)
from capsule_inspection.models.autoencoder import Autoencoder
from capsule_inspection.models.base import Model, denormalize
from capsule_inspection.tasks.anomaly_detection.post_processor import (
    AnomalyDetectionPostProcessor,
)
from capsule_inspection.tasks.inference_model import InferenceModel, disable_autocast


class AnomalyDetectionInferenceModel(InferenceModel):
    """Anomaly map (N, H, W) float32, high on defects, and score (N,) float64."""

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
