"""Rows of images with a defect and the explanation map of a classifier for its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.anomaly_examples import MAP_COLOURS, TRUE
from capsule_inspection.reports.plots.row_layout import (
    RowLayout,
    aspect_of,
    dark_outline,
    outline,
    write_placeholder,
)

PEAK = style.GREEN
"""Cross at the peak, in contrast to the outline and all colours of the map."""

_HEADINGS = ("image", "explanation map")
_OPACITY = 0.75
"""Of the map where it is highest; it is transparent where it is zero."""


class _WideRows(RowLayout):
    """Two columns over the full width."""

    COLUMN, FOOT = 3.6, 0.95


@dataclass(frozen=True)
class ExplanationExample:
    """One row.

    Shapes: image (H, W, 3) uint8, None where it was not kept; heat (h, w) in [0, 1]; mask (h, w)
    bool, of the true defect. `peak` is row and column of the highest heat, None where there is
    none. All show the same region.
    """

    caption: str
    is_hit: bool
    image: np.ndarray | None
    heat: np.ndarray
    mask: np.ndarray
    peak: tuple[int, int] | None


@style.styled
def explanation_rows(
    examples: Sequence[ExplanationExample], *, title: str = "", note: str = ""
) -> Figure:
    """A row for each example; captions of misses are red. `note` stands below."""
    if not examples:
        return style.text_figure("No images to show.")
    page = _WideRows(2, len(examples), aspect_of(of.heat for of in examples), foot=_WideRows.FOOT)
    for column, heading in enumerate(_HEADINGS):
        page.write(column, heading)
    for row, example in enumerate(examples):
        panels = [page.panel(row, column) for column in range(2)]
        for axes in panels:
            style.hide_axes(axes)
        if example.image is None:
            write_placeholder(panels[0], "not kept")
        else:
            panels[0].imshow(example.image, interpolation="antialiased")
        _show_heat(panels[1], example)
        colour = style.BLACK if example.is_hit else style.VERMILION
        panels[0].set_title(example.caption, fontsize=10, fontweight="normal", color=colour)
    _draw_legend(page.below(0, 2))
    page.figure.text(page.GAP / page.width, 0.12 / page.height, note, fontsize=9.5)
    page.set_title(title)
    return page.figure


def _show_heat(axes: Axes, example: ExplanationExample) -> None:
    """Draw the map over the grey image, the outline of the true defect and the peak."""
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
    defect.set_path_effects([dark_outline(4.0)])
    peak = Line2D([], [], color=PEAK, marker="X", linestyle="", markersize=8, label="highest point")
    peak.set(markeredgecolor="black", markeredgewidth=0.8)
    axes.legend(handles=[defect, peak], loc="upper left", ncols=2, borderaxespad=0)
