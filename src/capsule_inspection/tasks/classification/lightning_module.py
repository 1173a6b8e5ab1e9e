"""Trains a classifier on labels and, where there are any, masks."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from capsule_inspection.models.base import Model
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.tasks.inference_model import disable_autocast
from capsule_inspection.tasks.optimization import OptimizationConfig
from capsule_inspection.types import GOOD_LABEL, Batch


class ClassificationModule(InspectionModule):
    """`network` maps images (N, 3, H, W) to logits (N, C); `loss` maps logits and labels to one."""

    def __init__(
        self,
        network: Model,
        *,
        loss: nn.Module,
        num_classes: int,
        optimization: OptimizationConfig,
        mask_loss: MaskLoss | None = None,
    ) -> None:
        """A `mask_loss` is for networks with a mask head."""
        super().__init__(network, optimization)
        self.loss = loss
        self.mask_loss = mask_loss
        self.train_mask_loss = MeanMetric() if mask_loss is not None else None
        self.train_figures = EpochFigures(num_classes)
        self.val_figures = EpochFigures(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.mask_loss is None:
            logits, of_places = self.network(batch["image"]), None
        else:
            assert isinstance(self.network, Classifier)
            logits, places = self.network.forward_with_spatial_logits(batch["image"])
            of_places = self.mask_loss(places, batch["mask"], batch["label"])
        loss: Tensor = self.loss(logits, batch.get("label_weight", batch["label"]))
        self.train_figures.update(logits.detach(), batch["label"], loss.detach())
        if of_places is None or self.train_mask_loss is None:
            return loss
        self.train_mask_loss.update(of_places.detach(), weight=len(logits))
        return loss + of_places

    def on_train_epoch_end(self) -> None:
        figures = self.train_figures.finish("train")
        if self.train_mask_loss is not None:
            figures["train/mask_loss"] = float(self.train_mask_loss.compute())
            self.train_mask_loss.reset()
        self.log_epoch(
            {**figures, "optimizer/learning_rate": self.learning_rate()}, prog_bar=("train/loss",)
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.network(batch["image"])
        loss = nn.functional.cross_entropy(logits.float(), batch["label"])
        self.val_figures.update(logits, batch["label"], loss)

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.val_figures.finish("val"))


class MaskLoss(nn.Module):
    """What a mask head is taught: the class of each place, by the mask of the image.

    Images with a defect that have no mask teach nothing. A place shows a defect if any pixel of it
    does, so that none is too small to be seen. `loss` takes logits and mask.
    """

    def __init__(self, loss: nn.Module, *, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(self, places: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        """Shapes: places (N, C, h, w), logits; mask (N, H, W); label (N,). A scalar in float32."""
        known = (label == GOOD_LABEL) | (mask > 0).flatten(1).any(1)
        size = (places.shape[2], places.shape[3])
        wanted = nn.functional.adaptive_max_pool2d(mask[:, None].float(), size)[:, 0].long()
        with disable_autocast(places):
            places = places.float()
            if not bool(known.any()):
                return 0 * places.sum()  # a part of the graph all the same: processes must agree
            loss: Tensor = self.loss(places[known], wanted[known])
            return self.weight * loss


class EpochFigures(nn.Module):
    """Loss, accuracy and balanced accuracy of the images of an epoch, over all processes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.balanced = MulticlassAccuracy(num_classes, average="macro", validate_args=False)

    def update(self, logits: Tensor, label: Tensor, loss: Tensor) -> None:
        """Take in a batch. Shapes: logits (N, C); label (N,); loss a scalar, its mean."""
        prediction = logits.argmax(1)
        self.loss.update(loss, weight=len(label))
        self.accuracy.update(prediction, label)
        self.balanced.update(prediction, label)

    def finish(self, stage: str) -> dict[str, float]:
        """Values by key, and a new beginning."""
        metrics = {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced,
        }
        values = {f"{stage}/{name}": float(metric.compute()) for name, metric in metrics.items()}
        for metric in metrics.values():
            metric.reset()
        return values
