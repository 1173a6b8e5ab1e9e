"""Trains a classifier on labels and, where there are any, masks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from capsule_inspection.models.base import Model
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.tasks.base import EpochMeans, InspectionModule, compute_and_reset
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
        """A `mask_loss` is for networks with a segmentation head."""
        super().__init__(network, optimization)
        self.loss = loss
        self.mask_loss = mask_loss
        losses = ("loss",) if mask_loss is None else ("loss", "mask_loss")
        self.train_metrics = EpochMetrics(num_classes, losses)
        self.val_metrics = EpochMetrics(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        label, losses = batch["label"], {}
        if self.mask_loss is None:
            logits = self.network(batch["image"])
        else:
            assert isinstance(self.network, Classifier)
            logits, spatial_logits = self.network.forward_with_spatial_logits(batch["image"])
            losses["mask_loss"] = self.mask_loss(
                spatial_logits, batch["mask"], label, batch.get("ignored")
            )
        losses["loss"] = self.loss(logits, batch.get("label_weight", label))
        self.train_metrics.update(logits.detach(), label, losses)
        return losses["loss"] + losses["mask_loss"] if "mask_loss" in losses else losses["loss"]

    def on_train_epoch_end(self) -> None:
        self.log_training(self.train_metrics.compute_and_reset("train"))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.network(batch["image"])
        loss = nn.functional.cross_entropy(logits.float(), batch["label"])
        self.val_metrics.update(logits, batch["label"], {"loss": loss})

    def on_validation_epoch_end(self) -> None:
        self.log_validation(self.val_metrics.compute_and_reset("val"))


class MaskLoss(nn.Module):
    """Loss of the spatial logits of a segmentation head, with the mask as target.

    Defect images without a mask are left out. A place of the coarse logits is of a defect where any
    pixel of it is, so that no defect is too small; of others those with an ignored pixel are
    ignored. `loss` takes logits, mask and ignored places or None.
    """

    def __init__(self, loss: nn.Module, *, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(
        self, spatial_logits: Tensor, mask: Tensor, label: Tensor, ignored: Tensor | None = None
    ) -> Tensor:
        """Shapes: spatial_logits (N, C, h, w); mask and ignored (N, H, W); label (N,).

        Returns a scalar in float32.
        """
        known = (label == GOOD_LABEL) | (mask > 0).flatten(1).any(1)
        size = (spatial_logits.shape[2], spatial_logits.shape[3])
        target = _coarse(mask, size)
        if ignored is not None:
            ignored = ((_coarse(ignored, size) > 0) & (target == 0))[known]
        with disable_autocast(spatial_logits):
            spatial_logits = spatial_logits.float()
            if not bool(known.any()):
                return 0 * spatial_logits.sum()  # in the graph, since processes must agree
            loss: Tensor = self.loss(spatial_logits[known], target[known], ignored)
            return self.weight * loss


def _coarse(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The highest value at each place of a coarser grid, int64: (N, H, W) to (N, *size)."""
    return nn.functional.adaptive_max_pool2d(mask[:, None].float(), size)[:, 0].long()


class EpochMetrics(nn.Module):
    """Losses, accuracy and balanced accuracy of the images of an epoch, over all processes."""

    def __init__(self, num_classes: int, losses: Sequence[str] = ("loss",)) -> None:
        super().__init__()
        self.means = EpochMeans(*losses)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.balanced = MulticlassAccuracy(num_classes, average="macro", validate_args=False)

    def update(self, logits: Tensor, label: Tensor, losses: dict[str, Tensor]) -> None:
        """Add a batch. Shapes: logits (N, C); label (N,); losses scalars, their means."""
        predicted_label = logits.argmax(1)
        self.means.update(losses, count=len(label))
        self.accuracy.update(predicted_label, label)
        self.balanced.update(predicted_label, label)

    def compute_and_reset(self, split: str) -> dict[str, float]:
        """Values by key, `<split>/<name>`."""
        return {
            **self.means.compute_and_reset(split),
            f"{split}/accuracy": compute_and_reset(self.accuracy),
            f"{split}/balanced_accuracy": compute_and_reset(self.balanced),
        }
