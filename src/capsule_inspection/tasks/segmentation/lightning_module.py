"""Where is the defect? Trains a network to say of each pixel which defect it shows, or none.

What is made of its probabilities, marked regions and a class for the image, is metrics/marking.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from capsule_inspection.models.segmenter import foreground_and_kinds
from capsule_inspection.models.tiling import Tiling, tiled_probabilities
from capsule_inspection.tasks.base import InspectionTask, Learning, in_float32
from capsule_inspection.types import Batch

FOREGROUND_DICE, MEAN_IOU = "foreground_dice", "mean_iou"
_LEAST = 1e-7
"""Probability below which a logarithm is not asked for."""


class SegmentationTask(InspectionTask):
    """`network` maps images (N, 3, H, W) to logits (N, C, H, W), class 0 the background.

    `loss` takes logits and mask. With two classes every defect is the one class. With a `tiling`
    images are seen in tiles, but in training.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: nn.Module,
        num_classes: int,
        learning: Learning,
        tiling: Tiling | None = None,
    ) -> None:
        super().__init__(network, learning)
        self.loss = loss
        self.tiling = tiling
        self.num_classes = num_classes
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.val_pixels = MulticlassConfusionMatrix(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.network(batch["image"])
        with in_float32(batch["image"]):
            loss: Tensor = self.loss(logits, self.wanted(batch["mask"]))
        self.train_loss.update(loss.detach(), weight=len(logits))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        probabilities, mask = self.see(batch["image"]), self.wanted(batch["mask"])
        with in_float32(batch["image"]):
            logits = probabilities.clamp_min(_LEAST).log()
            self.val_loss.update(self.loss(logits, mask), weight=len(logits))
        self.val_pixels.update(probabilities.argmax(1), mask)

    @property
    def in_use(self) -> Callable[[Tensor], Any]:
        return self.network if self.tiling is None else self.see

    def see(self, image: Tensor) -> Tensor:
        """Class probabilities (N, C, H, W), float32, as in use."""
        if self.tiling is not None:
            return tiled_probabilities(self.network, image, self.tiling)
        logits: Tensor = self.network(image)
        with in_float32(image):
            return logits.float().softmax(1)

    def wanted(self, mask: Tensor) -> Tensor:
        """The classes that are to be told, of a mask (N, H, W) of all of them."""
        return mask.clamp(max=1) if self.num_classes == 2 else mask

    def on_train_epoch_end(self) -> None:
        figures = {"train/loss": float(self.train_loss.compute())}
        self.train_loss.reset()
        rate = {"optimizer/learning_rate": self.learning_rate()}
        self.log_epoch({**figures, **rate}, bar=("train/loss",))

    def on_validation_epoch_end(self) -> None:
        figures = {"val/loss": float(self.val_loss.compute())}
        overlap = overlaps(self.val_pixels.compute().cpu().double())
        self.val_loss.reset()
        self.val_pixels.reset()
        self.finish_validation(figures | {f"val/{name}": value for name, value in overlap.items()})

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """On the CPU: index and label (N,), foreground (N, H, W) float16 and kinds, uint8.

        Both are those of `foreground_and_kinds`; on padding the foreground is 0.
        """
        foreground, kinds = foreground_and_kinds(self.see(batch["image"]))
        foreground = foreground * batch["valid"]
        return {
            "index": batch["index"].cpu(),
            "label": batch["label"].cpu(),
            "foreground": foreground.half().cpu(),
            "kinds": kinds.cpu(),
        }


def overlaps(pixels: Tensor) -> dict[str, float]:
    """Dice of the foreground and mean IoU of the defects, over all pixels of an epoch.

    Shapes: pixels (C, C), of each true class (row) what it was called. 0 where there is no defect
    to be found.
    """
    found, wanted = pixels[:, 1:].sum(), pixels[1:].sum()
    both = pixels[1:, 1:].sum()
    right = pixels.diagonal()[1:]
    union = (pixels.sum(0) + pixels.sum(1))[1:] - right
    present = pixels.sum(1)[1:] > 0
    iou = (right / union.clamp(min=1))[present]
    return {
        FOREGROUND_DICE: float(2 * both / (found + wanted).clamp(min=1)),
        MEAN_IOU: float(iou.mean()) if len(iou) else 0.0,
    }
