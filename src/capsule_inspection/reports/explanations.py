"""Rows of pictures: an image with a defect, and where a classifier looked to name it.

From arrays that are handed over; reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.reports import style
from capsule_inspection.reports.examples import MAP_COLOURS, TRUE
from capsule_inspection.reports.picture_rows import (
    Rows,
    aspect_of,
    dark_rim,
    outline,
    write_instead,
)

PEAK = style.GREEN
"""Cross at the highest point: unlike the outline, and every colour of the map."""

_HEADINGS = ("what the camera saw", "where the network looked")
_OPACITY = 0.75
"""Of the map where it is highest; where it is zero the image is seen as it is."""


class _WideRows(Rows):
    """Two columns fill the page."""

    COLUMN, FOOT = 3.6, 0.95


@dataclass(frozen=True)
class Explained:
    """One row.

    Shapes: image (H, W, 3) uint8, None where it was not kept; heat (h, w) in [0, 1]; mask (h, w)
    bool, of the true defect. `peak` is row and column of the highest place of the heat, None where
    there is none. All show the same part of the scene.
    """

    caption: str
    is_hit: bool
    image: np.ndarray | None
    heat: np.ndarray
    mask: np.ndarray
    peak: tuple[int, int] | None


@style.styled
def explained_rows(examples: Sequence[Explained], *, title: str = "", note: str = "") -> Figure:
    """A row for each example; captions of misses are red. `note` tells the reader what to see."""
    if not examples:
        return style.message("No images to show.")
    page = _WideRows(2, len(examples), aspect_of(of.heat for of in examples), foot=_WideRows.FOOT)
    for place, heading in enumerate(_HEADINGS):
        page.write(place, heading)
    for row, example in enumerate(examples):
        panels = [page.panel(row, place) for place in range(2)]
        for axes in panels:
            style.bare(axes)
        if example.image is None:
            write_instead(panels[0], "not kept")
        else:
            panels[0].imshow(example.image, interpolation="antialiased")
        _show_heat(panels[1], example)
        colour = style.BLACK if example.is_hit else style.VERMILION
        panels[0].set_title(example.caption, fontsize=10, fontweight="normal", color=colour)
    _draw_legend(page.below(0, 2))
    page.figure.text(page.GAP / page.width, 0.12 / page.height, note, fontsize=9.5)
    page.entitle(title)
    return page.figure


def _show_heat(axes: Axes, example: Explained) -> None:
    """The map over the image in grey, the true defect and the highest place."""
    height, width = example.heat.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    if example.image is None:
        axes.set_facecolor(style.PALE)
    else:
        grey = example.image.mean(axis=2)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="antialiased", extent=extent)
    opacity = _OPACITY * np.clip(example.heat, 0, 1)
    axes.imshow(example.heat, cmap=MAP_COLOURS, vmin=0, vmax=1, alpha=opacity, extent=extent)
    if example.mask.any() and not example.mask.all():
        outline(axes, example.mask.astype(float), 0.5, TRUE, width=1.6)
    if example.peak is not None:
        row, column = example.peak
        axes.plot(column, row, "X", color=PEAK, markersize=8, markeredgecolor="black", mew=0.8)
    axes.set(xlim=extent[:2], ylim=extent[2:])


def _draw_legend(axes: Axes) -> None:
    axes.set_axis_off()
    defect = Line2D([], [], color=TRUE, linewidth=2.2, label="true defect")
    defect.set_path_effects([dark_rim(4.0)])
    peak = Line2D([], [], color=PEAK, marker="X", linestyle="", markersize=8, label="highest point")
    peak.set(markeredgecolor="black", markeredgewidth=0.8)
    axes.legend(handles=[defect, peak], loc="upper left", ncols=2, borderaxespad=0)
