"""Optimizer steps and nothing else: what an epoch costs when batches come for free."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from benchmarks.our_training import Parts
from capsule_inspection.models.classifier import Classifier
from capsule_inspection.tasks.anomaly_detection.lightning_module import ReconstructionTask
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.tasks.classification.lightning_module import ClassificationTask
from capsule_inspection.tasks.optimizers import parameter_groups
from capsule_inspection.tasks.segmentation.lightning_module import SegmentationTask
from capsule_inspection.types import Batch
from capsule_inspection.workflows.learning import build_learning


class BareSteps:
    """Our network, loss, optimizer, precision and layout, on batches that are in memory."""

    def __init__(self, parts: Parts, batches: Sequence[Batch]) -> None:
        self.task, self.batches = parts.task.train(), batches
        self.device = torch.device(parts.choices.device)
        self.precision = parts.choices.precision
        self.task.to(self.device)
        learning = build_learning(parts.config)
        groups = parameter_groups(
            self.task.network.layer_groups(),
            learning_rate=learning.learning_rate,
            tuning=learning.tuning,
        )
        self.optimizer = learning.optimizer(groups)

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


def loss_of(task: InspectionTask, batch: Batch) -> torch.Tensor:
    """What a task's training step minimises, without its figures."""
    if isinstance(task, ClassificationTask):
        return _loss_of_classifier(task, batch)
    output = task.network(batch["image"])
    if isinstance(task, SegmentationTask):
        return task.loss(output, task.wanted(batch["mask"]))
    assert isinstance(task, ReconstructionTask)
    loss = task.loss(output.image, batch["target"], batch["mask"])
    if output.logits is None:
        return loss
    return loss + task.head_weight * task.head_loss(output.logits, batch["mask"])


def _loss_of_classifier(task: ClassificationTask, batch: Batch) -> torch.Tensor:
    wanted = batch.get("label_weight", batch["label"])
    if task.mask_loss is None:
        return task.loss(task.network(batch["image"]), wanted)
    assert isinstance(task.network, Classifier)
    logits, places = task.network.with_places(batch["image"])
    return task.loss(logits, wanted) + task.mask_loss(places, batch["mask"], batch["label"])


def augmented_batches(parts: Parts, *, count: int | None = None) -> list[Batch]:
    """The batches of an epoch (or `count` of them) as the task sees them, on its device."""
    device = torch.device(parts.choices.device)
    batches = []
    for raw in parts.data.train_dataloader():
        spoilt = parts.data.spoil(raw, training=True, epoch=1)
        there = {key: value.to(device) for key, value in spoilt.items()}
        batches.append(parts.data.transform(there, training=True, epoch=1))
        if len(batches) == count:
            break
    return batches
