"""Segmentation: what it needs of data, training and evaluation.

It learns from masks: of the defects of the training split, and of synthetic and pasted defects on
its good images. Thresholds and smallest area of a region are fitted on the validation images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.defect_rendering import NSA
from capsule_inspection.data.defect_sources import (
    defect_labels,
    find_copy_paste_sources,
    open_training_bank,
    require_all_classes,
)
from capsule_inspection.data.splits import assign_split, subsample_defects
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.metrics.pixel_counts import rows_with_known_mask
from capsule_inspection.metrics.segmentation import segmentation_metrics
from capsule_inspection.synthetic.defects import DEFECT_TYPES
from capsule_inspection.tasks.adapter import Fitted, Task, pointing_metrics, require_finite
from capsule_inspection.tasks.backend import VALID, Backend
from capsule_inspection.tasks.post_processor import to_float16
from capsule_inspection.tasks.segmentation.post_processor import SegmentationPostProcessor
from capsule_inspection.types import (
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
    from capsule_inspection.data.defect_augmentation import DefectAugmentation
    from capsule_inspection.data.module import BatchSettings, InspectionDataModule
    from capsule_inspection.models.base import Model
    from capsule_inspection.models.tiling import Tiling
    from capsule_inspection.tasks.inference_model import InferenceModel
    from capsule_inspection.tasks.segmentation.inference_model import SegmentationInferenceModel
    from capsule_inspection.tasks.segmentation.lightning_module import SegmentationModule

log = logging.getLogger(__name__)
_SHOWN = 5


class SegmentationTask(Task):
    """Images with masks; with model.classes=binary all defects are one class."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.is_binary = config.model.classes == "binary"

    @property
    def accepts_unknown_classes(self) -> bool:  # type: ignore[override]
        return self.is_binary

    def selection_splits(self) -> Sequence[str]:
        return () if self.config.split.name == "val_as_test" else (VAL,)

    def assign_split(self, index: DataIndex) -> DataIndex:
        config = self.config
        index = assign_split(index, config, every_class=not self.is_binary)
        index = with_masks(index, on_bad_file=config.data.on_bad_file)
        if not self.is_binary:
            _require_training(index, config)
        return subsample_defects(index, config.data.defect_fraction, seed=config.seed)

    def batch_settings(self, *, channels_last: bool) -> BatchSettings:
        from capsule_inspection.data.augmentation import AugmentationSettings
        from capsule_inspection.data.module import BatchSettings
        from capsule_inspection.data.samplers import MixtureWeights
        from capsule_inspection.data.training_crops import crop_schedule, full_image_batch_size

        task, data = self.config.task, self.config.data
        size = (data.image_size[0], data.image_size[1])
        # Memory would not suffice for as many full images as crops.
        eval_batch_size = full_image_batch_size(
            task.batch_size, crop_size=crop_schedule(self.config).size, image_size=size
        )
        return BatchSettings(
            batch_size=task.batch_size,
            eval_batch_size=eval_batch_size,
            sampling="mixed",
            mixup=0.0,
            seed=self.config.seed,
            channels_last=channels_last,
            augmentation=AugmentationSettings(**data.augmentation),
            repeats=task.repeats,
            mixture=MixtureWeights(data.synthetic_defects, data.copy_paste, data.real_defects),
        )

    def batch_transform(self, index: DataIndex, cache: ImageCache) -> DefectAugmentation:
        """Raises DataError where training would have no image of a class."""
        from capsule_inspection.data.defect_augmentation import DefectAugmentation
        from capsule_inspection.data.training_crops import crop_schedule

        config = self.config
        labels = defect_labels(index)
        if self.is_binary:  # all defects are of one class
            labels = {**dict.fromkeys((*DEFECT_TYPES, NSA), 1), **labels}
        bank = open_training_bank(config.data, index, cache, labels)
        needs_sources = config.data.copy_paste or (config.data.synthetic_defects and bank is None)
        augmentation = DefectAugmentation(
            crop_schedule(config),
            seed=config.seed,
            bank=bank,
            labels=labels,
            sources=find_copy_paste_sources(index, cache) if needs_sources else [],
        )
        if not self.is_binary:
            require_all_classes(index, config, added={GOOD_LABEL, *augmentation.added_classes()})
        elif not augmentation.added_classes() and not _has_defects(index):
            raise DataError(
                f"split={config.split.name} data.defect_fraction={config.data.defect_fraction:g}: "
                "no training image shows a defect, and none is added, so there is nothing to "
                "learn. Set data.synthetic_defects, use another split, or keep some defects."
            )
        return augmentation

    def lightning_module(self, network: Model, data: InspectionDataModule) -> SegmentationModule:
        from capsule_inspection.data.training_crops import crop_schedule
        from capsule_inspection.models.losses.segmentation import (
            SegmentationLoss,
            defect_class_weights,
        )
        from capsule_inspection.tasks.optimization import build_optimization
        from capsule_inspection.tasks.segmentation.lightning_module import SegmentationModule

        config, task = self.config, self.config.task
        num_classes = 2 if self.is_binary else len(data.index.classes)
        loss = SegmentationLoss(
            dict(task.loss_weights),
            class_weights=defect_class_weights(num_classes, defect_weight=task.defect_weight),
            focal_gamma=task.focal_gamma,
        )
        return SegmentationModule(
            network,
            loss=loss,
            num_classes=num_classes,
            optimization=build_optimization(
                config, select_from_epoch=crop_schedule(config).full_image_from or 0
            ),
            tiling=_tiling(config),
        )

    def fit(
        self,
        network: Model,
        data: InspectionDataModule,
        backend: Callable[[InferenceModel], Backend],
    ) -> Fitted:
        model = self.inference_model(network, {}, channels_last=data.settings.channels_last)
        cache, maps, truths = data.dataset.cache, [], []
        computed = backend(model)
        for batch in data.evaluation_batches(VAL):
            is_defect = data.labels[batch.index] != GOOD_LABEL
            known = rows_with_known_mask(is_defect, cache.masks[batch.index])
            foreground = computed.run(batch.inputs)["foreground"]
            require_finite({"foreground": foreground})
            maps += list(to_float16(foreground * batch.inputs[VALID])[known])
            truths += [cache.masks[number] for number in batch.index[known]]
        state = MaskPostProcessor.fit(maps, truths).state_dict()
        return Fitted({}, {**state, "is_binary": self.is_binary}, {"mask_postprocessing": state})

    def inference_model(
        self, network: Model, fitted: Mapping[str, Any], *, channels_last: bool
    ) -> SegmentationInferenceModel:
        from capsule_inspection.tasks.segmentation.inference_model import SegmentationInferenceModel

        return SegmentationInferenceModel(
            network, channels_last=channels_last, tiling=_tiling(self.config)
        )

    def post_processor(
        self, fitted: Mapping[str, Any], classes: Sequence[str]
    ) -> SegmentationPostProcessor:
        if self.is_binary:
            classes = (classes[GOOD_LABEL], DEFECT)
        return SegmentationPostProcessor.from_state_dict(fitted, classes=classes)

    def metrics(
        self, predictions: Predictions, data: InspectionDataModule, *, split: str
    ) -> dict[str, Estimate]:
        cache, index = data.dataset.cache, predictions.index
        metrics = segmentation_metrics(
            predictions,
            [cache.masks[number] for number in index],
            cache.valid(index),
            classes=data.index.classes,
            seed=self.config.seed,
            group=data.groups[index],
        )
        if split != TEST:
            return metrics
        assert predictions.anomaly_map is not None
        return metrics | pointing_metrics(index, predictions.anomaly_map, data)


TASK = SegmentationTask


def with_masks(index: DataIndex, *, on_bad_file: str) -> DataIndex:
    """The index without a stage for defects that have no mask, if they are to be skipped.

    Images without a stage do not count. Raises DataError where masks are missing and images are not
    to be skipped, and where no defect has a mask.
    """
    defects = [record for record in index.samples if record.label != GOOD_LABEL and record.split]
    if not defects:
        raise DataError(
            f"{index.root}: none of its images shows a defect, and model=unet learns from those "
            "that do and from their masks. From good images alone learns model=autoencoder."
        )
    without = [record.path for record in defects if record.mask is None]
    if len(without) == len(defects):
        raise DataError(
            f"{index.root}: none of its {len(defects)} images with a defect has a mask, and "
            "model=unet learns from masks. Add them (data=folder: data.masks=<folder>; "
            "data=manifest: a column mask; boxes of annotation formats: "
            "data.boxes_as_masks=true). Without masks work model=resnet18, which names the "
            "defect, and model=autoencoder, which learns from good images."
        )
    if not without:
        return index
    shown = ", ".join(without[:_SHOWN]) + ", ..." * (len(without) > _SHOWN)
    found = f"{len(without)} of {len(defects)} images with a defect have no mask ({shown})"
    if on_bad_file != "skip":
        raise DataError(
            f"{index.root}: {found}, so they would be shown as good. Add their masks, or leave "
            "these images out with data.on_bad_file=skip."
        )
    log.warning("%s; they are left out.", found)
    left_out = set(without)
    return replace(
        index,
        samples=tuple(
            replace(record, split="") if record.path in left_out else record
            for record in index.samples
        ),
    )


def _require_training(index: DataIndex, config: DictConfig) -> None:
    """Raise DataError where the training split lacks a defect class."""
    present = {sample.label for sample in index.samples if sample.split == TRAIN}
    absent = [
        name
        for label, name in enumerate(index.classes)
        if label != GOOD_LABEL and label not in present
    ]
    if absent:
        raise DataError(
            f"split={config.split.name}: no image of {', '.join(absent)} is in train, so it could "
            "never be predicted. Choose another split, or set model.classes=binary, which needs no "
            "classes."
        )


def _has_defects(index: DataIndex) -> bool:
    return any(record.split == TRAIN and record.label != GOOD_LABEL for record in index.samples)


def _tiling(config: DictConfig) -> Tiling | None:
    """Inference as at the end of training: tile by tile, or on whole images."""
    from capsule_inspection.data.training_crops import crop_schedule
    from capsule_inspection.models.tiling import Tiling

    crops = crop_schedule(config)
    if crops.size is None or crops.full_image_from is not None:
        return None
    return Tiling(crops.size, OmegaConf.select(config, "data.tiling.overlap", default=0.5))
