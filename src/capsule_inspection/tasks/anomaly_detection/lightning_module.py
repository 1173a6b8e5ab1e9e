"""Is it unlike the good ones? Trains an autoencoder on good images and predicts anomaly maps.

The network repairs what was spoilt; where it has a head, that learns to mark it. What makes a map
and a score of its output is models/anomaly.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from capsule_inspection.models.anomaly import MapSettings, anomaly, residuals
from capsule_inspection.models.autoencoder import Reconstruction
from capsule_inspection.models.base import to_colours
from capsule_inspection.tasks.base import InspectionTask, Learning, in_float32
from capsule_inspection.types import Batch, Normalisation

RECONSTRUCTION, SEGMENTATION = "reconstruction", "segmentation"
SCORES, MAPS, SQUARES = "scores", "maps", "squares"
"""What `predict_step` may be asked for; maps come with scores and reconstructions."""


class ReconstructionTask(InspectionTask):
    """`network` maps images (N, 3, H, W) to a `Reconstruction`.

    `loss` takes reconstruction, clean image and mask; `head_loss` logits and mask, and counts
    `head_weight` times. `spread` (R, H, W) divides the residuals, None as long as it is not known.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: nn.Module,
        head_loss: nn.Module,
        head_weight: float,
        settings: MapSettings,
        normalisation: Normalisation,
        learning: Learning,
    ) -> None:
        super().__init__(network, learning)
        self.loss = loss
        self.head_loss = head_loss
        self.head_weight = head_weight
        self.settings = settings
        self.normalisation = normalisation
        self.spread: Tensor | None = None
        self.asked = SCORES
        has_head = getattr(network, "head", None) is not None
        self.uses_residual, self.uses_head = settings.uses(has_head=has_head)
        parts = (RECONSTRUCTION, SEGMENTATION) if has_head else (RECONSTRUCTION,)
        self.train_figures = EpochMeans(parts)
        self.val_figures = EpochMeans(parts)

    def forward(self, image: Tensor) -> Reconstruction:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, self.train_figures)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, self.val_figures)

    def _step(self, batch: Batch, figures: EpochMeans) -> Tensor:
        output: Reconstruction = self.network(batch["image"])
        with in_float32(batch["image"]):
            parts = {RECONSTRUCTION: self.loss(output.image, batch["target"], batch["mask"])}
            total = parts[RECONSTRUCTION]
            if output.logits is not None:
                parts[SEGMENTATION] = self.head_loss(output.logits, batch["mask"])
                total = total + self.head_weight * parts[SEGMENTATION]
        figures.update({"loss": total, **parts}, count=len(batch["image"]))
        return total

    def on_train_epoch_end(self) -> None:
        rate = {"optimizer/learning_rate": self.learning_rate()}
        self.log_epoch({**self.train_figures.finish("train"), **rate}, bar=("train/loss",))

    def on_validation_epoch_end(self) -> None:
        self.finish_validation(self.val_figures.finish("val"))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """What `asked` says, on the CPU.

        scores: index, label and score (N,). maps: map (N, H, W) float16 and reconstruction
        (N, 3, H, W) uint8 too. squares: the sum over the batch of squared residuals (R, H, W), and
        count.
        """
        output: Reconstruction = self.network(batch["image"])
        with in_float32(batch["image"]):
            return self._judge(batch, output)

    def _judge(self, batch: Batch, output: Reconstruction) -> dict[str, Any]:
        residual = None
        if self.uses_residual:
            residual = residuals(batch["image"], output.image, self.settings, self.normalisation)
        if self.asked == SQUARES:
            assert residual is not None
            return {"square": residual.square().sum(0).cpu(), "count": len(residual)}
        found = anomaly(
            output if self.uses_head else output._replace(logits=None),
            residual=residual,
            residual_spread=None if self.spread is None else self.spread.to(batch["image"].device),
            foreground=batch["foreground"],
            valid=batch["valid"],
            settings=self.settings,
        )
        scores = {
            "index": batch["index"].cpu(),
            "label": batch["label"].cpu(),
            "score": found.score.cpu(),
        }
        if self.asked == SCORES:
            return scores
        colours = to_colours(output.image, self.normalisation).clamp(0, 1)
        as_bytes = (255 * colours).round().to(torch.uint8)
        maps = {"map": found.map.half().cpu(), "reconstruction": as_bytes.cpu()}
        return {**scores, **maps}


class EpochMeans(nn.Module):
    """Means of losses over the images of an epoch, over all processes."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        super().__init__()
        for name in ("loss", *parts):
            self.add_module(name, MeanMetric())

    def update(self, losses: dict[str, Tensor], *, count: int) -> None:
        """Take in a batch of `count` images: scalars, each a mean over them."""
        for name, loss in losses.items():
            mean = self.get_submodule(name)
            assert isinstance(mean, MeanMetric)
            mean.update(loss.detach(), weight=count)

    def finish(self, stage: str) -> dict[str, float]:
        """Values by key, and a new beginning."""
        values: dict[str, float] = {}
        for name, mean in self.named_children():
            assert isinstance(mean, MeanMetric)
            values[f"{stage}/{name}"] = float(mean.compute())
            mean.reset()
        return values
