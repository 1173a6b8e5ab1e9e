"""Rows of pictures: what the camera saw, which defect is there, what was marked, both together.

From arrays that are handed over; reads no files. Every class has its own colour, in all pictures
the same; the defect is shown enlarged too, since many are a few pixels in a whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from capsule_inspection.reports import style
from capsule_inspection.reports.overlays import colours_of, fill, overlay
from capsule_inspection.reports.picture_rows import Rows, aspect_of, dark_rim, write_instead

_INPUT, _TRUTH, _MARKED, _BOTH, _CLOSE = range(5)
_HEADINGS = (
    "what the camera saw",
    "true defect",
    "marked (grey: how probable)",
    "filled: marked, outlined: true",
    "the frame, enlarged",
)
_NO_OUTLINES = "marked on the image"
_DRAWN_PX = 600
"""Width at which both are drawn: about twice that of a panel, so that lines come out clean."""

_LARGEST_ZOOM = 6
_AROUND = 1.6
"""Size of the frame by that of the defect."""

_NO_IMAGE = 200
"""Grey in place of an image that was not kept."""

_BRIGHTEST = 190
"""Grey of a pixel that is surely a defect: below every colour of a class."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the masks; x1 and y1 are the first beyond it."""


@dataclass(frozen=True)
class MarkedExample:
    """One row; None for what was not kept, or is not known.

    Shapes: image (H, W, 3) uint8; truth and marked (h, w) class indices, 0 for none; probability
    (h, w) in [0, 1], of any defect. All show the same part of the scene.
    """

    caption: str
    is_wrong: bool
    image: np.ndarray | None
    truth: np.ndarray | None = None
    marked: np.ndarray | None = None
    probability: np.ndarray | None = None


@style.styled
def marked_rows(
    examples: Sequence[MarkedExample], defects: Sequence[str], *, title: str = ""
) -> Figure:
    """A row for each example; a column that no row has is left out.

    `defects` are the names of classes 1, 2 and so on.
    """
    if not examples:
        return style.message("No images to show.")
    columns = _columns(examples)
    shown = [of for example in examples for of in (example.image, example.truth)]
    has_legend = len(columns) > 1
    legend_rows = -(-len(defects) // _legend_columns(defects, len(columns)))
    foot = 0.4 + 0.23 * legend_rows if has_legend else Rows.GAP
    page = Rows(len(columns), len(examples), aspect_of(shown), foot=foot)
    for place, column in enumerate(columns):
        plain = column == _BOTH and _TRUTH not in columns
        page.write(place, _NO_OUTLINES if plain else _HEADINGS[column])
    for row, example in enumerate(examples):
        panels = [page.panel(row, place) for place in range(len(columns))]
        for axes, column in zip(panels, columns, strict=True):
            style.bare(axes)
            _draw(axes, column, example)
        colour = style.VERMILION if example.is_wrong else style.BLACK
        panels[0].set_title(example.caption, fontsize=10, fontweight="normal", color=colour)
    if has_legend:
        _draw_legend(page.below(0, len(columns)), defects, _legend_columns(defects, len(columns)))
    page.entitle(title)
    return page.figure


def _columns(examples: Sequence[MarkedExample]) -> list[int]:
    columns = [_INPUT]
    if any(example.truth is not None and example.truth.any() for example in examples):
        columns.append(_TRUTH)
    if any(example.marked is not None for example in examples):
        columns.append(_MARKED)
    return [*columns, _BOTH, _CLOSE] if len(columns) > 1 else columns


def _draw(axes: Axes, column: int, example: MarkedExample) -> None:
    if column == _INPUT:
        _show(axes, example.image, "not kept")
    elif column == _TRUTH:
        _show(axes, None if example.truth is None else _coloured(example.truth), "not known")
    elif column == _MARKED:
        marked = example.marked
        shown = None if marked is None else _coloured(marked, example.probability)
        _show(axes, shown, "not kept")
    elif column == _BOTH:
        _show_both(axes, example)
    else:
        _show_close(axes, example)


def _show(axes: Axes, shown: np.ndarray | None, instead: str) -> None:
    if shown is None:
        write_instead(axes, instead)
    else:
        axes.imshow(shown, interpolation="antialiased")


def _coloured(mask: np.ndarray, probability: np.ndarray | None = None) -> np.ndarray:
    """Each class in its colour, on black or on the probability in grey: (h, w, 3) uint8."""
    level = np.zeros(mask.shape) if probability is None else probability
    grey = np.round(_BRIGHTEST * np.clip(level, 0, 1)).astype(np.uint8)
    return fill(np.repeat(grey[..., np.newaxis], 3, axis=2), mask, opacity=1.0)


def _show_both(axes: Axes, example: MarkedExample) -> None:
    size = _size(example)
    if size is None:
        write_instead(axes, "not kept")
        return
    height, width = size
    whole = (0, 0, width, height)
    axes.imshow(_both(example, whole), interpolation="antialiased", extent=(0, width, height, 0))
    frame = _frame(example)
    if frame is not None and frame != whole:
        x0, y0, x1, y1 = frame
        line = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=0.9)
        line.set_path_effects([dark_rim(2.2)])
        axes.add_patch(line)


def _show_close(axes: Axes, example: MarkedExample) -> None:
    frame = _frame(example)
    if frame is None:
        write_instead(axes, "nothing is marked" if example.marked is not None else "not kept")
    else:
        axes.imshow(_both(example, frame), interpolation="antialiased")


def _size(example: MarkedExample) -> tuple[int, int] | None:
    """Height and width of the masks; None where there is none."""
    known = [mask.shape for mask in (example.marked, example.truth) if mask is not None]
    return known[0] if known else None


def _frame(example: MarkedExample) -> Box | None:
    """The part around the true defect, else the largest mark; None where there is neither."""
    if example.truth is not None and example.truth.any():
        region = example.truth != 0
    elif example.marked is not None and example.marked.any():
        region = _largest(example.marked != 0)
    else:
        return None
    height, width = region.shape
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    least = max(
        _AROUND * (columns[-1] + 1 - columns[0]) / width,
        _AROUND * (rows[-1] + 1 - rows[0]) / height,
        1 / _LARGEST_ZOOM,
    )
    share = min(least, 1.0)
    x0, x1 = _span((columns[0] + columns[-1] + 1) / 2, share, width)
    y0, y1 = _span((rows[0] + rows[-1] + 1) / 2, share, height)
    return x0, y0, x1, y1


def _largest(region: np.ndarray) -> np.ndarray:
    """The largest of what does not touch, (h, w) bool."""
    import cv2

    _, numbers, found, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    return numbers == 1 + int(found[1:, cv2.CC_STAT_AREA].argmax())


def _span(centre: float, share: float, whole: int) -> tuple[int, int]:
    """A share of an axis around its middle, moved to lie within."""
    length = max(1, round(share * whole))
    first = min(max(0, round(centre - length / 2)), whole - length)
    return first, first + length


def _both(example: MarkedExample, box: Box) -> np.ndarray:
    """Marked and true defects over a part of the image, at `_DRAWN_PX` width: uint8."""
    x0, y0, x1, y1 = box
    height = max(1, round(_DRAWN_PX * (y1 - y0) / (x1 - x0)))
    rows = y0 + ((np.arange(height) + 0.5) * (y1 - y0) / height).astype(int)
    columns = x0 + ((np.arange(_DRAWN_PX) + 0.5) * (x1 - x0) / _DRAWN_PX).astype(int)
    at = np.ix_(rows, columns)
    truth = None if example.truth is None else example.truth[at]
    marked = (
        np.zeros((height, _DRAWN_PX), np.uint8) if example.marked is None else example.marked[at]
    )
    return overlay(_background(example, box, height), marked, truth=truth)


def _background(example: MarkedExample, box: Box, height: int) -> np.ndarray:
    """That part of the image at `_DRAWN_PX` width; plain grey where it was not kept."""
    size = _size(example)
    if example.image is None or size is None:
        return np.full((height, _DRAWN_PX, 3), _NO_IMAGE, np.uint8)
    across, down = example.image.shape[1] / size[1], example.image.shape[0] / size[0]
    x0, y0, x1, y1 = box
    part = (x0 * across, y0 * down, x1 * across, y1 * down)
    enlarged = Image.fromarray(example.image).resize(
        (_DRAWN_PX, height), Image.Resampling.BICUBIC, box=part
    )
    return np.asarray(enlarged)


def _legend_columns(defects: Sequence[str], columns: int) -> int:
    """How many names stand beside each other below so many pictures."""
    longest = max((len(style.short(name)) for name in defects), default=1)
    width_in = columns * (Rows.COLUMN + Rows.GAP)
    return max(1, min(len(defects), int(width_in / (0.6 + 0.09 * longest))))


def _draw_legend(axes: Axes, defects: Sequence[str], columns: int) -> None:
    """Which colour is which class."""
    axes.set_axis_off()
    colours = colours_of(1 + len(defects))[1:] / 255
    handles = [
        Patch(facecolor=tuple(colour), edgecolor=style.GREY, linewidth=0.5, label=style.short(name))
        for colour, name in zip(colours, defects, strict=True)
    ]
    axes.legend(handles=handles, loc="upper left", ncols=columns, borderaxespad=0)
