"""Grids of pictures with captions: every example picture of every report."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.overlays import FULL, Box

_GAP, _LINE, _LEGEND_ROW, _MAX_PANEL = 0.12, 0.175, 0.26, 4.4
"""Inches: between panels, of a line of text or of a legend, and of the widest panel."""

_LETTERS = 11.0
"""Letters of a caption in an inch."""


@dataclass(frozen=True)
class Panel:
    """One picture of a grid, with a caption above.

    `image` (H, W, 3) uint8, mostly of `overlays.compose`; None where `placeholder` replaces it.
    `frame` is x0, y0, x1, y1 and `cross` x, y, as fractions of width and height.
    """

    image: np.ndarray | None
    caption: str = ""
    is_wrong: bool = False
    placeholder: str = "not kept"
    frame: Box | None = None
    cross: tuple[float, float] | None = None


@style.styled
def draw_grid(
    rows: Sequence[Sequence[Panel]],
    *,
    headings: Sequence[str] = (),
    title: str = "",
    legend: Sequence[Artist] = (),
    note: str = "",
) -> Figure:
    """Rows of pictures of any sizes, all drawn at one width, for the full width of a page.

    Captions are wrapped; that of a row with only one runs over the whole row. Those of wrong
    results are red. `headings` stand above the columns, `legend` (handles) and `note` below.
    """
    rows = [row for row in rows if row]
    if not rows:
        return style.text_figure("No images to show.")
    page = _Page(rows)
    captions = [page.wrap_captions(row) for row in rows]
    heads = [max(map(_count_lines, texts)) * _LINE for texts in captions]
    note = textwrap.fill(note, page.count_letters(page.width))
    longest = max((len(str(handle.get_label())) for handle in legend), default=0)
    ncols = max(1, int(page.width / (0.65 + longest / _LETTERS)))
    foot = _LINE * _count_lines(note) + _LEGEND_ROW * -(-len(legend) // ncols) + _GAP
    top = (0.36 if title else 0.06) + (0.3 if headings else 0.0)
    page.open(top + sum(heads) + len(rows) * (page.panel_height + _GAP) + foot)
    page.write(0, 0.08, title, weight="bold", size=12)
    for column, heading in enumerate(headings):
        page.write(column, top - 0.26, heading, color=style.GREY, size=10)
    y = top
    for row, texts, head in zip(rows, captions, heads, strict=True):
        for column, (panel, text) in enumerate(zip(row, texts, strict=True)):
            page.write(column, y, text, color=style.WRONG if panel.is_wrong else style.BLACK)
            _draw_panel(page.add_axes(column, y + head), panel)
        y += head + page.panel_height + _GAP
    page.write(0, y, note, color=style.GREY)
    if legend:
        page.figure.legend(handles=list(legend), loc="lower left", ncols=ncols, borderaxespad=0.2)
    return page.figure


def wrap_panels(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Panels in rows: four of wide pictures, else six."""
    columns = 4 if _median_aspect([panels]) > 1.5 else 6
    return [panels[first : first + columns] for first in range(0, len(panels), columns)]


class _Page:
    """Places everything in inches from the upper left: pictures need no layout engine."""

    def __init__(self, rows: Sequence[Sequence[Panel]]) -> None:
        columns = max(len(row) for row in rows)
        self.panel_width = min(_MAX_PANEL, (style.FULL_WIDTH - _GAP) / columns - _GAP)
        height = self.panel_width / _median_aspect(rows)
        self.panel_height = float(np.clip(height, 0.5, 1.6 * self.panel_width))
        self.width = max(columns * (self.panel_width + _GAP) + _GAP, style.HALF_WIDTH)

    def open(self, height: float) -> None:
        self.height = height
        self.figure = style.new_figure(self.width, height, dpi=style.GRID_DPI)
        self.figure.set_layout_engine("none")

    def write(self, column: int, y: float, text: str, **options: Any) -> None:
        x = _GAP + column * (self.panel_width + _GAP)
        options = {"size": 9.5, "linespacing": 1.2, **options}
        self.figure.text(x / self.width, 1 - y / self.height, text, va="top", **options)

    def add_axes(self, column: int, y: float) -> Axes:
        left = (_GAP + column * (self.panel_width + _GAP)) / self.width
        size = (self.panel_width / self.width, self.panel_height / self.height)
        return self.figure.add_axes((left, 1 - y / self.height - size[1], *size))

    def count_letters(self, width: float) -> int:
        return max(8, int((width - 2 * _GAP) * _LETTERS))

    def wrap_captions(self, row: Sequence[Panel]) -> list[str]:
        is_single = sum(bool(panel.caption) for panel in row) < 2
        letters = self.count_letters(self.width if is_single else self.panel_width + 2 * _GAP)
        return [
            "\n".join(textwrap.fill(line, letters) for line in panel.caption.split("\n"))
            for panel in row
        ]


def _count_lines(text: str) -> int:
    return text.count("\n") + bool(text)


def _median_aspect(rows: Sequence[Sequence[Panel]]) -> float:
    """Median of width by height; 3 where there is no picture."""
    shapes = [panel.image.shape for row in rows for panel in row if panel.image is not None]
    return float(np.median([shape[1] / shape[0] for shape in shapes])) if shapes else 3.0


def _draw_panel(axes: Axes, panel: Panel) -> None:
    style.hide_axes(axes)
    if panel.image is None:
        axes.set_facecolor(style.PALE)
        text = axes.text(0.5, 0.5, panel.placeholder, color=style.GREY, transform=axes.transAxes)
        text.set(ha="center", va="center")
        return
    height, width = panel.image.shape[:2]
    axes.imshow(panel.image, interpolation="antialiased", extent=(0, width, height, 0))
    axes.set_anchor("NW")
    if panel.frame is not None and panel.frame != FULL:
        x0, y0, x1, y1 = panel.frame
        size = ((x1 - x0) * width, (y1 - y0) * height)
        frame = Rectangle((x0 * width, y0 * height), *size, fill=False, edgecolor="white", lw=0.9)
        frame.set_path_effects([withStroke(linewidth=2.2, foreground="#000000A0")])
        axes.add_patch(frame)
    if panel.cross is not None:
        x, y = panel.cross
        axes.plot(x * width, y * height, "X", color=style.GREEN, markersize=8, mec="black", mew=0.8)
