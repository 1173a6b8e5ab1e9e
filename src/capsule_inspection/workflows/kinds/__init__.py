"""What differs between the tasks in the one workflow of training and evaluating.

Each kind has the same furniture, described by `Kind`; `training.py` and `evaluating.py` know no
more of a task than this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.module import BatchSettings, InspectionDataModule, Spoiling
from capsule_inspection.models.base import Network
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.types import DataIndex, Figure, Predictions
from capsule_inspection.workflows.hardware import Choices


class Kind(Protocol):
    """One task: what it takes from the data, how it is built, judged and recorded."""

    names_defects: bool
    """Whether it tells classes apart, and so knows no others than those it was trained on."""
    kept_out: Sequence[str]
    """Stages beside val and test whose images are predicted at the end of a training."""

    def decided_on(self, config: DictConfig) -> Sequence[str]:
        """Stages on whose images `calibrate` decides what their figures would tell."""
        ...

    def arrange(self, index: DataIndex, config: DictConfig) -> DataIndex:
        """The index with the split, and what this task takes out of its training part."""
        ...

    def select(self, stage: str, label: int) -> bool:
        """Whether the task uses images of a label in a stage while it trains."""
        ...

    def batch_settings(self, config: DictConfig, choices: Choices) -> BatchSettings:
        """How batches are made."""
        ...

    def corruption(
        self, config: DictConfig, index: DataIndex, cache: DecodedCache
    ) -> Spoiling | None:
        """What spoils the images of a training, if anything does."""
        ...

    def build_task(
        self, config: DictConfig, network: Network, data: InspectionDataModule
    ) -> InspectionTask:
        """The LightningModule."""
        ...

    def callbacks(self, config: DictConfig, data: InspectionDataModule) -> list[Callback]:
        """What else happens while it is trained."""
        ...

    def calibrate(
        self,
        task: InspectionTask,
        data: InspectionDataModule,
        *,
        choices: Choices,
        config: DictConfig,
    ) -> dict[str, Any]:
        """Fit what belongs to the trained network and is not learnt by it, such as a threshold.

        Kept in the task, and written into its checkpoint as `InspectionTask.fitted`; what comes
        back is for run.json.
        """
        ...

    def restore(self, task: InspectionTask, checkpoint: Mapping[str, Any], *, where: str) -> None:
        """Take what `calibrate` fitted from a checkpoint. Raises RunError where it is missing."""
        ...

    def inspector(
        self, config: DictConfig, network: Network, checkpoint: Mapping[str, Any], *, where: str
    ) -> Inspector:
        """The trained network with its scoring, for single photographs. Raises as `restore`."""
        ...

    def predict(
        self, task: InspectionTask, data: InspectionDataModule, stage: str, *, choices: Choices
    ) -> Predictions:
        """What the network says of the images of `data.predict_stage`, reported as `stage`."""
        ...

    def figures(
        self, predictions: Mapping[str, Predictions], data: InspectionDataModule, config: DictConfig
    ) -> dict[str, Figure]:
        """Figures of each stage, with the stage in their keys."""
        ...


def kind_of(config: DictConfig) -> Kind:
    """The kind of a configuration's task."""
    if config.task.name == "reconstruction":
        from capsule_inspection.tasks.anomaly_detection.adapter import Reconstruction

        return Reconstruction()
    if config.task.name == "segmentation":
        from capsule_inspection.tasks.segmentation.adapter import Segmentation

        return Segmentation(binary=config.model.classes == "binary")
    from capsule_inspection.tasks.classification.adapter import Classification

    return Classification()
