"""Which defect is it? Trains a classifier and predicts the probability of each class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from capsule_inspection.contracts import Batch
from capsule_inspection.networks.scoring import classification_scores
from capsule_inspection.tasks.base import InspectionTask, Learning


class ClassificationTask(InspectionTask):
    """`network` maps images (N, 3, H, W) to logits (N, C); `loss` maps logits and labels to one."""

    def __init__(
        self, network: nn.Module, *, loss: nn.Module, num_classes: int, learning: Learning
    ) -> None:
        super().__init__(network, learning)
        self.loss = loss
        self.train_figures = _figures(num_classes)
        self.val_figures = _figures(num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self.network(batch["image"])
        loss = self.loss(logits, batch.get("label_weight", batch["label"]))
        self._update(self.train_figures, logits.detach(), batch["label"], loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log_epoch(
            {
                **self._compute("train", self.train_figures),
                "optimizer/learning_rate": self.learning_rate(),
            },
            bar=("train/loss",),
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.network(batch["image"])
        loss = nn.functional.cross_entropy(logits.float(), batch["label"])
        self._update(self.val_figures, logits, batch["label"], loss)

    def on_validation_epoch_end(self) -> None:
        self.finish_validation(self._compute("val", self.val_figures))

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Index, label, probabilities (N, C) and score (N,), high for defects, on the CPU."""
        probabilities, score = classification_scores(self.network(batch["image"]))
        return {
            "index": batch["index"].cpu(),
            "label": batch["label"].cpu(),
            "probabilities": probabilities.cpu(),
            "score": score.cpu(),
        }

    def _update(self, figures: nn.ModuleDict, logits: Tensor, label: Tensor, loss: Tensor) -> None:
        figures["loss"].update(loss, weight=len(label))
        prediction = logits.argmax(1)
        figures["accuracy"].update(prediction, label)
        figures["balanced_accuracy"].update(prediction, label)

    def _compute(self, stage: str, figures: nn.ModuleDict) -> dict[str, float]:
        values = {f"{stage}/{name}": float(figure.compute()) for name, figure in figures.items()}
        for figure in figures.values():
            figure.reset()
        return values


def _figures(num_classes: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "loss": MeanMetric(),
            "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            "balanced_accuracy": MulticlassAccuracy(
                num_classes, average="macro", validate_args=False
            ),
        }
    )


def stack_predictions(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Joins what `predict_step` returned, in the order of the batches."""
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
