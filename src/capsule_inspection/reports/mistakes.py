"""Pictures of images: the worst mistakes of a classifier, and any grid with captions.

From arrays that are handed over; reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsule_inspection.reports import style

_PAGE_WIDTH_IN = 10.0
_MOST_COLUMNS = 6
_CAPTION_SIZE = 10


@style.styled
def worst_mistakes(
    images: Sequence[np.ndarray],
    label: np.ndarray,
    prediction: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    limit: int = 12,
) -> Figure:
    """The wrong predictions that the network was surest of, surest first.

    Shapes: images N times (H, W, 3) uint8, sizes may differ; label and prediction (N,) int;
    probabilities (N, C).
    """
    wrong = np.flatnonzero(label != prediction)
    if not len(wrong):
        return style.message(f"No mistakes: all {len(label)} images were named correctly.")
    certainty = probabilities[wrong, prediction[wrong]]
    order = np.argsort(-certainty, kind="stable")[:limit]
    shown, certainty = wrong[order], certainty[order]
    chosen = [images[i] for i in shown]
    letters = min(style.LONGEST_NAME, _letters_across(chosen) - len("called , 100%"))
    names = [style.short(name, letters) for name in classes]
    captions = [
        f"is {names[label[i]]}\ncalled {names[prediction[i]]}, {p:.0%}"
        for i, p in zip(shown, certainty, strict=True)
    ]
    title = f"The {len(shown)} surest of {len(wrong)} mistakes, among {len(label)} images"
    return _grid(chosen, captions, title=title)


@style.styled
def image_grid(
    images: np.ndarray | Sequence[np.ndarray], captions: Sequence[str], *, title: str = ""
) -> Figure:
    """Images side by side with a caption above each.

    Shapes: images (N, H, W, 3) uint8, or N of any sizes; as many captions.
    """
    if not len(images):
        return style.message("No images to show.")
    return _grid(list(images), captions, title=title)


def _grid(images: list[np.ndarray], captions: Sequence[str], *, title: str) -> Figure:
    columns, width_in, aspect = _layout(images)
    rows = -(-len(images) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    row_in = width_in / aspect + 0.17 * lines + 0.12
    width = max(width_in * columns, 0.1 * len(title))
    figure = style.new_figure(width, row_in * rows + (0.35 if title else 0.05))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        style.bare(axes)
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        _show(axes, image, caption)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def _layout(images: Sequence[np.ndarray]) -> tuple[int, float, float]:
    """Columns, inches a column, width by height: the wider the images, the fewer stand in a row."""
    aspect = float(np.median([image.shape[1] / image.shape[0] for image in images]))
    columns = int(np.clip(round(4 / aspect**0.5), 2, _MOST_COLUMNS))
    return min(len(images), columns), _PAGE_WIDTH_IN / columns, aspect


def _letters_across(images: Sequence[np.ndarray]) -> int:
    """How many letters of a caption fit above one image."""
    _, width_in, _ = _layout(images)
    return int(width_in * 72 / (_CAPTION_SIZE * 0.62))


def _show(axes: Axes, image: np.ndarray, caption: str) -> None:
    axes.imshow(image, interpolation="antialiased")
    axes.set_title(caption, fontsize=_CAPTION_SIZE, fontweight="normal")
