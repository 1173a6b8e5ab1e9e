"""Rows of images: input, reconstruction, anomaly map, mask, and an overlay of the last two.

All maps of a run share one colour scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.row_layout import (
    RowLayout,
    aspect_of,
    dark_outline,
    outline,
    write_placeholder,
)

MAP_COLOURS = "inferno"
FOUND, TRUE = style.YELLOW, style.SKY
"""Outlines of the anomaly map and of the true defect, safe for colour-blind readers."""

GOOD_PIXELS_ABOVE = 0.005
"""Fraction of the pixels of good images above the level of the outline."""

_INPUT, _RECONSTRUCTION, _MAP, _MASK, _OVERLAY = range(5)
_HEADINGS = (
    "image",
    "reconstruction",
    "anomaly map",
    "true defect",
    "overlay",
)


@dataclass(frozen=True)
class MapScale:
    """The scores that are drawn dark and bright, and the level of the outline."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class AnomalyExample:
    """One row; None for what was not kept or is unknown.

    Shapes: image and reconstruction (H, W, 3) uint8; anomaly_map (h, w) float; mask (h, w) bool.
    All show the same region; sizes may differ.
    """

    caption: str
    is_wrong: bool
    image: np.ndarray | None
    reconstruction: np.ndarray | None = None
    anomaly_map: np.ndarray | None = None
    mask: np.ndarray | None = None


def map_scale(good_pixels: np.ndarray, all_pixels: np.ndarray) -> MapScale:
    """The scale for all maps of a run; the level is a high quantile of the good pixels.

    Shapes: (P,) and (Q,), Q > 0. Without good pixels the level is a quantile of all pixels.
    """
    level = np.quantile(good_pixels if len(good_pixels) else all_pixels, 1 - GOOD_PIXELS_ABOVE)
    low, high = np.quantile(all_pixels, [0.01, 0.999])
    step = max(abs(float(level)), 1.0) * 1e-3
    return MapScale(float(low), max(float(high), float(max(level, low)) + step), float(level))


@style.styled
def anomaly_rows(
    examples: Sequence[AnomalyExample], scale: MapScale | None, *, title: str = ""
) -> Figure:
    """A row for each example; empty columns are left out."""
    if not examples:
        return style.text_figure("No images to show.")
    columns = _columns(examples)
    images = [of for example in examples for of in (example.image, example.anomaly_map)]
    foot = RowLayout.GAP if scale is None else RowLayout.FOOT
    page = RowLayout(len(columns), len(examples), aspect_of(images), foot=foot)
    for number, column in enumerate(columns):
        page.write(number, _HEADINGS[column])
    for row, example in enumerate(examples):
        panels = [page.panel(row, column) for column in range(len(columns))]
        _draw_row(panels, columns, example, scale)
    if scale is not None:
        split = max(1, len(columns) - 2)
        _draw_scale(page.below(0, split), scale, page.figure)
        _draw_legend(page.below(split, len(columns)), knows_masks=_MASK in columns)
    page.set_title(title)
    return page.figure


def _columns(examples: Sequence[AnomalyExample]) -> list[int]:
    columns = [_INPUT]
    if any(example.reconstruction is not None for example in examples):
        columns.append(_RECONSTRUCTION)
    has_map = any(example.anomaly_map is not None for example in examples)
    if has_map:
        columns.append(_MAP)
    if any(example.mask is not None and example.mask.any() for example in examples):
        columns.append(_MASK)
    return [*columns, _OVERLAY] if has_map else columns


def _draw_row(
    panels: Sequence[Axes], columns: Sequence[int], example: AnomalyExample, scale: MapScale | None
) -> None:
    for axes, column in zip(panels, columns, strict=True):
        style.hide_axes(axes)
        if column == _MAP and scale is not None:
            _show(axes, example.anomaly_map, scale=scale)
        elif column == _MASK:
            _show_mask(axes, example.mask)
        elif column == _OVERLAY and scale is not None:
            _show_overlay(axes, example, scale)
        else:
            _show(axes, example.image if column == _INPUT else example.reconstruction)
    colour = style.VERMILION if example.is_wrong else style.BLACK
    panels[0].set_title(example.caption, fontsize=10, fontweight="normal", color=colour)


def _show(axes: Axes, image: np.ndarray | None, *, scale: MapScale | None = None) -> None:
    if image is None:
        write_placeholder(axes, "not kept")
        return
    if scale is None:
        axes.imshow(image, interpolation="antialiased")
    else:
        axes.imshow(image, cmap=MAP_COLOURS, vmin=scale.low, vmax=scale.high)


def _show_mask(axes: Axes, mask: np.ndarray | None) -> None:
    if mask is None:
        write_placeholder(axes, "not known")
    else:
        axes.imshow(mask, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")


def _show_overlay(axes: Axes, example: AnomalyExample, scale: MapScale) -> None:
    if example.image is None or example.anomaly_map is None:
        write_placeholder(axes, "not kept")
        return
    height, width = example.anomaly_map.shape
    axes.imshow(
        example.image, interpolation="antialiased", extent=(-0.5, width - 0.5, height - 0.5, -0.5)
    )
    if example.mask is not None and example.mask.any() and not example.mask.all():
        outline(axes, example.mask.astype(float), 0.5, TRUE, width=1.8)
    if example.anomaly_map.min() < scale.level < example.anomaly_map.max():
        outline(axes, example.anomaly_map, scale.level, FOUND, width=1.3)


def _draw_scale(axes: Axes, scale: MapScale, figure: Figure) -> None:
    """Draw the colour scale with the level of the outline."""
    colours = ScalarMappable(Normalize(scale.low, scale.high), MAP_COLOURS)
    figure.colorbar(colours, cax=axes, orientation="horizontal")
    axes.axvline(scale.level, color=FOUND, linewidth=2.5, path_effects=[dark_outline(4.5)])
    percent = f"{100 * GOOD_PIXELS_ABOVE:g}%"
    axes.tick_params(labelsize=8)
    corner = axes.get_position()
    figure.text(
        corner.x0,
        corner.y0 - 0.36 / figure.get_figheight(),
        f"Dark: normal. Bright: anomalous. Yellow line: {percent} of good pixels are above it.",
        fontsize=9.5,
    )


def _draw_legend(axes: Axes, *, knows_masks: bool) -> None:
    axes.set_axis_off()
    named = {"above the yellow line": FOUND, **({"true defect": TRUE} if knows_masks else {})}
    handles = [
        Line2D([], [], color=colour, linewidth=2.2, label=name, path_effects=[dark_outline(4.0)])
        for name, colour in named.items()
    ]
    axes.legend(handles=handles, loc="upper right", ncols=2, borderaxespad=0)
