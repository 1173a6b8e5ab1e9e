"""Common style of all plots, their colours, and saving them to files or arrays.

Colours: Okabe and Ito 2008, safe for colour-blind readers. Plots are built from
`matplotlib.figure.Figure` and drawn by Agg: no pyplot, no window, no global state and no
matplotlibrc. matplotlib takes a second and is imported by what draws: a prediction's overlays need
the colours only.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capsule_inspection.files import atomic_write
from capsule_inspection.types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
GREY, FAINT, PALE = "#5F5F5F", "#D9D9D9", "#F5F5F5"
SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
GOOD, DEFECT, WRONG = BLUE, ORANGE, VERMILION
"""Good images, images with a defect, and wrong decisions or captions of such."""

HALF_WIDTH, FULL_WIDTH = 6.6, 13.4
"""Inches of a figure in one of two columns of a page, and over both."""

DPI, GRID_DPI = 150, 110
"""Of charts, whose fonts are read at half width, and of grids of pictures, which are larger."""

LONGEST_NAME = 24

# Class names may be in any script: the first font that has the character is used.
_FONTS = ("DejaVu Sans", "Noto Sans CJK TC", "Noto Sans CJK SC", "Noto Sans CJK JP",
          "WenQuanYi Zen Hei", "Microsoft JhengHei", "Microsoft YaHei", "PingFang TC",
          "Arial Unicode MS")  # fmt: skip


@functools.cache
def _settings() -> Any:
    import matplotlib
    from cycler import cycler
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    changed: dict[Any, object] = {
        "font.family": [name for name in _FONTS if name in installed] or ["sans-serif"],
        "font.size": 10.0,
        "axes.titlesize": 11.0,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 10.0,
        "axes.labelpad": 7.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "legend.fontsize": 9.5,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "savefig.dpi": "figure",
        "text.parse_math": False,  # a class may be called "$5"
    }
    kept = {key: of for key, of in matplotlib.rcParamsDefault.items() if key != "backend"}
    return {**kept, **changed}


@contextmanager
def applied() -> Iterator[None]:
    """Apply the common style, and restore matplotlib's settings."""
    import matplotlib

    with matplotlib.rc_context(_settings()), warnings.catch_warnings():
        # A character that no font has is drawn as a box; it must not fail a finished training.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


styled = applied()
"""Decorator: run a function with the common style."""


def new_figure(width_in: float, height_in: float, *, dpi: int = DPI) -> Figure:
    """An empty figure with constrained layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@styled
def text_figure(text: str) -> Figure:
    """A figure with only a text, in place of a plot."""
    figure = new_figure(HALF_WIDTH, 1.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY, wrap=True)
    return figure


def hide_axes(axes: Axes) -> None:
    """Hide ticks, grid and spines."""
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def annotate_row(axes: Axes, row: float, text: str, *, colour: str = BLACK) -> None:
    """Write a text to the right of the axes, at the height of a row."""
    place = axes.get_yaxis_transform()  # across in fractions of the axes, down in rows
    axes.text(1.02, row, text, transform=place, va="center", size=9.5, color=colour)


def interval_bar(
    axes: Axes,
    row: float,
    estimate: Estimate,
    *,
    bar: str = SKY,
    colour: str = BLUE,
    marker: str = "o",
) -> None:
    """Draw an estimate as a point at the height of a row, with its 95% interval as a bar."""
    if estimate.ci_low is not None and estimate.ci_high is not None:
        ends = [estimate.ci_low, estimate.ci_high]
        axes.plot(ends, [row, row], color=bar, lw=7, solid_capstyle="butt")
    axes.plot(estimate.value, row, marker, color=colour, ms=7, zorder=3, clip_on=False)


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """Shorten a name in its middle to at most `longest` characters."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 3
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


@styled
def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically; equal figures give equal bytes.

    Creates the folder. Raises OSError where it cannot be written.
    """
    with atomic_write(path) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


@styled
def figure_to_array(figure: Figure) -> np.ndarray:
    """Render a figure as uint8 (H, W, 3), for TensorBoard."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
