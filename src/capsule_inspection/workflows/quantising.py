"""What eight bits cost: the figures of a model on the test images before and after."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from capsule_inspection.inference.answers import Answered, answer
from capsule_inspection.inference.description import (
    CLASSIFICATION,
    RECONSTRUCTION,
    SEGMENTATION,
    Description,
)
from capsule_inspection.inference.parity import FOREGROUND
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.metrics import names
from capsule_inspection.tasks.segmentation.adapter import overlap_of_images
from capsule_inspection.types import (
    DEFECT,
    TEST,
    TRAIN,
    VAL,
    DataError,
    Figure,
    Figures,
    Predictions,
)
from capsule_inspection.workflows import inputs
from capsule_inspection.workflows.crops import Crops, SingleInputs, evenly
from capsule_inspection.workflows.export_source import Source
from capsule_inspection.workflows.kinds import kind_of

log = logging.getLogger(__name__)
SHOWN = {
    CLASSIFICATION: (names.ACCURACY, names.BALANCED_ACCURACY, names.AUROC),
    RECONSTRUCTION: (names.AUROC, names.DEFECTS_MISSED, names.GOOD_REJECTED),
    SEGMENTATION: (names.FOREGROUND_DICE_OF_PIXELS, names.FOREGROUND_DICE_OF_IMAGES, names.AUROC),
}
"""Figures that are printed; export.json has all."""
_TOGETHER = 4


class Said(NamedTuple):
    """What a model says of images: figures without a stage, and what each image is called."""

    figures: Figures
    called: list[str | None]


def calibration_inputs(source: Source, most: int) -> SingleInputs:
    """Training images, evenly chosen where there are more, as the model sees them.

    Raises DataError where there is none.
    """
    members = evenly(source.data.indices(TRAIN), most)
    if not members:
        raise DataError(
            "int8=true: the run's split has no training images, of which the ranges of eight bits "
            "are taken. Leave int8 out."
        )
    return SingleInputs(source.reference, Crops(source.data, members))


def measure(source: Source, eight_bits: Predictor) -> dict[str, Any]:
    """Hold a model against its run on the test images, or on those of val where there is no test.

    Prints the figures, and warns of those that are worse than chance explains; returns what
    export.json says.
    """
    part = TEST if source.data.indices(TEST) else VAL
    crops = Crops(source.data, source.data.indices(part, every_label=True))
    before, after = (_ask(source, predictor, crops) for predictor in (source.reference, eight_bits))
    changed = sum(ours != theirs for ours, theirs in zip(before.called, after.called, strict=True))
    log.info("Eight bits on the %d images of %s: %d answers changed.", len(crops), part, changed)
    for name in SHOWN[source.reference.description.task]:
        if name in before.figures and name in after.figures:
            tell(name, before.figures[name], after.figures[name])
    return {
        "part": part,
        "images": len(crops),
        "answers_changed": changed,
        "before": {key: vars(figure) for key, figure in before.figures.items()},
        "after": {key: vars(figure) for key, figure in after.figures.items()},
    }


def tell(name: str, before: Figure, after: Figure) -> None:
    """Print one figure, with a warning where it is worse than its interval allows."""
    change = after.value - before.value
    log.info("  %-26s %.3f before, %.3f after: %+.3f", name, before.value, after.value, change)
    loss, room = loss_and_room(name, before, after)
    if loss > room:
        log.warning(
            "  %s is worse by %.3f, which chance does not explain: the interval of %d images "
            "allows %.3f. Prefer the model without int8.",
            name,
            loss,
            before.n,
            room,
        )


def loss_and_room(name: str, before: Figure, after: Figure) -> tuple[float, float]:
    """How much worse a figure has become, and how far its interval reaches to the worse side."""
    worse, change = before.low, before.value - after.value
    if name in names.LOWER_IS_BETTER:
        worse, change = before.high, -change
    return change, 0.0 if worse is None else abs(before.value - worse)


def labels_by_name(classes: Sequence[str]) -> dict[str, int]:
    """Also of `defect`, which networks of one class of marks say, unless a class is called so."""
    return {DEFECT: 1} | {name: label for label, name in enumerate(classes)}


def _ask(source: Source, predictor: Predictor, crops: Crops) -> Said:
    """What a model says of all images, measured as an evaluation would."""
    description = predictor.description
    answered: list[Answered] = []
    maps: list[np.ndarray] = []
    with inputs.progress("Measuring") as show:
        for reads in crops.batches(_TOGETHER):
            outputs = predictor.engine.run(predictor.stacked(reads))
            for row, read in enumerate(reads):
                own = {name: values[row] for name, values in outputs.items()}
                assert read.prepared is not None
                answered.append(answer(description, own, read.prepared, path=read.name))
                if description.task == SEGMENTATION:
                    maps.append((own[FOREGROUND] * read.prepared.valid).astype(np.float16))
            show(len(answered), len(crops))
    predictions = _predictions(answered, crops)
    if maps:
        predictions = _with_marks(predictions, answered, maps, description, crops)
    figures = kind_of(source.stored).figures({TEST: predictions}, source.data, source.stored)
    return Said(names.of_stage(figures, TEST), [of.answer.prediction for of in answered])


def _predictions(answered: Sequence[Answered], crops: Crops) -> Predictions:
    answers = [of.answer for of in answered]
    numbers = np.array(crops.numbers, np.int64)
    shares = [[*of.probabilities.values()] for of in answers if of.probabilities is not None]
    return Predictions(
        index=numbers,
        label=crops.data.labels[numbers],
        probabilities=np.array(shares) if shares else None,
        score=np.array([of.score for of in answers], np.float64),
        threshold=answers[0].threshold,
    )


def _with_marks(
    predictions: Predictions,
    answered: Sequence[Answered],
    maps: Sequence[np.ndarray],
    description: Description,
    crops: Crops,
) -> Predictions:
    """The predictions of a network that marks pixels."""
    masks = [of.seen.mask for of in answered if of.seen is not None and of.seen.mask is not None]
    truths = [crops.data.dataset.cache.masks[number] for number in crops.numbers]
    label_of = labels_by_name(description.classes)
    called = [label_of[str(of.answer.prediction)] for of in answered]
    return dataclasses.replace(
        predictions,
        maps=np.stack(maps),
        called=np.array(called, np.int64),
        marked=np.stack(masks),
        overlap=overlap_of_images(masks, truths),
    )
