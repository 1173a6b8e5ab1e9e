"""Trains an autoencoder on good images, or fills the memory bank of PatchCore with them.

The autoencoder reconstructs the clean image from a corrupted one; a segmentation head, where there
is one, learns to find what is corrupted. PatchCore learns nothing: one pass over the images
collects its patches. models/anomaly_map.py computes map and score.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from capsule_inspection.models.autoencoder import Reconstruction
from capsule_inspection.models.base import Model
from capsule_inspection.models.patchcore import ALIKE, PatchCore, zero_pad
from capsule_inspection.tasks.base import EpochMeans, InspectionModule
from capsule_inspection.tasks.inference_model import disable_autocast
from capsule_inspection.tasks.optimization import OptimizationConfig
from capsule_inspection.types import Batch, DataError

RECONSTRUCTION, SEGMENTATION = "reconstruction", "segmentation"


class AnomalyDetectionModule(InspectionModule):
    """`network` maps images (N, 3, H, W) to a `Reconstruction`.

    `loss` takes reconstruction, clean image, mask and ignored pixels or None; `head_loss` logits
    and the last two, weighted by `head_weight`.
    """

    def __init__(
        self,
        network: Model,
        *,
        loss: nn.Module,
        head_loss: nn.Module,
        head_weight: float,
        optimization: OptimizationConfig,
    ) -> None:
        super().__init__(network, optimization)
        self.loss = loss
        self.head_loss = head_loss
        self.head_weight = head_weight
        has_head = getattr(network, "head", None) is not None
        parts = (RECONSTRUCTION, SEGMENTATION) if has_head else (RECONSTRUCTION,)
        self.train_means = EpochMeans("loss", *parts)
        self.val_means = EpochMeans("loss", *parts)

    def forward(self, image: Tensor) -> Reconstruction:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.train_means)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, self.val_means)

    def _step(self, batch: Batch, means: EpochMeans) -> Tensor:
        output: Reconstruction = self.network(batch["image"])
        target, mask, ignored = batch["target"], batch["mask"], batch.get("ignored")
        with disable_autocast(batch["image"]):
            parts = {RECONSTRUCTION: self.loss(output.image, target, mask, ignored)}
            total = parts[RECONSTRUCTION]
            if output.logits is not None:
                parts[SEGMENTATION] = self.head_loss(output.logits, mask, ignored)
                total = total + self.head_weight * parts[SEGMENTATION]
        means.update({"loss": total, **parts}, count=len(batch["image"]))
        return total

    def on_train_epoch_end(self) -> None:
        self.log_training(self.train_means.compute_and_reset("train"))

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.val_means.compute_and_reset("val"))


class PatchCoreModule(InspectionModule):
    """Collects patches of good images in its only epoch, and selects the bank before validation.

    Features are computed in float32, as they are in inference.
    """

    learns = False
    network: PatchCore

    def __init__(
        self, network: PatchCore, *, num_images: int, seed: int, optimization: OptimizationConfig
    ) -> None:
        """`num_images` (at least 1) that the candidates of the bank are divided among."""
        super().__init__(network, optimization)
        self.seed = seed
        self.num_images = num_images
        self.patches_per_image = max(1, network.coreset.candidates // num_images)
        self.candidates: list[Tensor] = []
        self.first: Tensor | None = None
        self.are_alike = True
        self.val_means = EpochMeans("distance")

    def forward(self, image: Tensor) -> Any:
        return self.network(image)

    def configure_optimizers(self) -> None:
        return None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Nothing: all layers stay frozen."""

    @torch.no_grad()
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with disable_autocast(batch["image"]):
            features = self.network.features(batch["image"])
        stride = self.network.finest_stride
        valid = zero_pad(batch["valid"].float(), stride, features.shape[2:])
        inside = F.avg_pool2d(valid, stride)
        self.are_alike = self.are_alike and self._are_like_first(features)
        for number, patches, is_inside in zip(batch["index"], features, inside > 0.5, strict=True):
            found = patches[:, is_inside].T.cpu()
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(number))
            chosen = torch.randperm(len(found), generator=generator)[: self.patches_per_image]
            self.candidates.append(found[chosen])
        return torch.zeros((), requires_grad=True)  # for Lightning, which has no optimizer here

    def _are_like_first(self, features: Tensor) -> bool:
        """Whether the features (N, C, h, w) are those of the first image."""
        if self.first is None:
            self.first = features[:1].clone()
        difference = (features - self.first).square().sum((1, 2, 3)).max()
        return bool(difference <= ALIKE * self.first.square().sum())

    def on_validation_epoch_start(self) -> None:
        if self.candidates:
            if self.are_alike and self.num_images > 1:
                raise DataError(
                    f"the {self.num_images} good training images are all alike, so they do not "
                    "show how good parts differ. Check the images, and data.roi (inspect=true "
                    "shows what is cropped)."
                )
            self.network.fit(torch.cat(self.candidates), seed=self.seed)
            self.candidates.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with disable_autocast(batch["image"]):
            distance = self.network(batch["image"]).distance
        self.val_means.update({"distance": distance.mean()}, count=len(batch["image"]))

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.val_means.compute_and_reset("val"))
