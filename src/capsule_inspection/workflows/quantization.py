"""int8 models: the images that calibrate them, and their metrics beside those of the run."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.split_prediction import predict_split
from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.tasks.adapter import Task
from capsule_inspection.types import TEST, TRAIN, VAL, DataError, Estimate
from capsule_inspection.workflows.model_inputs import ModelInputs, evenly_spaced

log = logging.getLogger(__name__)
PRINTED = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.AUROC,
    names.FALSE_NEGATIVE_RATE,
    names.FALSE_POSITIVE_RATE,
    names.BINARY_DICE_GLOBAL,
    names.BINARY_DICE_SAMPLEWISE,
)
"""Metrics that are printed where the task has them; export.json has all."""


def calibration_inputs(data: InspectionDataModule, count: int) -> ModelInputs:
    """At most `count` training images, evenly spaced. Raises DataError where there is none."""
    numbers = evenly_spaced(data.indices(TRAIN), count)
    if not numbers:
        raise DataError(
            "int8=true: expected training images in the run's split, which calibrate the int8 "
            "layers, found none. Leave int8 out."
        )
    return ModelInputs(data, numbers)


def measure(
    task: Task, data: InspectionDataModule, reference: Predictor, quantized: Predictor
) -> dict[str, Any]:
    """Metrics of a run and of its int8 model on the test images, or on val where there are none.

    Prints them, and warns where the loss is larger than the interval of the run's metric; returns
    what export.json holds.
    """
    split = TEST if data.indices(TEST) else VAL
    predictions = [
        predict_split(predictor, data, split, details=False) for predictor in (reference, quantized)
    ]
    before, after = (task.metrics(of_model, data, split=split) for of_model in predictions)
    changed = int(np.sum(predictions[0].predicted_label != predictions[1].predicted_label))
    count = len(predictions[0].index)
    log.info("int8 on the %d images of %s: %d predictions changed.", count, split, changed)
    for name in PRINTED:
        if name in before and name in after:
            log_change(name, before[name], after[name])
    return {
        "split": split,
        "images": count,
        "predictions_changed": changed,
        "before": {name: dataclasses.asdict(metric) for name, metric in before.items()},
        "after": {name: dataclasses.asdict(metric) for name, metric in after.items()},
    }


def log_change(name: str, before: Estimate, after: Estimate) -> None:
    """Print a metric, with a warning where it is worse than its interval allows."""
    change = after.value - before.value
    log.info("  %-26s %.3f before, %.3f after: %+.3f", name, before.value, after.value, change)
    loss, margin = loss_and_margin(name, before, after)
    if loss > margin:
        log.warning(
            "  %s is worse by %.3f, which chance does not explain: the interval of %d images "
            "allows %.3f. Prefer the model without int8.",
            name,
            loss,
            before.n,
            margin,
        )


def loss_and_margin(name: str, before: Estimate, after: Estimate) -> tuple[float, float]:
    """How much worse a metric is, and how far its interval extends to the worse side."""
    bound, loss = before.ci_low, before.value - after.value
    if name in LOWER_IS_BETTER:
        bound, loss = before.ci_high, -loss
    return loss, 0.0 if bound is None else abs(before.value - bound)
