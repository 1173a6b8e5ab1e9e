"""One look for all pictures, and how they become files or arrays.

Colours: Okabe and Ito 2008, told apart by colour-blind readers. Figures are built from
`matplotlib.figure.Figure` and drawn by Agg: no pyplot, no window, nothing left in global state, and
no matplotlibrc of the machine. Import this module only after training: matplotlib takes a second.
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

from capsule_inspection.types import Figure as Measured

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, BLACK = "#CC79A7", "#56B4E9", "#F0E442", "#000000"
GREY, FAINT, PALE = "#5F5F5F", "#D9D9D9", "#F5F5F5"
SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)

DPI = 110
LONGEST_NAME = 24

# Class names may be in any script: the first of these that has the letter is used.
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
        # A letter that no font has is drawn as a box: not worth failing a finished training for.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: run `draw` with the project's look, and leave matplotlib's settings as found."""

    @functools.wraps(draw)
    def drawn_in_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with applied():
            return draw(*args, **kwargs)

    return drawn_in_style


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure whose parts make room for each other."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def message(text: str) -> Figure:
    """A picture that says why there is none."""
    figure = new_figure(6.0, 1.6)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure


def bare(axes: Axes) -> None:
    """Leave nothing of the axes but what is drawn in them."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def note_beside(axes: Axes, row: float, text: str, *, colour: str = BLACK) -> None:
    """A text at the right of the axes, at the height of a row."""
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
    measured: Measured,
    *,
    bar: str = SKY,
    colour: str = BLUE,
    marker: str = "o",
) -> None:
    """A figure as a point at the height of a row, its 95% interval as a bar behind it."""
    if measured.low is not None and measured.high is not None:
        axes.plot(
            [measured.low, measured.high],
            [row, row],
            color=bar,
            linewidth=7,
            solid_capstyle="butt",
        )
    axes.plot(measured.value, row, marker, color=colour, markersize=7, zorder=3, clip_on=False)


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """A name of at most `longest` letters: the middle goes, since ends tell names apart."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 3
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


@styled
def save(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all; equal figures give equal bytes.

    Makes the folder. Raises OSError where it cannot be written.
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
    """The drawn figure as uint8 (H, W, 3), for TensorBoard."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
