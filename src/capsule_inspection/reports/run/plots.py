"""The plots of a finished run, drawn from its files into its figures folder.

Plots without data are left out: without class probabilities and threshold there are only the
training curves, and without test images no plots of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import confusion_matrix
from capsule_inspection.reports.plots import classification, image_grid, style, training_curves
from capsule_inspection.reports.run.anomaly_plots import (
    RECALL_BY_CLASS,
    NamedPlot,
    anomaly_plots,
    binary_recall_plot,
)
from capsule_inspection.reports.run.explanation_plots import explanation_plots
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.reports.run.segmentation_plots import segmentation_plots
from capsule_inspection.reports.run.thumbnails import Thumbnails
from capsule_inspection.types import TEST, VAL, RunFiles

CURVES = "training_curves.png"
CONFUSION = "confusion_matrix.png"
CONFUSION_VAL = "confusion_matrix_val.png"
PRECISION_RECALL = "precision_recall.png"
MISCLASSIFIED = "misclassified_images.png"

BEST_EPOCH = "best_epoch"
"""Field of run.json, drawn in the training curves."""


def write_run_plots(run_folder: Path) -> tuple[Path, ...]:
    """Draw every plot that the run has data for; returns their paths.

    Raises RunError where a file of the run is missing or broken.
    """
    run = read_run(run_folder)
    folder = run_folder / RunFiles.PLOTS
    return tuple(_save(draw(), folder / name) for name, draw in _list_plots(run))


def _list_plots(run: RunFolder) -> Iterator[NamedPlot]:
    if len(run.epochs):
        yield CURVES, lambda: _plot_curves(run)
    # With masks, the validation images fit the post-processing.
    if run.classes and VAL in run.stages() and not run.has_masks:
        yield CONFUSION_VAL, lambda: _plot_confusion(run, VAL)
    if TEST not in run.stages():
        return
    if run.has_masks:
        yield from segmentation_plots(run)
        yield from _recall_plots(run)
    elif run.classes:
        yield from _classification_plots(run)
    elif run.has_threshold:
        yield from anomaly_plots(run)


def _plot_curves(run: RunFolder) -> Figure:
    columns = {str(name): run.epochs[name].to_numpy() for name in run.epochs}
    return training_curves.training_curves(columns, run.record.get(BEST_EPOCH))


def _classification_plots(run: RunFolder) -> Iterator[NamedPlot]:
    yield from _recall_plots(run)
    yield PRECISION_RECALL, lambda: _plot_precision_recall(run)
    yield MISCLASSIFIED, lambda: misclassified_plot(run, TEST)
    yield from explanation_plots(run)


def _recall_plots(run: RunFolder) -> Iterator[NamedPlot]:
    """Confusion matrix and recall; without class probabilities, recall of the decisions."""
    if run.classes:
        yield CONFUSION, lambda: _plot_confusion(run, TEST)
        metrics = names.metrics_of_stage(run.metrics, TEST)
        yield RECALL_BY_CLASS, lambda: classification.recall_by_class(metrics)
    else:
        yield RECALL_BY_CLASS, lambda: binary_recall_plot(run)


def _plot_precision_recall(run: RunFolder) -> Figure:
    predictions = run.arrays_of(TEST)
    assert predictions.probabilities is not None
    return classification.precision_recall(
        predictions.label, predictions.probabilities, run.classes
    )


def _plot_confusion(run: RunFolder, stage: str) -> Figure:
    predictions = run.arrays_of(stage)
    matrix = confusion_matrix(predictions.label, predictions.predicted_label, len(run.classes))
    title = f"{stage}: {np.trace(matrix)} of {matrix.sum()} images classified correctly"
    return classification.confusion_matrix(matrix, run.classes, title)


def misclassified_plot(run: RunFolder, stage: str) -> Figure:
    """The most confident mistakes in one split, among the images with a thumbnail."""
    predictions = run.arrays_of(stage)
    assert predictions.probabilities is not None
    thumbnails = Thumbnails([run.image_path(index) for index in predictions.index])
    wrong = predictions.label != predictions.predicted_label
    shown = ~wrong | thumbnails.exist()
    if wrong.any() and not (wrong & shown).any():
        return style.text_figure(
            f"{wrong.sum()} mistakes; the run kept no thumbnail of any of them."
        )
    return image_grid.misclassified_images(
        thumbnails.where(shown),
        predictions.label[shown],
        predictions.predicted_label[shown],
        predictions.probabilities[shown],
        run.classes,
    )


def _save(figure: Figure, path: Path) -> Path:
    style.save(figure, path)
    return path
