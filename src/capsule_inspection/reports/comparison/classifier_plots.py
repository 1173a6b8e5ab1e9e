"""Plots of classifiers in a comparison: confusion matrices, and images with disagreement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsule_inspection.metrics.classification import confusion_matrix
from capsule_inspection.reports.comparison.model_runs import ModelRuns
from capsule_inspection.reports.formatting import format_count
from capsule_inspection.reports.plots import image_grid, style
from capsule_inspection.reports.run.thumbnails import read_thumbnail
from capsule_inspection.types import RunError

MAX_PLOTTED_MODELS = 7
"""More lines or panels are not readable."""

MAX_DISAGREEMENTS = 12


@style.styled
def confusion_matrices(models: Sequence[ModelRuns]) -> Figure:
    """Confusion matrices side by side: the numbers of images, coloured by fraction of the row."""
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    figure = style.new_figure(4.2 * columns + 0.9, 4.1 * rows + 0.4)
    same_classes = len({model.classes for model in models}) == 1
    panels = figure.subplots(rows, columns, squeeze=False, sharey=same_classes)
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    for number, (axes, model) in enumerate(zip(panels.flat, models, strict=False)):
        _plot_confusion_matrix(axes, model)
        if number % columns == 0:
            axes.set_ylabel("true class")
    figure.supxlabel("predicted class", fontsize=11)
    return figure


def _plot_confusion_matrix(axes: Axes, model: ModelRuns) -> None:
    index_of = {name: index for index, name in enumerate(model.classes)}
    count = len(index_of)
    labels = np.array([index_of[name] for name in model.labels.tolist()])
    matrix = np.mean(
        [
            confusion_matrix(labels, np.array([index_of[name] for name in row]), count)
            for row in _predicted_labels(model).tolist()
        ],
        axis=0,
    )
    fraction = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            axes.text(column, row, format_count(value), ha="center", va="center", fontsize=9,
                      color="white" if fraction[row, column] > 0.6 else style.BLACK)  # fmt: skip
    names = [style.shorten(name, 16) for name in model.classes]
    axes.set_xticks(range(count), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    correct = format_count(float(np.trace(matrix)))
    title = f"{style.shorten(model.name, 34)}\n{correct} of {len(labels)} correct"
    axes.set_title(title, fontsize=10)


@style.styled
def classifier_disagreements(models: Sequence[ModelRuns]) -> Figure:
    """Test images with different predictions of the models, the largest differences first."""
    shared = [
        image_id
        for image_id in models[0].image_ids.tolist()
        if all(image_id in other.row_of for other in models[1:])
    ]
    if not shared:
        return style.text_figure("The models were not tested on the same images.")
    rows = [np.array([model.row_of[image_id] for image_id in shared]) for model in models]
    correct = np.stack(
        [model.fraction_correct[row] for model, row in zip(models, rows, strict=True)]
    )
    difference = np.ptp(correct, axis=0)
    order = [i for i in np.argsort(-difference, kind="stable") if difference[i] > 0]
    if not order:
        return style.text_figure(
            f"The models are right and wrong on the same of {len(shared)} images."
        )
    images, captions = [], []
    for i in order:
        thumbnail = _find_thumbnail(models[0], shared[i])
        if thumbnail is not None:
            images.append(thumbnail)
            captions.append(_caption(models, [row[i] for row in rows]))
        if len(images) == MAX_DISAGREEMENTS:
            break
    if not images:
        return style.text_figure("The runs kept no thumbnails of the images that they disagree on.")
    title = f"{len(images)} of {len(order)} images on which the models disagree, of {len(shared)}"
    return image_grid.image_grid(images, captions, title=title)


def _caption(models: Sequence[ModelRuns], rows: Sequence[int]) -> str:
    """The label, and the most frequent prediction of each model."""
    label = models[0].labels[rows[0]]
    lines = [f"true: {style.shorten(label, 24)}"]
    for model, row in zip(models, rows, strict=True):
        predicted = _predicted_labels(model)[:, row].tolist()
        most_frequent = max(dict.fromkeys(predicted), key=predicted.count)
        symbol = "✓" if most_frequent == label else "✗"
        name = style.shorten(model.name, 20)
        lines.append(f"{symbol} {name}: {style.shorten(most_frequent, 18)}")
    return "\n".join(lines)


def _predicted_labels(model: ModelRuns) -> np.ndarray:
    """(S, N) str; only for models with class probabilities."""
    assert model.predicted_labels is not None
    return model.predicted_labels


def _find_thumbnail(model: ModelRuns, image_id: str) -> np.ndarray | None:
    for run, index in model.find_image(image_id):
        try:
            return read_thumbnail(run.image_path(index))
        except RunError:
            continue
    return None
