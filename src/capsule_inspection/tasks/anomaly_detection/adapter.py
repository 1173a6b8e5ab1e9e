"""Is it unlike the good ones? What autoencoders need of the workflow.

Only good images of the training part are trained on. Of those a share is set aside, `calibration`,
for the threshold and nothing else; the good ones of `val` decide on the epoch and say how much
reconstructions vary. Defects are test images, unless threshold=f1 asks for those of val.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from capsule_inspection.data import splits
from capsule_inspection.data.augmentation import AugmentationSettings
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.corruption import Corruption, CorruptionSettings
from capsule_inspection.data.module import BatchSettings, InspectionDataModule
from capsule_inspection.data.painted import PaintedPool
from capsule_inspection.data.windows import Windows, whole_images
from capsule_inspection.metrics import names, thresholds
from capsule_inspection.metrics.detection import anomaly_figures
from capsule_inspection.metrics.localisation import localisation_figures
from capsule_inspection.metrics.pixel_counts import count_pixels, rows_that_tell
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.models.anomaly import MapSettings, spread
from capsule_inspection.models.base import Network
from capsule_inspection.models.inspector import Inspector, ReconstructionInspector
from capsule_inspection.models.reconstruction_losses import HeadLoss, ReconstructionLoss
from capsule_inspection.tasks.anomaly_detection import lightning_module as tasks
from capsule_inspection.tasks.base import InspectionTask
from capsule_inspection.types import (
    CALIBRATION,
    DEFECT,
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
from capsule_inspection.workflows.painting import open_pool
from capsule_inspection.workflows.windows import epochs_of, window_of

log = logging.getLogger(__name__)


class Reconstruction:
    """Good images to learn from, all images to be judged."""

    names_defects = False
    kept_out: Sequence[str] = (CALIBRATION,)

    def decided_on(self, config: DictConfig) -> Sequence[str]:
        chose = config.threshold.name == thresholds.F1
        return (CALIBRATION, VAL) if chose else (CALIBRATION,)

    def arrange(self, index: DataIndex, config: DictConfig) -> DataIndex:
        index = splits.set_aside(
            assign_split(index, config.split),
            stage=CALIBRATION,
            share=config.task.calibration,
            seed=config.split.get("seed", 0),
        )
        _require_images(index, config)
        return index

    def select(self, stage: str, label: int) -> bool:
        return stage == TEST or label == GOOD_LABEL

    def batch_settings(self, config: DictConfig, choices: Choices) -> BatchSettings:
        task = config.task
        height, width = config.data.image_size
        window = window_of(task.window, (height, width))
        whole = task.batch_size
        if window is not None:  # memory would not suffice for as many whole images
            whole = whole_images(whole, window=window, image_size=(height, width))
        return BatchSettings(
            batch_size=task.batch_size,
            eval_batch_size=whole,
            sampling="natural",
            mixup=0.0,
            seed=config.seed,
            channels_last=choices.channels_last,
            augmentation=AugmentationSettings(**config.data.augmentation),
            views=task.views,
            val_views=1 if config.model.corruption == "none" else 2,
        )

    def corruption(
        self, config: DictConfig, index: DataIndex, cache: DecodedCache
    ) -> Corruption | None:
        settings = CorruptionSettings(
            config.model.corruption,
            config.task.corrupted,
            Windows(
                window_of(config.task.window, config.data.image_size),
                round(config.task.whole_from * epochs_of(config)),
            ),
        )
        pool = None
        if settings.kind == "painted":
            pool = _paint(config, index, cache)
        return Corruption(settings, seed=config.seed, pool=pool)

    def build_task(
        self, config: DictConfig, network: Network, data: InspectionDataModule
    ) -> InspectionTask:
        task = config.task
        return tasks.ReconstructionTask(
            network,
            loss=ReconstructionLoss(dict(task.loss_weights), data.normalisation),
            head_loss=HeadLoss(),
            head_weight=task.head_weight,
            settings=MapSettings(**task.map),
            normalisation=data.normalisation,
            learning=build_learning(config),
        )

    def callbacks(self, config: DictConfig, data: InspectionDataModule) -> list[Callback]:
        return []

    def calibrate(
        self,
        task: InspectionTask,
        data: InspectionDataModule,
        *,
        choices: Choices,
        config: DictConfig,
    ) -> dict[str, Any]:
        assert isinstance(task, tasks.ReconstructionTask)
        _measure_spread(task, data, choices=choices)
        threshold = _choose_threshold(task, data, choices=choices, config=config)
        task.fitted = {"threshold": threshold.as_dict(), "spread": task.spread}
        return {"threshold": threshold.as_dict(), "corruption": config.model.corruption}

    def restore(self, task: InspectionTask, checkpoint: Mapping[str, Any], *, where: str) -> None:
        assert isinstance(task, tasks.ReconstructionTask)
        fitted = _fitted(checkpoint, where=where)
        task.fitted = fitted
        task.spread = fitted["spread"]

    def inspector(
        self, config: DictConfig, network: Network, checkpoint: Mapping[str, Any], *, where: str
    ) -> Inspector:
        return ReconstructionInspector(
            network,
            network.normalisation,
            settings=MapSettings(**config.task.map),
            spread=_fitted(checkpoint, where=where)["spread"],
        )

    def predict(
        self, task: InspectionTask, data: InspectionDataModule, stage: str, *, choices: Choices
    ) -> Predictions:
        assert isinstance(task, tasks.ReconstructionTask)
        task.asked = tasks.MAPS if stage == TEST else tasks.SCORES
        found = predicting.run(task, data, choices=choices, every_label=stage == TEST)
        maps, drawn = found.get("map"), found.get("reconstruction")
        return Predictions(
            index=found["index"].numpy(),
            label=found["label"].numpy(),
            probabilities=None,
            score=found["score"].double().numpy(),
            threshold=Threshold.from_dict(task.fitted["threshold"]).value,
            maps=None if maps is None else maps.numpy(),
            reconstructions=None if drawn is None else drawn.permute(0, 2, 3, 1).numpy(),
        )

    def figures(
        self, predictions: Mapping[str, Predictions], data: InspectionDataModule, config: DictConfig
    ) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for stage, found in predictions.items():
            measured = _figures(found, data, config)
            if stage == TEST and found.maps is not None:
                measured |= pointing.figures(found.index, found.maps, data)
            figures |= names.with_stage(measured, stage)
        return figures


def _fitted(checkpoint: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """What `calibrate` kept. Raises RunError where it is missing."""
    lacking = "has no threshold, so nothing can be called good or a defect"
    return fitted_of(checkpoint, "threshold", where=where, lacking=lacking)


def _figures(
    found: Predictions, data: InspectionDataModule, config: DictConfig
) -> dict[str, Figure]:
    assert found.threshold is not None
    classes = np.array(data.index.classes)
    figures = anomaly_figures(
        found.label != GOOD_LABEL,
        thresholds.exceeds(found.score, found.threshold),
        found.score,
        class_names_of_images=classes[found.label],
        false_alarm_rate=config.threshold.false_alarm_rate,
        seed=config.seed,
    )
    if found.maps is None:
        return figures
    cache = data.dataset.cache
    masks = (cache.masks[number] for number in found.index)
    known = rows_that_tell(found.label != GOOD_LABEL, masks)
    counts = count_pixels(
        (found.maps[row] for row in known),
        (cache.masks[found.index[row]] for row in known),
        (cache.valid([found.index[row]])[0] for row in known),
    )
    return figures | localisation_figures(counts, seed=config.seed)


def _paint(config: DictConfig, index: DataIndex, cache: DecodedCache) -> PaintedPool:
    """The painted defects of the good images of training and validation."""
    rows = {
        stage: [
            number
            for number, record in enumerate(index.records)
            if record.split == stage and record.label == GOOD_LABEL
        ]
        for stage in (TRAIN, VAL)
    }
    return open_pool(config, index, cache, rows=rows[TRAIN] + rows[VAL], sources=rows[TRAIN])


def _measure_spread(
    task: tasks.ReconstructionTask, data: InspectionDataModule, *, choices: Choices
) -> None:
    """How much residuals vary on the good images of val, at each pixel."""
    task.spread = None
    if not (task.uses_residual and task.settings.normalise):
        return
    task.asked = tasks.SQUARES
    data.predict_stage = VAL
    batches = predicting.batches(task, data, choices=choices)
    total = torch.stack([batch["square"] for batch in batches]).sum(0)
    task.spread = spread(total / sum(batch["count"] for batch in batches))


def _choose_threshold(
    task: tasks.ReconstructionTask,
    data: InspectionDataModule,
    *,
    choices: Choices,
    config: DictConfig,
) -> Threshold:
    rule = config.threshold
    task.asked = tasks.SCORES
    data.predict_stage = VAL if rule.name == thresholds.F1 else CALIBRATION
    found = predicting.run(task, data, choices=choices, every_label=rule.name == thresholds.F1)
    score, is_defect = found["score"].double().numpy(), found["label"].numpy() != GOOD_LABEL
    require_finite(score, what="scores")
    if rule.name == thresholds.F1:
        log.warning(
            "threshold=f1: the threshold was chosen with %d labelled defects. This is no longer an "
            "inspection that has seen good images only.",
            int(is_defect.sum()),
        )
        return thresholds.f1_threshold(is_defect, score)
    if rule.name == thresholds.SIGMA:
        return thresholds.sigma_threshold(score, rule.sigmas)
    threshold = thresholds.conformal_threshold(score, rule.false_alarm_rate)
    if not threshold.enough:
        log.warning(
            "threshold.false_alarm_rate=%g is finer than %d good calibration images allow: it "
            "takes at least %d. The threshold is the largest of their scores; expect up to %.1f%% "
            "of good images to be rejected. Raise task.calibration, add good images, or ask for a "
            "rate of %.3g or more.",
            rule.false_alarm_rate,
            len(score),
            threshold.needed,
            100 / (len(score) + 1),
            1 / (len(score) + 1),
        )
    return threshold


def _require_images(index: DataIndex, config: DictConfig) -> None:
    """Raise DataError, before anything is trained, where a stage lacks what is needed of it."""
    counts = Counter((record.split, record.label == GOOD_LABEL) for record in index.records)
    rule = config.threshold.name
    needed = {TRAIN: 1, VAL: 1, CALIBRATION: 2 if rule == thresholds.SIGMA else 1}
    for stage, least in needed.items():
        if counts[stage, True] < least:
            raise DataError(
                f"split={config.split.name}: {counts[stage, True]} good images in {stage}; an "
                f"autoencoder with threshold={rule} needs at least {least} there. Add good images, "
                "or change the shares of split and task.calibration."
            )
    if rule == thresholds.F1 and not counts[VAL, False]:
        raise DataError(
            f"threshold=f1 needs good and {DEFECT} images in val to choose from; "
            f"split={config.split.name} has {counts[VAL, True]} and 0 there. Use split=holdout or "
            "kfold, or threshold=conformal, which needs no defects."
        )
