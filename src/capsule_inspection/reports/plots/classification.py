"""Plots of classifiers: confusion matrix, precision-recall curves, recall by class.

scikit-learn's displays are not used: they import pyplot, and with it global state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.reports.plots import style
from capsule_inspection.types import Estimates


@style.styled
def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Confusion matrix with counts and fractions of the row; rows are true classes.

    Shapes: matrix (C, C) int, C names.
    """
    count = len(classes)
    labels = [style.shorten(name) for name in classes]
    cell_in = float(np.clip(7.0 / count, 0.55, 1.1))
    margin_in = 0.7 + 0.085 * max(map(len, labels))
    figure = style.new_figure(cell_in * count + margin_in + 0.6, cell_in * count + margin_in + 0.2)
    axes = figure.subplots()
    totals = matrix.sum(axis=1)
    fraction = matrix / np.maximum(totals, 1)[:, np.newaxis]
    axes.imshow(_cell_colours(fraction), aspect="auto")
    _write_cells(axes, matrix, fraction, size=11 if cell_in > 0.8 else 8.5)
    axes.set_xticks(range(count), labels, rotation=40, ha="right", rotation_mode="anchor")
    rows = [f"{name}  ({total})" for name, total in zip(labels, totals, strict=True)]
    axes.set_yticks(range(count), rows)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (images)")
    _separate_cells(axes, count)
    figure.suptitle(title or "Confusion matrix", fontweight="bold", fontsize=12)
    return figure


def _cell_colours(fraction: np.ndarray) -> np.ndarray:
    """Blue for correct, orange for wrong predictions, by fraction of the row: (C, C, 4)."""
    right, wrong = colormaps["Blues"](fraction), colormaps["Oranges"](fraction)
    colours = np.where(np.eye(len(fraction), dtype=bool)[..., np.newaxis], right, wrong)
    return np.where(fraction[..., np.newaxis] > 0, colours, to_rgba(style.PALE))


def _write_cells(axes: Axes, matrix: np.ndarray, fraction: np.ndarray, *, size: float) -> None:
    for (row, column), count in np.ndenumerate(matrix):
        if not count and (row != column or not matrix[row].any()):
            continue
        axes.text(
            column,
            row,
            f"{count}\n{fraction[row, column]:.0%}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if fraction[row, column] > 0.6 else style.BLACK,
        )


def _separate_cells(axes: Axes, count: int) -> None:
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    between = np.arange(1, count) - 0.5
    axes.hlines(between, -0.5, count - 0.5, color="white", linewidth=1.5)
    axes.vlines(between, -0.5, count - 0.5, color="white", linewidth=1.5)


@style.styled
def precision_recall(
    label: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """A precision-recall curve for each class against the rest, with its average precision.

    Shapes: label (N,) int; probabilities (N, C). Classes without images have an empty panel.
    """
    columns = min(len(classes), 3 if len(classes) <= 9 else 4)
    rows = -(-len(classes) // columns)
    figure = style.new_figure(3.3 * columns, 3.1 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(classes) :]:
        axes.set_visible(False)
    for index, name in enumerate(classes):
        _precision_recall_panel(panels.flat[index], label == index, probabilities[:, index], name)
    figure.suptitle(
        "Precision and recall, each class against the rest (dashed: chance)", fontweight="bold"
    )
    figure.supxlabel("recall: fraction of its images that are found", fontsize=11)
    figure.supylabel("precision: fraction of the found images that are right", fontsize=11)
    return figure


def _precision_recall_panel(axes: Axes, is_class: np.ndarray, score: np.ndarray, name: str) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    axes.set_title(style.shorten(name), fontsize=11, pad=18)
    if not is_class.any():
        axes.text(0.5, 0.5, "no images", ha="center", va="center", color=style.GREY)
        return
    precision, recall, _ = precision_recall_curve(is_class, score)
    # The height of each step is the best precision at its recall, as in average precision.
    reached = np.unique(recall)
    heights = np.array([precision[recall == step].max() for step in reached])
    heights[0] = heights[1]  # at recall 0 precision is undefined
    axes.step(reached, heights, where="pre", color=style.BLUE)
    axes.axhline(is_class.mean(), color=style.GREY, linewidth=1.0, linestyle=(0, (4, 3)))
    average = average_precision_score(is_class, score)
    axes.annotate(
        f"AP {average:.2f}, {is_class.sum()} images",
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        fontsize=10,
    )


@style.styled
def recall_by_class(metrics: Estimates, *, title: str = "") -> Figure:
    """Recall of each class with its 95% interval.

    `metrics` have no stage in their keys; the keys `recall/...` are drawn, in their order.
    """
    recalls = names.class_metrics(metrics, names.RECALL)
    if not recalls:
        return style.text_figure("No class has images here, so there is no recall.")
    figure = style.new_figure(8.0, 1.4 + 0.42 * len(recalls))
    axes = figure.subplots()
    for row, recall in enumerate(recalls.values()):
        style.interval_bar(axes, row, recall)
        style.annotate_row(axes, row, f"{round(recall.value * recall.n)} of {recall.n}")
    axes.set_yticks(range(len(recalls)), [style.shorten(name) for name in recalls])
    axes.set(xlim=(0, 1), ylim=(len(recalls) - 0.4, -0.6))
    axes.set_xlabel("recall (bar: 95% interval)")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=9)
    axes.set_title(title or "Recall of each class")
    return figure
