"""Trains a network to tell good parts from all others."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import MeanMetric

from capsule_inspection.models.base import Model
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.tasks.optimization import OptimizationConfig
from capsule_inspection.types import GOOD_LABEL, Batch


class GoodOrDefectModule(InspectionModule):
    """Uses the first two logits of `network`: good and defect."""

    def __init__(self, network: Model, optimization: OptimizationConfig) -> None:
        super().__init__(network, optimization)
        self.train_loss, self.val_accuracy = MeanMetric(), MeanMetric()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        target = (batch["label"] != GOOD_LABEL).long()
        loss: Tensor = nn.functional.cross_entropy(self.network(batch["image"])[:, :2], target)
        self.train_loss.update(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log_epoch({"train/loss": float(self.train_loss.compute())})
        self.train_loss.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        is_defect = self.network(batch["image"])[:, :2].argmax(1) == 1
        self.val_accuracy.update((is_defect == (batch["label"] != GOOD_LABEL)).float())

    def on_validation_epoch_end(self) -> None:
        self.log_validation({"val/accuracy": float(self.val_accuracy.compute())})
        self.val_accuracy.reset()
