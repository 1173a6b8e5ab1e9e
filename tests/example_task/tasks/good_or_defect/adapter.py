"""Builds the parts of the task from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from capsule_inspection.tasks.good_or_defect.post_processor import GoodOrDefectPostProcessor

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.splits import assign_split
from capsule_inspection.metrics.detection import anomaly_metrics
from capsule_inspection.tasks.adapter import Fitted, Task
from capsule_inspection.tasks.backend import Backend
from capsule_inspection.types import DEFECT, GOOD_LABEL, DataIndex, Estimate, Predictions

if TYPE_CHECKING:
    from capsule_inspection.tasks.good_or_defect.inference_model import GoodOrDefectInferenceModel
    from capsule_inspection.tasks.good_or_defect.lightning_module import GoodOrDefectModule

    from capsule_inspection.data.module import BatchSettings, InspectionDataModule
    from capsule_inspection.models.base import Model
    from capsule_inspection.tasks.inference_model import InferenceModel


class GoodOrDefectTask(Task):
    """Trains on all images; their labels count as good or defect."""

    accepts_unknown_classes = True

    def assign_split(self, index: DataIndex) -> DataIndex:
        return assign_split(index, self.config)

    def batch_settings(self, *, channels_last: bool) -> BatchSettings:
        from capsule_inspection.data.augmentation import AugmentationSettings
        from capsule_inspection.data.module import BatchSettings

        return BatchSettings(
            batch_size=self.config.task.batch_size,
            sampling="natural",
            mixup=0.0,
            seed=self.config.seed,
            channels_last=channels_last,
            augmentation=AugmentationSettings(**self.config.data.augmentation),
        )

    def batch_transform(self, index: DataIndex, cache: ImageCache) -> None:
        return None

    def lightning_module(self, network: Model, data: InspectionDataModule) -> GoodOrDefectModule:
        from capsule_inspection.tasks.good_or_defect.lightning_module import GoodOrDefectModule

        from capsule_inspection.tasks.optimization import build_optimization

        return GoodOrDefectModule(network, build_optimization(self.config))

    def fit(
        self,
        network: Model,
        data: InspectionDataModule,
        backend: Callable[[InferenceModel], Backend],
    ) -> Fitted | None:
        return None

    def inference_model(
        self, network: Model, fitted: Mapping[str, Any], *, channels_last: bool
    ) -> GoodOrDefectInferenceModel:
        from capsule_inspection.tasks.good_or_defect.inference_model import (
            GoodOrDefectInferenceModel,
        )

        return GoodOrDefectInferenceModel(network, channels_last=channels_last)

    def post_processor(
        self, fitted: Mapping[str, Any], classes: Sequence[str]
    ) -> GoodOrDefectPostProcessor:
        return GoodOrDefectPostProcessor((classes[GOOD_LABEL], DEFECT))

    def metrics(
        self, predictions: Predictions, data: InspectionDataModule, *, split: str
    ) -> dict[str, Estimate]:
        return anomaly_metrics(
            predictions.label != GOOD_LABEL,
            predictions.predicted_label != GOOD_LABEL,
            predictions.score,
            class_names=np.array(data.index.classes)[predictions.label],
            target_fpr=0.05,
            seed=self.config.seed,
        )


TASK = GoodOrDefectTask
