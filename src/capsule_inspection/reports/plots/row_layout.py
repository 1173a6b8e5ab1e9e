"""Layout of figures with rows of images, and placeholders for missing images.

Everything is placed in inches: images of one size need no layout engine.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes

from capsule_inspection.reports.plots import style


class RowLayout:
    """A figure with rows and columns of images; `foot` inches below hold the legend."""

    GAP, CAPTION, HEAD, FOOT, COLUMN = 0.12, 0.3, 0.6, 0.8, 2.55

    def __init__(self, columns: int, rows: int, aspect: float, *, foot: float = GAP) -> None:
        self.image = float(np.clip(self.COLUMN / aspect, 0.5, 1.6 * self.COLUMN))
        self.foot = foot
        self.width = max(columns * (self.COLUMN + self.GAP) + self.GAP, 7.0)
        self.height = self.HEAD + rows * (self.image + self.CAPTION) + self.foot
        self.figure = style.new_figure(self.width, self.height)
        self.figure.set_layout_engine("none")

    def left(self, column: int) -> float:
        return self.GAP + column * (self.COLUMN + self.GAP)

    def panel(self, row: int, column: int) -> Axes:
        """The axes of one image; its title goes above it."""
        from_top = self.HEAD + (row + 1) * (self.image + self.CAPTION)
        return self._axes(self.left(column), self.height - from_top, self.COLUMN, self.image)

    def below(self, first: int, last: int) -> Axes:
        """A strip below some columns."""
        width = self.left(last) - self.left(first) - self.GAP
        return self._axes(self.left(first), self.foot - 0.32, width, 0.14)

    def write(self, column: int, heading: str) -> None:
        """A heading above a column."""
        x, y = self.left(column) / self.width, 1 - (self.HEAD - 0.08) / self.height
        self.figure.text(x, y, heading, color=style.GREY, fontsize=10)

    def set_title(self, title: str) -> None:
        """The title of the figure."""
        y = 1 - 0.14 / self.height  # in inches, else it overlaps the headings of a long figure
        self.figure.suptitle(title, x=0.005, y=y, ha="left", fontweight="bold", fontsize=12)

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )


def aspect_of(images: Iterable[np.ndarray | None]) -> float:
    """Median of width by height; 3 where there is no image."""
    shapes = [image.shape for image in images if image is not None]
    return float(np.median([shape[1] / shape[0] for shape in shapes])) if shapes else 3.0


def write_placeholder(axes: Axes, text: str) -> None:
    """Write a text in place of an image."""
    axes.set_facecolor(style.PALE)
    axes.text(0.5, 0.5, text, ha="center", va="center", color=style.GREY, transform=axes.transAxes)


def dark_outline(width: float) -> patheffects.withStroke:
    """Path effect with a dark outline, for contrast on white parts."""
    return patheffects.withStroke(linewidth=width, foreground="#000000A0")


def outline(axes: Axes, values: np.ndarray, level: float, colour: str, *, width: float) -> None:
    """Draw the contour of the values (h, w) at a level, with a dark outline."""
    contour = axes.contour(values, levels=[level], colors=[colour], linewidths=[width])
    contour.set_path_effects([dark_outline(width + 1.4)])
