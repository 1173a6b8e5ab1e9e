"""Grids of images with captions, and the misclassified images of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsule_inspection.reports.plots import style

_PAGE_WIDTH_IN = 10.0
_MAX_COLUMNS = 6
_CAPTION_SIZE = 10


@style.styled
def misclassified_images(
    images: Sequence[np.ndarray],
    label: np.ndarray,
    predicted_label: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    limit: int = 12,
) -> Figure:
    """The misclassified images with the highest probabilities, highest first.

    Shapes: images N times (H, W, 3) uint8, sizes may differ; label and predicted_label (N,) int;
    probabilities (N, C).
    """
    wrong = np.flatnonzero(label != predicted_label)
    if not len(wrong):
        return style.text_figure(f"No mistakes: all {len(label)} images are classified correctly.")
    certainty = probabilities[wrong, predicted_label[wrong]]
    order = np.argsort(-certainty, kind="stable")[:limit]
    shown, certainty = wrong[order], certainty[order]
    chosen = [images[i] for i in shown]
    letters = min(style.LONGEST_NAME, _caption_length(chosen) - len("pred: , 100%"))
    names = [style.shorten(name, letters) for name in classes]
    captions = [
        f"true: {names[label[i]]}\npred: {names[predicted_label[i]]}, {p:.0%}"
        for i, p in zip(shown, certainty, strict=True)
    ]
    title = f"The {len(shown)} most confident of {len(wrong)} mistakes, among {len(label)} images"
    return _grid(chosen, captions, title=title)


@style.styled
def image_grid(
    images: np.ndarray | Sequence[np.ndarray], captions: Sequence[str], *, title: str = ""
) -> Figure:
    """Images side by side with a caption above each.

    Shapes: images (N, H, W, 3) uint8, or N of any sizes; as many captions.
    """
    if not len(images):
        return style.text_figure("No images to show.")
    return _grid(list(images), captions, title=title)


def _grid(images: list[np.ndarray], captions: Sequence[str], *, title: str) -> Figure:
    columns, width_in, aspect = _layout(images)
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    row_in = width_in / aspect + 0.17 * lines + 0.12
    width = max(width_in * columns, 0.1 * len(title))
    figure = style.new_figure(width, row_in * rows + (0.35 if title else 0.05))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        style.hide_axes(axes)
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        _show(axes, image, caption)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def _layout(images: Sequence[np.ndarray]) -> tuple[int, float, float]:
    """Number of columns, inches a column, width by height; wide images get fewer columns."""
    aspect = float(np.median([image.shape[1] / image.shape[0] for image in images]))
    columns = int(np.clip(round(4 / aspect**0.5), 2, _MAX_COLUMNS))
    return min(len(images), columns), _PAGE_WIDTH_IN / columns, aspect


def _caption_length(images: Sequence[np.ndarray]) -> int:
    """How many characters of a caption fit above one image."""
    _, width_in, _ = _layout(images)
    return int(width_in * 72 / (_CAPTION_SIZE * 0.62))


def _show(axes: Axes, image: np.ndarray, caption: str) -> None:
    axes.imshow(image, interpolation="antialiased")
    axes.set_title(caption, fontsize=_CAPTION_SIZE, fontweight="normal")
