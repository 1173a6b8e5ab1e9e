"""Common style of all plots, and saving them to files or arrays.

Colours: Okabe and Ito 2008, safe for colour-blind readers. Estimates are built from
`matplotlib.figure.Figure` and drawn by Agg: no pyplot, no window, no global state and no
matplotlibrc. Import this module only after training: matplotlib takes a second.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from capsule_inspection.types import Estimate

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
GREY, FAINT, PALE = "#5F5F5F", "#D9D9D9", "#F5F5F5"
SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)

DPI = 110
LONGEST_NAME = 24

# Class names may be in any script: the first font that has the character is used.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK TC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft JhengHei",
    "Microsoft YaHei",
    "PingFang TC",
    "Arial Unicode MS",
)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@functools.cache
def _settings() -> Any:
    installed = set(font_manager.get_font_names())
    changed: dict[Any, object] = {
        "font.family": [name for name in _FONTS if name in installed] or ["sans-serif"],
        "font.size": 11.0,
        "axes.titlesize": 12.0,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 11.0,
        "axes.labelpad": 7.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "xtick.labelsize": 10.0,
        "ytick.labelsize": 10.0,
        "legend.fontsize": 10.0,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "text.parse_math": False,  # a class may be called "$5"
    }
    kept: dict[Any, object] = {
        key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"
    }
    return {**kept, **changed}


@contextmanager
def applied() -> Iterator[None]:
    with matplotlib.rc_context(_settings()), warnings.catch_warnings():
        # A character that no font has is drawn as a box; it must not fail a finished training.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: run `draw` with the common style, and restore matplotlib's settings."""

    @functools.wraps(draw)
    def draw_with_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with applied():
            return draw(*args, **kwargs)

    return draw_with_style


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure with constrained layout."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def text_figure(text: str) -> Figure:
    """A figure with only a text, in place of a plot."""
    figure = new_figure(6.0, 1.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure


def hide_axes(axes: Axes) -> None:
    """Hide ticks, grid and spines."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def annotate_row(axes: Axes, row: float, text: str, *, colour: str = BLACK) -> None:
    """Write a text to the right of the axes, at the height of a row."""
    axes.annotate(
        text,
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(10, 0),
        textcoords="offset points",
        va="center",
        fontsize=10,
        color=colour,
    )


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
        axes.plot(
            [estimate.ci_low, estimate.ci_high],
            [row, row],
            color=bar,
            linewidth=7,
            solid_capstyle="butt",
        )
    axes.plot(estimate.value, row, marker, color=colour, markersize=7, zorder=3, clip_on=False)


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
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format="png", metadata={"Software": None})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@styled
def figure_to_array(figure: Figure) -> np.ndarray:
    """Render a figure as uint8 (H, W, 3), for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
