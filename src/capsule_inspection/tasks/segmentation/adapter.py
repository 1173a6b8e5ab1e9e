"""Where is the defect? What segmentation networks need of the workflow.

They learn from masks: of the defects of the training part, and of defects that are painted or
pasted onto its good images. From which probability on a pixel counts, and how large a region must
be, is chosen on the validation images.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.mixing import DefectMixing
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.data.painting import NATURAL
from capsule_inspection.data.sampling import Shares
from capsule_inspection.data.splits import keep_defects
from capsule_inspection.data.windows import Windows, whole_images
from capsule_inspection.metrics import names
from capsule_inspection.metrics.marked_classes import image_probabilities
from capsule_inspection.metrics.marked_runs import marking_figures
from capsule_inspection.metrics.marking import Decision, choose_decision, mark, region_score
from capsule_inspection.models.base import Network
from capsule_inspection.models.inspector import Inspector, SegmentationInspector
from capsule_inspection.models.segmentation_losses import SegmentationLoss, class_weights
from capsule_inspection.models.tiling import Tiling
from capsule_inspection.synthetic.defects import DEFECTS
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.tasks.segmentation.lightning_module import SegmentationTask
from capsule_inspection.types import (
    GOOD_LABEL,
    TEST,
    TRAIN,
    VAL,
    DataError,
    DataIndex,
    Figure,
    Predictions,
)
from capsule_inspection.workflows import pointing, predicting
from capsule_inspection.workflows.hardware import Choices
from capsule_inspection.workflows.inputs import assign_split
from capsule_inspection.workflows.kinds.fitted import fitted_of, require_finite
from capsule_inspection.workflows.learning import build_learning
from capsule_inspection.workflows.marked_images import MarkedImages
from capsule_inspection.workflows.painting import (
    labels_of_defects,
    paint_training,
    require_shown,
    training_donors,
)
from capsule_inspection.workflows.windows import epochs_of, shown_first, whole_from

log = logging.getLogger(__name__)
_SHOWN = 5
_PICTURES = 10
"""Of a training, in TensorBoard."""


class Segmentation:
    """Images with masks; with `binary` all defects are one."""

    kept_out: Sequence[str] = ()

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        self.names_defects = not binary

    def decided_on(self, config: DictConfig) -> Sequence[str]:
        return () if config.split.name == "origin" else (VAL,)

    def arrange(self, index: DataIndex, config: DictConfig) -> DataIndex:
        index = with_masks(assign_split(index, config.split), on_bad_file=config.data.on_bad_file)
        if not self.binary:
            _require_training(index, config)
        return keep_defects(index, config.data.real_defects, seed=config.seed)

    def select(self, stage: str, label: int) -> bool:
        return True

    def batch_settings(self, config: DictConfig, choices: Choices) -> BatchSettings:
        task, data = config.task, config.data
        size = (data.image_size[0], data.image_size[1])
        window = shown_first(config)
        whole = task.batch_size
        if window is not None:  # memory would not suffice for as many whole images
            whole = whole_images(whole, window=window, image_size=size)
        return BatchSettings(
            batch_size=task.batch_size,
            eval_batch_size=whole,
            sampling="mixed",
            mixup=0.0,
            seed=config.seed,
            channels_last=choices.channels_last,
            augmentation=AugmentationSettings(**data.augmentation),
            views=task.views,
            shares=Shares(data.painted, data.pasted, task.defects),
        )

    def corruption(self, config: DictConfig, index: DataIndex, cache: DecodedCache) -> DefectMixing:
        """Raises DataError where training would show nothing of a class that is to be named."""
        labels = labels_of_defects(index)
        if self.binary:  # which kind it is does not matter
            labels = {**dict.fromkeys((*DEFECTS, NATURAL), 1), **labels}
        pool = paint_training(config, index, cache, labels)
        pastes = config.data.pasted or (config.data.painted and pool is None)
        mixing = DefectMixing(
            Windows(shown_first(config), whole_from(config)),
            seed=config.seed,
            pool=pool,
            labels=labels,
            donors=training_donors(index, cache) if pastes else [],
        )
        if not self.binary:
            require_shown(index, config, given={GOOD_LABEL, *mixing.given()})
        elif not mixing.given() and not _shows_defects(index):
            raise DataError(
                f"split={config.split.name} data.real_defects={config.data.real_defects:g}: no "
                "training image shows a defect, and none is painted or pasted, so nothing can be "
                "learnt. Set data.painted, use another split, or keep some defects."
            )
        return mixing

    def build_task(
        self, config: DictConfig, network: Network, data: InspectionDataModule
    ) -> InspectionTask:
        task = config.task
        num_classes = 2 if self.binary else len(data.index.classes)
        loss = SegmentationLoss(
            dict(task.loss_weights),
            class_weights=class_weights(num_classes, defect_weight=task.defect_weight),
            focal_gamma=task.focal_gamma,
        )
        return SegmentationTask(
            network,
            loss=loss,
            num_classes=num_classes,
            learning=build_learning(config),
            tiling=_tiling(config),
        )

    def callbacks(self, config: DictConfig, data: InspectionDataModule) -> list[Callback]:
        return [MarkedImages(data, every_epochs=max(1, epochs_of(config) // _PICTURES))]

    def calibrate(
        self,
        task: InspectionTask,
        data: InspectionDataModule,
        *,
        choices: Choices,
        config: DictConfig,
    ) -> dict[str, Any]:
        data.predict_stage = VAL
        found = predicting.run(task, data, choices=choices)
        foreground = found["foreground"].numpy()
        require_finite(foreground, what="probabilities")
        truths = [data.dataset.cache.masks[number] for number in found["index"].tolist()]
        decision = choose_decision(foreground, truths)
        task.fitted = {"decision": decision.as_dict()}
        return {"decision": decision.as_dict()}

    def restore(self, task: InspectionTask, checkpoint: Mapping[str, Any], *, where: str) -> None:
        task.fitted = _fitted(checkpoint, where=where)

    def inspector(
        self, config: DictConfig, network: Network, checkpoint: Mapping[str, Any], *, where: str
    ) -> Inspector:
        _fitted(checkpoint, where=where)
        return SegmentationInspector(network, network.normalisation, tiling=_tiling(config))

    def predict(
        self, task: InspectionTask, data: InspectionDataModule, stage: str, *, choices: Choices
    ) -> Predictions:
        found = predicting.run(task, data, choices=choices)
        decision = Decision.from_dict(task.fitted["decision"])
        foreground, kinds = found["foreground"].numpy(), found["kinds"].numpy()
        require_finite(foreground, what="probabilities")
        marked = [mark(*maps, decision) for maps in zip(foreground, kinds, strict=True)]
        masks = [of_one.mask for of_one in marked]
        truths = [data.dataset.cache.masks[number] for number in found["index"].tolist()]
        predictions = Predictions(
            index=found["index"].numpy(),
            label=found["label"].numpy(),
            probabilities=None,
            score=np.array([region_score(of_one, decision.area_px) for of_one in foreground]),
            threshold=decision.probability,
            maps=foreground,
            called=np.array([of_one.label for of_one in marked], np.int64),
            marked=np.stack(masks),
            overlap=overlap_of_images(masks, truths),
        )
        if self.binary:
            return predictions
        num_classes = len(data.index.classes)
        assert predictions.called is not None
        return replace(
            predictions,
            probabilities=image_probabilities(
                foreground,
                kinds,
                score=predictions.score,
                called=predictions.called,
                threshold=decision.probability,
                num_classes=num_classes,
            ),
        )

    def figures(
        self, predictions: Mapping[str, Predictions], data: InspectionDataModule, config: DictConfig
    ) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for stage, found in predictions.items():
            cache = data.dataset.cache
            measured = marking_figures(
                found,
                [cache.masks[number] for number in found.index],
                cache.valid(found.index),
                classes=data.index.classes,
                seed=config.seed,
            )
            if stage == TEST and found.maps is not None:
                measured |= pointing.figures(found.index, found.maps, data)
            figures |= names.with_stage(measured, stage)
        return figures


def _fitted(checkpoint: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """What `calibrate` kept. Raises RunError where it is missing."""
    lacking = "does not say which pixels count, so no image can be judged"
    return fitted_of(checkpoint, "decision", where=where, lacking=lacking)


def with_masks(index: DataIndex, *, on_bad_file: str) -> DataIndex:
    """The index without a stage for defects that have no mask, if they are to be skipped.

    Images without a stage do not count. Raises DataError where masks are missing and images are not
    to be skipped, and where no defect has a mask.
    """
    defects = [record for record in index.records if record.label != GOOD_LABEL and record.split]
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
            "data=manifest: a column mask). Without masks work model=resnet18, which names the "
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
        records=tuple(
            replace(record, split="") if record.path in left_out else record
            for record in index.records
        ),
    )


def _require_training(index: DataIndex, config: DictConfig) -> None:
    """Raise DataError where a defect is never shown in training, so that it could not be marked."""
    shown = {record.label for record in index.records if record.split == TRAIN}
    absent = [
        name
        for label, name in enumerate(index.classes)
        if label != GOOD_LABEL and label not in shown
    ]
    if absent:
        raise DataError(
            f"split={config.split.name}: no image of {', '.join(absent)} is in train, so it could "
            "never be marked. Choose another split, or say model.classes=binary, which needs no "
            "names."
        )


def _shows_defects(index: DataIndex) -> bool:
    return any(record.split == TRAIN and record.label != GOOD_LABEL for record in index.records)


def _tiling(config: DictConfig) -> Tiling | None:
    """In use images are seen as in training at its end: in parts, or whole."""
    window = shown_first(config)
    if window is None or whole_from(config) is not None:
        return None
    return Tiling(window, config.data.overlap)


def overlap_of_images(marked: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> np.ndarray:
    """Dice and IoU of what is marked, whichever defect, in each image: (N, 2); NaN without a mask.

    Shapes: N of (H, W), nonzero where something is marked, and where there is a defect.
    """
    found = np.full((len(marked), 2), np.nan)
    for row, (mask, truth) in enumerate(zip(marked, truths, strict=True)):
        if truth.any():
            both = int(np.sum((mask > 0) & (truth > 0)))
            together = int(np.sum(mask > 0) + np.sum(truth > 0))
            found[row] = 2 * both / together, both / (together - both)
    return found
