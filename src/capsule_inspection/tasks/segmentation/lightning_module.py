"""Trains a network to predict the class of each pixel from masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from capsule_inspection.metrics.names import BINARY_DICE, MEAN_IOU
from capsule_inspection.models.base import Model
from capsule_inspection.models.tiling import Tiling
from capsule_inspection.tasks.base import InspectionModule, compute_and_reset
from capsule_inspection.tasks.inference_model import disable_autocast
from capsule_inspection.tasks.optimization import OptimizationConfig
from capsule_inspection.tasks.segmentation.inference_model import class_probabilities
from capsule_inspection.types import Batch

_MIN_PROBABILITY = 1e-7
"""Lower bound of a probability whose logarithm is taken."""


class SegmentationModule(InspectionModule):
    """`network` maps images (N, 3, H, W) to logits (N, C, H, W), class 0 the background.

    `loss` takes logits, mask and ignored pixels or None. With two classes every defect is of the
    one class. With a `tiling` validation computes images tile by tile.
    """

    def __init__(
        self,
        network: Model,
        *,
        loss: nn.Module,
        num_classes: int,
        optimization: OptimizationConfig,
        tiling: Tiling | None = None,
    ) -> None:
        super().__init__(network, optimization)
        self.loss = loss
        self.tiling = tiling
        self.num_classes = num_classes
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.val_confusion = MulticlassConfusionMatrix(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.network(batch["image"])
        with disable_autocast(batch["image"]):
            mask = self.target_masks(batch["mask"])
            loss: Tensor = self.loss(logits, mask, batch.get("ignored"))
        self.train_loss.update(loss.detach(), weight=len(logits))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        probabilities = class_probabilities(self.network, batch["image"], self.tiling)
        mask, ignored = self.target_masks(batch["mask"]), batch.get("ignored")
        with disable_autocast(batch["image"]):
            logits = probabilities.clamp_min(_MIN_PROBABILITY).log()
            self.val_loss.update(self.loss(logits, mask, ignored), weight=len(logits))
        predicted = probabilities.argmax(1)
        if ignored is not None:
            predicted, mask = predicted[~ignored], mask[~ignored]
        self.val_confusion.update(predicted, mask)

    @property
    def inference_forward(self) -> Callable[[Tensor], Any]:
        if self.tiling is None:
            return self.network
        return lambda image: class_probabilities(self.network, image, self.tiling)

    def predict_masks(self, image: Tensor) -> Tensor:
        """Class of each pixel (N, H, W) of images (N, 3, H, W)."""
        return class_probabilities(self.network, image, self.tiling).argmax(1)

    def target_masks(self, mask: Tensor) -> Tensor:
        """The classes that are to be predicted, of masks (N, H, W) of all of them."""
        return mask.clamp(max=1) if self.num_classes == 2 else mask

    def on_train_epoch_end(self) -> None:
        self.log_training({"train/loss": compute_and_reset(self.train_loss)})

    def on_validation_epoch_end(self) -> None:
        overlap = overlap_metrics(self.val_confusion.compute().cpu().double())
        self.val_confusion.reset()
        loss = {"val/loss": compute_and_reset(self.val_loss)}
        self.log_validation(loss | {f"val/{name}": value for name, value in overlap.items()})


def overlap_metrics(confusion: Tensor) -> dict[str, float]:
    """Dice of any defect and mean IoU of the defects, over all pixels of an epoch.

    Shapes: confusion (C, C), true classes in rows, predicted ones in columns. 0 without defects.
    """
    predicted, true = confusion[:, 1:].sum(), confusion[1:].sum()
    both = confusion[1:, 1:].sum()
    correct = confusion.diagonal()[1:]
    union = (confusion.sum(0) + confusion.sum(1))[1:] - correct
    present = confusion.sum(1)[1:] > 0
    iou = (correct / union.clamp(min=1))[present]
    return {
        BINARY_DICE: float(2 * both / (predicted + true).clamp(min=1)),
        MEAN_IOU: float(iou.mean()) if len(iou) else 0.0,
    }
