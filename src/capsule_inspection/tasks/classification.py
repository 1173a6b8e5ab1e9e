"""Which defect is it? Trains a classifier and predicts the probability of each class."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from capsule_inspection.contracts import GOOD_LABEL, Batch
from capsule_inspection.networks.classifier import Classifier
from capsule_inspection.networks.explanation import explain
from capsule_inspection.networks.scoring import classification_scores
from capsule_inspection.tasks.base import InspectionTask, Learning


class ClassificationTask(InspectionTask):
    """`network` maps images (N, 3, H, W) to logits (N, C); `loss` maps logits and labels to one."""

    explains: bool = False
    """Whether predictions say too where the network looks in the defects that have a mask."""

    def __init__(
        self, network: nn.Module, *, loss: nn.Module, num_classes: int, learning: Learning
    ) -> None:
        super().__init__(network, learning)
        self.loss = loss
        self.train_figures = EpochFigures(num_classes)
        self.val_figures = EpochFigures(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.network(batch["image"])
        loss = self.loss(logits, batch.get("label_weight", batch["label"]))
        self.train_figures.update(logits.detach(), batch["label"], loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log_epoch(
            {
                **self.train_figures.finish("train"),
                "optimizer/learning_rate": self.learning_rate(),
            },
            bar=("train/loss",),
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.network(batch["image"])
        loss = nn.functional.cross_entropy(logits.float(), batch["label"])
        self.val_figures.update(logits, batch["label"], loss)

    def on_validation_epoch_end(self) -> None:
        self.finish_validation(self.val_figures.finish("val"))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Index, label, probabilities (N, C) and score (N,), high for defects, on the CPU.

        Where it `explains`, `_explanations` too.
        """
        probabilities, score = classification_scores(self.network(batch["image"]))
        found = {
            "index": batch["index"].cpu(),
            "label": batch["label"].cpu(),
            "probabilities": probabilities.cpu(),
            "score": score.cpu(),
        }
        return {**found, **self._explanations(batch)} if self.explains else found

    def _explanations(self, batch: Batch) -> dict[str, Tensor]:
        """Index (K,) of the defects with a mask, and maps (K, H, W) float16 of their true classes.

        K is 0 where the network has nothing to look at.
        """
        has_mask = ((batch["mask"] > 0) & batch["valid"]).flatten(1).any(1)
        rows = (has_mask & (batch["label"] != GOOD_LABEL)).nonzero()[:, 0]
        maps = None
        if len(rows):
            assert isinstance(self.network, Classifier)
            maps = explain(self.network, batch["image"][rows], batch["label"][rows])
        if maps is None:
            rows, maps = rows[:0], batch["image"].new_zeros(0, *batch["image"].shape[2:])
        return {"explained": batch["index"][rows].cpu(), "explanation": maps.half().cpu()}


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
