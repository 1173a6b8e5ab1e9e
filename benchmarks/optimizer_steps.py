"""Optimizer steps on batches in memory: the lower bound of an epoch's time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from benchmarks.training import TrainingParts
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.tasks.anomaly_detection.lightning_module import AnomalyDetectionModule
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.tasks.classification.lightning_module import ClassificationModule
from capsule_inspection.tasks.inference_model import disable_autocast
from capsule_inspection.tasks.optimization import build_optimization, parameter_groups
from capsule_inspection.tasks.segmentation.lightning_module import SegmentationModule
from capsule_inspection.types import Batch


class OptimizerSteps:
    """Network, loss, optimizer, precision and layout of a training, on batches in memory."""

    def __init__(self, parts: TrainingParts, batches: Sequence[Batch]) -> None:
        self.module, self.batches = parts.module.train(), batches
        self.device = torch.device(parts.runtime.device)
        self.precision = parts.runtime.precision
        self.module.to(self.device)
        optimization = build_optimization(parts.config)
        groups = parameter_groups(
            self.module.network.layer_groups(),
            learning_rate=optimization.learning_rate,
            fine_tuning=optimization.fine_tuning,
        )
        self.optimizer = optimization.optimizer(groups)

    def time_epoch(self) -> float:
        """Seconds of one step for each batch."""
        self._synchronize()
        began = time.perf_counter()
        for batch in self.batches:
            self.step(batch)
        self._synchronize()
        return time.perf_counter() - began

    def step(self, batch: Batch) -> None:
        with self._autocast():
            loss = compute_loss(self.module, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision != "bf16-mixed":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def compute_loss(module: InspectionModule, batch: Batch) -> torch.Tensor:
    """The loss of a training step, without its metrics."""
    if isinstance(module, ClassificationModule):
        return _compute_classifier_loss(module, batch)
    output = module.network(batch["image"])
    with disable_autocast(batch["image"]):
        if isinstance(module, SegmentationModule):
            return module.loss(output, module.target_masks(batch["mask"]))
        assert isinstance(module, AnomalyDetectionModule)
        loss = module.loss(output.image, batch["target"], batch["mask"])
        if output.logits is None:
            return loss
        return loss + module.head_weight * module.head_loss(output.logits, batch["mask"])


def _compute_classifier_loss(module: ClassificationModule, batch: Batch) -> torch.Tensor:
    target = batch.get("label_weight", batch["label"])
    if module.mask_loss is None:
        return module.loss(module.network(batch["image"]), target)
    assert isinstance(module.network, Classifier)
    logits, spatial_logits = module.network.forward_with_spatial_logits(batch["image"])
    mask_loss = module.mask_loss(spatial_logits, batch["mask"], batch["label"])
    return module.loss(logits, target) + mask_loss


def augmented_batches(parts: TrainingParts, *, count: int | None = None) -> list[Batch]:
    """The augmented batches of an epoch (or the first `count`), on the device of the training."""
    device = torch.device(parts.runtime.device)
    batches = []
    for raw in parts.data.train_dataloader():
        raw = parts.data.transform_raw(raw, training=True, epoch=1)
        raw = {key: value.to(device) for key, value in raw.items()}
        batches.append(parts.data.transform(raw, training=True, epoch=1))
        if len(batches) == count:
            break
    return batches
