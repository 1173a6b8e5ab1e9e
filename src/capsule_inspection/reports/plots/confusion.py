"""Confusion matrix with counts and fractions of the row.

scikit-learn's ConfusionMatrixDisplay is not used: its `plot` imports pyplot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from capsule_inspection.reports.formatting import format_count
from capsule_inspection.reports.plots import style

_MAX_HALF = 8
"""Number of classes from which the matrix takes the full width of a page."""


@style.styled
def draw_confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """Rows are true classes; blue is right, orange wrong. Shapes: matrix (C, C), C names."""
    width = style.HALF_WIDTH if len(classes) <= _MAX_HALF else style.FULL_WIDTH
    figure = style.new_figure(width, 1.7 + 0.48 * len(classes))
    plot_confusion(figure.subplots(), matrix, classes)
    return figure


def plot_confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """The same in axes of a figure; the numbers may be means over seeds."""
    count = len(classes)
    labels = [style.shorten(name) for name in classes]
    totals = matrix.sum(axis=1)
    fraction = matrix / np.maximum(totals, 1)[:, np.newaxis]
    right, wrong = colormaps["Blues"](fraction), colormaps["Oranges"](fraction)
    colours = np.where(np.eye(count, dtype=bool)[..., np.newaxis], right, wrong)
    colours = np.where(fraction[..., np.newaxis] > 0, colours, to_rgba(style.PALE))
    axes.imshow(colours, aspect="auto")
    for (row, column), number in np.ndenumerate(matrix):
        if number or (row == column and totals[row]):
            colour = "white" if fraction[row, column] > 0.6 else style.BLACK
            text = f"{format_count(number)}\n{fraction[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", size=9, color=colour)
    axes.set_xticks(range(count), labels, rotation=35, ha="right", rotation_mode="anchor")
    sizes = map(format_count, totals)
    axes.set_yticks(range(count), [f"{of} ({n})" for of, n in zip(labels, sizes, strict=True)])
    axes.set(xlabel="predicted class", ylabel="true class (images)")
    correct, images = map(format_count, (np.trace(matrix), matrix.sum()))
    axes.set_title(f"{correct} of {images} images classified correctly")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    between = np.arange(1, count) - 0.5
    axes.hlines(between, -0.5, count - 0.5, color="white", lw=1.5)
    axes.vlines(between, -0.5, count - 0.5, color="white", lw=1.5)
