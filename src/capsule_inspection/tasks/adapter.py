"""What differs between the tasks in the one workflow of training, evaluating and predicting.

Each task is a folder with the same files: the LightningModule, the inference model, the
post-processor, and an adapter that builds them from a configuration. Workflows know no more of a
task than its adapter. An adapter imports torch and Lightning in the methods that need them: a split
is checked without torch, and a prediction needs no Lightning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from omegaconf import DictConfig

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.metrics.pointing_game import pointing_game_metrics
from capsule_inspection.tasks import load_module
from capsule_inspection.tasks.backend import Backend
from capsule_inspection.tasks.post_processor import PostProcessor
from capsule_inspection.types import GOOD_LABEL, DataIndex, Estimate, Predictions, RunError

if TYPE_CHECKING:
    from capsule_inspection.data.module import BatchSettings, BatchTransform, InspectionDataModule
    from capsule_inspection.models.base import Model
    from capsule_inspection.tasks.base import InspectionModule
    from capsule_inspection.tasks.inference_model import InferenceModel


class Fitted(NamedTuple):
    """What is fitted to a trained network on images that it did not learn from.

    Tensors and plain values, kept in the checkpoint: `model` for the inference model,
    `post_processor` for the post-processor; `record` is for run.json.
    """

    model: Mapping[str, Any]
    post_processor: Mapping[str, Any]
    record: Mapping[str, Any]

    def state(self) -> dict[str, dict[str, Any]]:
        """What is kept in the checkpoint."""
        return {"model": dict(self.model), "post_processor": dict(self.post_processor)}


class Task(ABC):
    """One task with a configuration: its data, its modules, its metrics."""

    extra_splits: ClassVar[Sequence[str]] = ()
    """Splits beside val and test whose images are predicted at the end of a training."""
    accepts_unknown_classes: ClassVar[bool] = False
    """Whether a trained model can be evaluated on defects that it has no class for."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config

    def selection_splits(self) -> Sequence[str]:
        """Splits whose images `fit` decides on, so that they have no metrics of the same run."""
        return ()

    @abstractmethod
    def assign_split(self, index: DataIndex) -> DataIndex:
        """The index with the configured split, and what this task takes out of its training."""

    def uses(self, split: str, label: int) -> bool:
        """Whether the task uses images of a label in a split."""
        return True

    @abstractmethod
    def batch_settings(self, *, channels_last: bool) -> BatchSettings:
        """How batches are made."""

    @abstractmethod
    def batch_transform(self, index: DataIndex, cache: ImageCache) -> BatchTransform | None:
        """What corrupts images of a training or adds defects to them, if anything does."""

    @abstractmethod
    def lightning_module(self, network: Model, data: InspectionDataModule) -> InspectionModule:
        """What is trained."""

    @abstractmethod
    def fit(
        self,
        network: Model,
        data: InspectionDataModule,
        backend: Callable[[InferenceModel], Backend],
    ) -> Fitted | None:
        """Fit what the trained network does not learn, such as a threshold; None for nothing.

        `backend` computes an inference model on this machine.
        """

    @abstractmethod
    def inference_model(
        self, network: Model, fitted: Mapping[str, Any], *, channels_last: bool
    ) -> InferenceModel:
        """The trained network with its scoring; `fitted` is `Fitted.model`."""

    @abstractmethod
    def post_processor(self, fitted: Mapping[str, Any], classes: Sequence[str]) -> PostProcessor:
        """What decides on its outputs; `fitted` is `Fitted.post_processor`."""

    @abstractmethod
    def metrics(
        self, predictions: Predictions, data: InspectionDataModule, *, split: str
    ) -> dict[str, Estimate]:
        """Metrics of the predictions of a split, by their names without it."""


def task_type(name: str, *, where: str) -> type[Task]:
    """The adapter of a task. Raises RunError, naming `where`, for an unknown one."""
    found: type[Task] = load_module(name, "adapter", where=where).TASK
    return found


def get_task(config: DictConfig) -> Task:
    """The task of a configuration."""
    return task_type(config.task.name, where="config.yaml")(config)


def predict_outputs(
    backend: Backend, data: InspectionDataModule, split: str, *, every_label: bool = False
) -> dict[str, np.ndarray]:
    """Outputs of the backend for all images of a split, with their `index` (N,).

    Raises RunError where an output is not finite.
    """
    stacked: dict[str, list[np.ndarray]] = {}
    for batch in data.evaluation_batches(split, every_label=every_label):
        for name, values in {"index": batch.index, **backend.run(batch.inputs)}.items():
            stacked.setdefault(name, []).append(values)
    outputs = {name: np.concatenate(values) for name, values in stacked.items()}
    require_finite(outputs)
    return outputs


def require_finite(outputs: Mapping[str, np.ndarray]) -> None:
    """Raise RunError where a value is not finite."""
    for name, values in outputs.items():
        wrong = int((~np.isfinite(values)).sum())
        if wrong:
            raise RunError(
                f"{wrong} of {values.size} values of {name} are not finite: the training has "
                "diverged. Lower optimizer.lr, or set trainer.precision=32-true."
            )


def pointing_metrics(
    index: np.ndarray, maps: np.ndarray, data: InspectionDataModule
) -> dict[str, Estimate]:
    """Whether maps are highest on the defects that have a mask; nothing where none has.

    Shapes: index (N,) into the data index; maps (N, H, W).
    """
    cache = data.dataset.cache
    rows = np.flatnonzero(data.labels[index] != GOOD_LABEL)
    numbers = index[rows]
    return pointing_game_metrics(
        (maps[row] for row in rows),
        (cache.masks[number] for number in numbers),
        (cache.valid([number])[0] for number in numbers),
        (cache.foregrounds[number] for number in numbers),
        class_names=(data.index.classes[label] for label in data.labels[numbers]),
        group=data.groups[numbers],
    )
