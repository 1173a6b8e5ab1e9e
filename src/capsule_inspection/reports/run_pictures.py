"""The pictures of a finished run, drawn from its files and written beside them.

Reads with `run_folder`, draws with `training`, `classification` and `mistakes`, where classifiers
looked with `run_explanations`, what one-class runs have with `run_anomaly` and what runs that mark
pixels have with `run_segmentation`. What a run has
no data for is not drawn: without probabilities and threshold only the curves, without `test` no
test pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import confusion
from capsule_inspection.reports import classification, mistakes, style, training
from capsule_inspection.reports.run_anomaly import (
    RECALL_BY_CLASS,
    Drawing,
    anomaly_drawings,
    judged_rightly,
)
from capsule_inspection.reports.run_explanations import explanation_drawings
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.reports.run_segmentation import segmentation_drawings
from capsule_inspection.reports.thumbnails import Thumbnails
from capsule_inspection.types import TEST, VAL, RunFiles

CURVES = "curves.png"
CONFUSION = "confusion_matrix.png"
CONFUSION_VAL = "confusion_matrix_val.png"
PRECISION_RECALL = "precision_recall.png"
WORST_MISTAKES = "worst_mistakes.png"

BEST_EPOCH = "best_epoch"
"""Field of run.json, marked in the curves where it is there."""


def write_run_pictures(run_folder: Path) -> tuple[Path, ...]:
    """Draw every picture that the run has data for; returns their paths, in the order drawn.

    Raises RunError where a file of the run is missing or broken.
    """
    run = read_run(run_folder)
    folder = run_folder / RunFiles.PICTURES
    return tuple(_save(draw(), folder / name) for name, draw in _drawings(run))


def _drawings(run: RunFolder) -> Iterator[Drawing]:
    if len(run.epochs):
        yield CURVES, lambda: _curves(run)
    if run.classes and VAL in run.stages() and not run.marks_pixels:  # those images chose
        yield CONFUSION_VAL, lambda: _confusion(run, VAL)
    if TEST not in run.stages():
        return
    if run.marks_pixels:
        yield from segmentation_drawings(run)
        yield from _of_names(run)
    elif run.classes:
        yield from _classification_drawings(run)
    elif run.has_threshold:
        yield from anomaly_drawings(run)


def _curves(run: RunFolder) -> Figure:
    columns = {str(name): run.epochs[name].to_numpy() for name in run.epochs}
    return training.curves(columns, run.record.get(BEST_EPOCH))


def _classification_drawings(run: RunFolder) -> Iterator[Drawing]:
    yield from _of_names(run)
    yield PRECISION_RECALL, lambda: _precision_recall(run)
    yield WORST_MISTAKES, lambda: worst_mistakes_of(run, TEST)
    yield from explanation_drawings(run)


def _of_names(run: RunFolder) -> Iterator[Drawing]:
    """How often the right name is given; where defects have none, how often the right judgement."""
    if run.classes:
        yield CONFUSION, lambda: _confusion(run, TEST)
        figures = names.of_stage(run.figures, TEST)
        yield RECALL_BY_CLASS, lambda: classification.recall_by_class(figures)
    else:
        yield RECALL_BY_CLASS, lambda: judged_rightly(run)


def _precision_recall(run: RunFolder) -> Figure:
    predictions, _ = run.arrays_of(TEST)
    assert predictions.probabilities is not None
    return classification.precision_recall(
        predictions.label, predictions.probabilities, run.classes
    )


def _confusion(run: RunFolder, stage: str) -> Figure:
    predictions, prediction = run.arrays_of(stage)
    matrix = confusion(predictions.label, prediction, len(run.classes))
    title = f"{stage}: {np.trace(matrix)} of {matrix.sum()} images named correctly"
    return classification.confusion_matrix(matrix, run.classes, title)


def worst_mistakes_of(run: RunFolder, stage: str) -> Figure:
    """The worst mistakes of one part of the split, among the images with a thumbnail."""
    predictions, prediction = run.arrays_of(stage)
    assert predictions.probabilities is not None
    thumbnails = Thumbnails([run.image_path(index) for index in predictions.index])
    wrong = predictions.label != prediction
    shown = ~wrong | thumbnails.exist()
    if wrong.any() and not (wrong & shown).any():
        return style.message(f"{wrong.sum()} mistakes; the run kept no thumbnail of any of them.")
    return mistakes.worst_mistakes(
        thumbnails.where(shown),
        predictions.label[shown],
        prediction[shown],
        predictions.probabilities[shown],
        run.classes,
    )


def _save(figure: Figure, path: Path) -> Path:
    style.save(figure, path)
    return path
