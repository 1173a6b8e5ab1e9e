"""Anomaly detection: what it needs of data, training and evaluation.

Only good images of the training split are learnt from. A fraction of them is held out as the split
`calibration`, which fits the threshold and nothing else; the good images of val select the epoch
and measure how much residuals vary. Defects are test images, unless threshold=f1 needs those of
val.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.defect_bank import SyntheticDefectBank
from capsule_inspection.data.defect_sources import open_bank
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.data.splits import assign_split, hold_out_good, subsample_good
from capsule_inspection.metrics import thresholds
from capsule_inspection.metrics.detection import anomaly_metrics
from capsule_inspection.metrics.localization import localization_metrics
from capsule_inspection.metrics.pixel_counts import count_pixels, rows_with_known_mask
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.tasks.adapter import Fitted, Task, pointing_metrics, predict_outputs
from capsule_inspection.tasks.anomaly_detection.post_processor import (
    AnomalyDetectionPostProcessor,
)
from capsule_inspection.tasks.backend import IMAGE, Backend
from capsule_inspection.types import (
    CALIBRATION,
    DEFECT,
    GOOD_LABEL,
    TEST,
    TRAIN,
    VAL,
    DataError,
    DataIndex,
    Estimate,
    Predictions,
)

if TYPE_CHECKING:
    from torch import Tensor

    from capsule_inspection.data.corruption import Corruption
    from capsule_inspection.data.module import BatchSettings, InspectionDataModule
    from capsule_inspection.models.base import Model
    from capsule_inspection.tasks.anomaly_detection.inference_model import (
        AnomalyDetectionInferenceModel,
        PatchCoreInferenceModel,
    )
    from capsule_inspection.tasks.base import InspectionModule
    from capsule_inspection.tasks.inference_model import InferenceModel

log = logging.getLogger(__name__)


class AnomalyDetectionTask(Task):
    """Learns from good images, predicts all."""

    extra_splits = (CALIBRATION,)
    accepts_unknown_classes = True

    def selection_splits(self) -> Sequence[str]:
        is_f1 = self.config.threshold.name == thresholds.F1
        return (CALIBRATION, VAL) if is_f1 else (CALIBRATION,)

    def assign_split(self, index: DataIndex) -> DataIndex:
        config = self.config
        index = hold_out_good(
            assign_split(index, config, one_class=True),
            split=CALIBRATION,
            fraction=config.task.calibration_fraction,
            seed=config.split.get("seed", 0),
        )
        index = subsample_good(index, config.data.good_fraction, seed=config.seed)
        _require_images(index, config)
        return index

    def uses(self, split: str, label: int) -> bool:
        return split == TEST or label == GOOD_LABEL

    def batch_settings(self, *, channels_last: bool) -> BatchSettings:
        from capsule_inspection.data.augmentation import AugmentationSettings
        from capsule_inspection.data.module import BatchSettings
        from capsule_inspection.data.training_crops import crop_schedule, full_image_batch_size

        config, task = self.config, self.config.task
        height, width = config.data.image_size
        is_corrupted = config.model.get("corruption", "none") != "none"
        # Memory would not suffice for as many full images as crops.
        eval_batch_size = full_image_batch_size(
            task.batch_size, crop_size=crop_schedule(config).size, image_size=(height, width)
        )
        return BatchSettings(
            batch_size=task.batch_size,
            eval_batch_size=eval_batch_size,
            sampling="natural",
            mixup=0.0,
            seed=config.seed,
            channels_last=channels_last,
            augmentation=None
            if self._has_bank
            else AugmentationSettings(**config.data.augmentation),
            repeats=task.repeats,
            val_repeats=2 if is_corrupted else 1,
            count_left_out=not self._has_bank,
        )

    @property
    def _has_bank(self) -> bool:
        """Whether the model is PatchCore, which nothing is trained of."""
        return bool(self.config.model.builder == "patchcore")

    def batch_transform(self, index: DataIndex, cache: ImageCache) -> Corruption | None:
        if self._has_bank:
            return None
        from capsule_inspection.data.corruption import SYNTHETIC_DEFECTS, Corruption
        from capsule_inspection.data.training_crops import crop_schedule

        config = self.config
        method = config.model.corruption
        return Corruption(
            method,
            probability=config.task.corruption_probability,
            seed=config.seed,
            crops=crop_schedule(config),
            bank=_open_bank(config, index, cache) if method == SYNTHETIC_DEFECTS else None,
        )

    def lightning_module(self, network: Model, data: InspectionDataModule) -> InspectionModule:
        """Raises ConfigurationError for a map that the network lacks, and a bank without room."""
        from capsule_inspection.models.losses.reconstruction import HeadLoss, ReconstructionLoss
        from capsule_inspection.models.patchcore import PatchCore, check_memory
        from capsule_inspection.tasks.anomaly_detection.lightning_module import (
            AnomalyDetectionModule,
            PatchCoreModule,
        )
        from capsule_inspection.tasks.optimization import build_optimization

        task = self.config.task
        if isinstance(network, PatchCore):
            num_images = len(data.indices(TRAIN))
            _require_neighbours(num_images, network.num_neighbors)
            height, width = self.config.data.image_size
            stride = network.finest_stride
            patches = -(-height // stride) * -(-width // stride) * num_images
            check_memory(network.coreset, channels=network.channels, patches=patches)
            return PatchCoreModule(
                network,
                num_images=num_images,
                seed=self.config.seed,
                optimization=build_optimization(self.config),
            )
        self.inference_model(network, {}, channels_last=data.settings.channels_last)
        return AnomalyDetectionModule(
            network,
            loss=ReconstructionLoss(dict(task.loss_weights), data.normalisation),
            head_loss=HeadLoss(),
            head_weight=task.head_weight,
            optimization=build_optimization(self.config),
        )

    def fit(
        self,
        network: Model,
        data: InspectionDataModule,
        backend: Callable[[InferenceModel], Backend],
    ) -> Fitted:
        from capsule_inspection.tasks.anomaly_detection.inference_model import (
            AnomalyDetectionInferenceModel,
        )

        channels_last = data.settings.channels_last
        model = self.inference_model(network, {}, channels_last=channels_last)
        fitted, record = {}, {}
        if isinstance(model, AnomalyDetectionInferenceModel):
            fitted = {"residual_std": _fit_residual_std(model, data, backend)}
            model = self.inference_model(network, fitted, channels_last=channels_last)
            record = {"corruption": self.config.model.corruption}
        else:
            record = {"memory_bank": {"patches": len(model.network.memory_bank)}}
        threshold = _fit_threshold(backend(model), data, self.config.threshold)
        return Fitted(
            fitted, threshold.state_dict(), {"threshold": threshold.state_dict(), **record}
        )

    def inference_model(
        self, network: Model, fitted: Mapping[str, Any], *, channels_last: bool
    ) -> AnomalyDetectionInferenceModel | PatchCoreInferenceModel:
        import torch

        from capsule_inspection.models.anomaly_map import AnomalyMapConfig, MapConfig
        from capsule_inspection.tasks.anomaly_detection.inference_model import (
            AnomalyDetectionInferenceModel,
            PatchCoreInferenceModel,
        )

        if self._has_bank:
            return PatchCoreInferenceModel(
                network,
                channels_last=channels_last,
                settings=MapConfig(**self.config.task.map),
            )
        settings = AnomalyMapConfig(**self.config.task.map)
        std = fitted.get("residual_std")
        if std is not None:
            shape = (len(settings.weights()), *self.config.data.image_size)
            if not torch.is_tensor(std) or std.shape != shape or not bool((std > 0).all()):
                raise TypeError(f"residual_std is no tensor of {shape} with positive values")
        return AnomalyDetectionInferenceModel(
            network, channels_last=channels_last, settings=settings, residual_std=std
        )

    def post_processor(
        self, fitted: Mapping[str, Any], classes: Sequence[str]
    ) -> AnomalyDetectionPostProcessor:
        return AnomalyDetectionPostProcessor.from_state_dict(
            fitted, classes=(classes[GOOD_LABEL], DEFECT)
        )

    def metrics(
        self, predictions: Predictions, data: InspectionDataModule, *, split: str
    ) -> dict[str, Estimate]:
        group = data.groups[predictions.index]
        metrics = anomaly_metrics(
            predictions.label != GOOD_LABEL,
            predictions.predicted_label != GOOD_LABEL,
            predictions.score,
            class_names=np.array(data.index.classes)[predictions.label],
            target_fpr=self.config.threshold.target_fpr,
            seed=self.config.seed,
            group=group,
        )
        if split != TEST:  # the images of other splits are good
            return metrics
        cache, index, maps = data.dataset.cache, predictions.index, predictions.anomaly_map
        assert maps is not None
        masks = (cache.masks[number] for number in index)
        known = rows_with_known_mask(predictions.label != GOOD_LABEL, masks)
        counts = count_pixels(
            (maps[row] for row in known),
            (cache.masks[index[row]] for row in known),
            (cache.valid([index[row]])[0] for row in known),
        )
        metrics |= localization_metrics(counts, seed=self.config.seed, group=group[known])
        return metrics | pointing_metrics(index, maps, data)


TASK = AnomalyDetectionTask


def _open_bank(config: DictConfig, index: DataIndex, cache: ImageCache) -> SyntheticDefectBank:
    """The synthetic defects of the good images of training and validation."""
    rows = {
        split: [
            row
            for row, sample in enumerate(index.samples)
            if sample.split == split and sample.label == GOOD_LABEL
        ]
        for split in (TRAIN, VAL)
    }
    return open_bank(config.data, index, cache, rows=rows[TRAIN] + rows[VAL], sources=rows[TRAIN])


def _fit_residual_std(
    model: AnomalyDetectionInferenceModel,
    data: InspectionDataModule,
    backend: Callable[[InferenceModel], Backend],
) -> Tensor | None:
    """Standard deviation of the residuals on the good images of val, at each pixel."""
    import torch

    from capsule_inspection.models.anomaly_map import compute_residual_std

    if not (model.uses_residual and model.settings.normalise):
        return None
    computed = backend(model)
    sums, count = [], 0
    for batch in data.evaluation_batches(VAL):
        square = computed.call("squared_residuals", batch.inputs[IMAGE])
        assert square is not None
        sums.append(torch.from_numpy(square))
        count += len(batch.index)
    return compute_residual_std(torch.stack(sums).sum(0) / count)


def _fit_threshold(backend: Backend, data: InspectionDataModule, rule: DictConfig) -> Threshold:
    is_f1 = rule.name == thresholds.F1
    outputs = predict_outputs(backend, data, VAL if is_f1 else CALIBRATION, every_label=is_f1)
    score = outputs["score"].astype(np.float64)
    is_defect = data.labels[outputs["index"]] != GOOD_LABEL
    if is_f1:
        log.warning(
            "threshold=f1: the threshold was fitted on %d labelled defects. The model is no longer "
            "fitted on good images only.",
            int(is_defect.sum()),
        )
        return thresholds.f1_threshold(is_defect, score)
    if rule.name == thresholds.SIGMA:
        return thresholds.sigma_threshold(score, rule.num_std)
    group = data.groups[outputs["index"]]
    threshold = thresholds.conformal_threshold(score, rule.target_fpr, group=group)
    if not threshold.enough:
        log.warning(
            "threshold.target_fpr=%g is finer than %d good calibration images allow: it "
            "takes at least %d. The threshold is the largest of their scores; expect up to %.1f%% "
            "of good images to be rejected. Raise task.calibration_fraction, add good images, or "
            "set a rate of %.3g or more.",
            rule.target_fpr,
            threshold.good_images,
            threshold.required_images,
            100 / (threshold.good_images + 1),
            1 / (threshold.good_images + 1),
        )
    return threshold


def _require_neighbours(images: int, neighbours: int) -> None:
    if images < neighbours:
        raise DataError(
            f"model.num_neighbors={neighbours}: expected at most "
            f"{numbered(images, 'good training image')}, since neighbours shall be patches of "
            "different parts. 1 uses the nearest patch alone."
        )


def _require_images(index: DataIndex, config: DictConfig) -> None:
    """Raise DataError, before training, where a split has too few images."""
    counts = Counter((sample.split, sample.label == GOOD_LABEL) for sample in index.samples)
    rule = config.threshold.name
    required = {TRAIN: 1, VAL: 1, CALIBRATION: 2 if rule == thresholds.SIGMA else 1}
    for split, minimum in required.items():
        if counts[split, True] < minimum:
            raise DataError(
                f"split={config.split.name}: {counts[split, True]} good images in {split}; "
                f"threshold={rule} needs at least {minimum} there. Add good images, "
                "or change the fractions of split and task.calibration_fraction."
            )
    if rule == thresholds.F1 and not counts[VAL, False]:
        raise DataError(
            f"threshold=f1 needs good and {DEFECT} images in val; "
            f"split={config.split.name} has {counts[VAL, True]} and 0 there. Use split=holdout or "
            "kfold, or threshold=conformal, which needs no defects."
        )
