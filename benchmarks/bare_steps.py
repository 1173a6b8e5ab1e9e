"""Optimizer steps and nothing else: what an epoch costs when batches come for free."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from benchmarks.our_training import Parts
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.tasks.anomaly_detection.lightning_module import AnomalyDetectionModule
from capsule_inspection.tasks.base import InspectionModule
from capsule_inspection.tasks.classification.lightning_module import ClassificationModule
from capsule_inspection.tasks.optimization import build_optimization, parameter_groups
from capsule_inspection.tasks.segmentation.lightning_module import SegmentationModule
from capsule_inspection.types import Batch


class BareSteps:
    """Our network, loss, optimizer, precision and layout, on batches that are in memory."""

    def __init__(self, parts: Parts, batches: Sequence[Batch]) -> None:
        self.task, self.batches = parts.task.train(), batches
        self.device = torch.device(parts.runtime.device)
        self.precision = parts.runtime.precision
        self.task.to(self.device)
        optimization = build_optimization(parts.config)
        groups = parameter_groups(
            self.task.network.layer_groups(),
            learning_rate=optimization.learning_rate,
            fine_tuning=optimization.fine_tuning,
        )
        self.optimizer = optimization.optimizer(groups)

    def time_epoch(self) -> float:
        """Seconds of one step for each batch."""
        self._wait()
        began = time.perf_counter()
        for batch in self.batches:
            self.step(batch)
        self._wait()
        return time.perf_counter() - began

    def step(self, batch: Batch) -> None:
        with self._autocast():
            loss = loss_of(self.task, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision != "bf16-mixed":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def loss_of(task: InspectionModule, batch: Batch) -> torch.Tensor:
    """What a task's training step minimises, without its figures."""
    if isinstance(task, ClassificationModule):
        return _loss_of_classifier(task, batch)
    output = task.network(batch["image"])
    if isinstance(task, SegmentationModule):
        return task.loss(output, task.target_masks(batch["mask"]))
    assert isinstance(task, AnomalyDetectionModule)
    loss = task.loss(output.image, batch["target"], batch["mask"])
    if output.logits is None:
        return loss
    return loss + task.head_weight * task.head_loss(output.logits, batch["mask"])


def _loss_of_classifier(task: ClassificationModule, batch: Batch) -> torch.Tensor:
    wanted = batch.get("label_weight", batch["label"])
    if task.mask_loss is None:
        return task.loss(task.network(batch["image"]), wanted)
    assert isinstance(task.network, Classifier)
    logits, places = task.network.forward_with_spatial_logits(batch["image"])
    return task.loss(logits, wanted) + task.mask_loss(places, batch["mask"], batch["label"])


def augmented_batches(parts: Parts, *, count: int | None = None) -> list[Batch]:
    """The batches of an epoch (or `count` of them) as the task sees them, on its device."""
    device = torch.device(parts.runtime.device)
    batches = []
    for raw in parts.data.train_dataloader():
        changed = parts.data.transform_raw(raw, training=True, epoch=1)
        there = {key: value.to(device) for key, value in changed.items()}
        batches.append(parts.data.transform(there, training=True, epoch=1))
        if len(batches) == count:
            break
    return batches
