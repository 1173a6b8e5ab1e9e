"""Rows of images: input, target mask, predicted mask, both overlaid, and an enlarged crop.

Every class has its own colour. The crop shows defects of a few pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.overlays import class_patches, fill, overlay
from capsule_inspection.reports.plots.row_layout import (
    RowLayout,
    aspect_of,
    dark_outline,
    write_placeholder,
)

_INPUT, _TARGET, _PREDICTED, _BOTH, _CROP = range(5)
_HEADINGS = (
    "image",
    "true defect",
    "predicted (grey: probability)",
    "filled: predicted, outlined: true",
    "the frame, enlarged",
)
_NO_OUTLINES = "predicted, on the image"
_DRAWN_PX = 600
"""Width of the overlays, about twice that of a panel: lines come out clean."""

_MAX_ZOOM = 6
_CROP_SCALE = 1.6
"""Size of the crop relative to the defect."""

_MISSING_GREY = 200
"""Grey in place of an image that was not kept."""

_MAX_GREY = 190
"""Grey of probability 1: darker than every class colour."""

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the masks; x1 and y1 are exclusive."""


@dataclass(frozen=True)
class SegmentationExample:
    """One row; None for what was not kept or is unknown.

    Shapes: image (H, W, 3) uint8; target_mask and predicted_mask (h, w) class indices, 0 for none;
    probability (h, w) in [0, 1], of any defect. All show the same region.
    """

    caption: str
    is_wrong: bool
    image: np.ndarray | None
    target_mask: np.ndarray | None = None
    predicted_mask: np.ndarray | None = None
    probability: np.ndarray | None = None


@style.styled
def segmentation_rows(
    examples: Sequence[SegmentationExample], defects: Sequence[str], *, title: str = ""
) -> Figure:
    """A row for each example; empty columns are left out.

    `defects` are the names of classes 1, 2 and so on.
    """
    if not examples:
        return style.text_figure("No images to show.")
    columns = _columns(examples)
    images = [of for example in examples for of in (example.image, example.target_mask)]
    has_legend = len(columns) > 1
    legend_rows = -(-len(defects) // _legend_columns(defects, len(columns)))
    foot = 0.4 + 0.23 * legend_rows if has_legend else RowLayout.GAP
    page = RowLayout(len(columns), len(examples), aspect_of(images), foot=foot)
    for number, column in enumerate(columns):
        plain = column == _BOTH and _TARGET not in columns
        page.write(number, _NO_OUTLINES if plain else _HEADINGS[column])
    for row, example in enumerate(examples):
        panels = [page.panel(row, number) for number in range(len(columns))]
        for axes, column in zip(panels, columns, strict=True):
            style.hide_axes(axes)
            _draw(axes, column, example)
        colour = style.VERMILION if example.is_wrong else style.BLACK
        panels[0].set_title(example.caption, fontsize=10, fontweight="normal", color=colour)
    if has_legend:
        _draw_legend(page.below(0, len(columns)), defects, _legend_columns(defects, len(columns)))
    page.set_title(title)
    return page.figure


def _columns(examples: Sequence[SegmentationExample]) -> list[int]:
    columns = [_INPUT]
    if any(example.target_mask is not None and example.target_mask.any() for example in examples):
        columns.append(_TARGET)
    if any(example.predicted_mask is not None for example in examples):
        columns.append(_PREDICTED)
    return [*columns, _BOTH, _CROP] if len(columns) > 1 else columns


def _draw(axes: Axes, column: int, example: SegmentationExample) -> None:
    if column == _INPUT:
        _show(axes, example.image, "not kept")
    elif column == _TARGET:
        _show(
            axes,
            None if example.target_mask is None else _colour_mask(example.target_mask),
            "not known",
        )
    elif column == _PREDICTED:
        predicted = example.predicted_mask
        coloured = None if predicted is None else _colour_mask(predicted, example.probability)
        _show(axes, coloured, "not kept")
    elif column == _BOTH:
        _show_overlay_crop(axes, example)
    else:
        _show_crop(axes, example)


def _show(axes: Axes, image: np.ndarray | None, placeholder: str) -> None:
    if image is None:
        write_placeholder(axes, placeholder)
    else:
        axes.imshow(image, interpolation="antialiased")


def _colour_mask(mask: np.ndarray, probability: np.ndarray | None = None) -> np.ndarray:
    """The mask in colours, on black or on the probability in grey: (h, w, 3) uint8."""
    level = np.zeros(mask.shape) if probability is None else probability
    grey = np.round(_MAX_GREY * np.clip(level, 0, 1)).astype(np.uint8)
    return fill(np.repeat(grey[..., np.newaxis], 3, axis=2), mask, opacity=1.0)


def _show_overlay_crop(axes: Axes, example: SegmentationExample) -> None:
    size = _size(example)
    if size is None:
        write_placeholder(axes, "not kept")
        return
    height, width = size
    full = (0, 0, width, height)
    axes.imshow(
        _overlay_crop(example, full), interpolation="antialiased", extent=(0, width, height, 0)
    )
    crop = _find_crop(example)
    if crop is not None and crop != full:
        x0, y0, x1, y1 = crop
        line = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=0.9)
        line.set_path_effects([dark_outline(2.2)])
        axes.add_patch(line)


def _show_crop(axes: Axes, example: SegmentationExample) -> None:
    crop = _find_crop(example)
    if crop is None:
        write_placeholder(
            axes, "no predicted region" if example.predicted_mask is not None else "not kept"
        )
    else:
        axes.imshow(_overlay_crop(example, crop), interpolation="antialiased")


def _size(example: SegmentationExample) -> tuple[int, int] | None:
    """Height and width of the masks; None where there is none."""
    known = [
        mask.shape for mask in (example.predicted_mask, example.target_mask) if mask is not None
    ]
    return known[0] if known else None


def _find_crop(example: SegmentationExample) -> Box | None:
    """The region around the true defect, else the largest predicted region, if there is one."""
    if example.target_mask is not None and example.target_mask.any():
        region = example.target_mask != 0
    elif example.predicted_mask is not None and example.predicted_mask.any():
        region = _largest_component(example.predicted_mask != 0)
    else:
        return None
    height, width = region.shape
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    least = max(
        _CROP_SCALE * (columns[-1] + 1 - columns[0]) / width,
        _CROP_SCALE * (rows[-1] + 1 - rows[0]) / height,
        1 / _MAX_ZOOM,
    )
    fraction = min(least, 1.0)
    x0, x1 = _span((columns[0] + columns[-1] + 1) / 2, fraction, width)
    y0, y1 = _span((rows[0] + rows[-1] + 1) / 2, fraction, height)
    return x0, y0, x1, y1


def _largest_component(region: np.ndarray) -> np.ndarray:
    """(h, w) bool."""
    import cv2

    _, numbers, found, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    return numbers == 1 + int(found[1:, cv2.CC_STAT_AREA].argmax())


def _span(centre: float, fraction: float, size: int) -> tuple[int, int]:
    """A span of an axis around a centre, moved to lie within the axis."""
    length = max(1, round(fraction * size))
    first = min(max(0, round(centre - length / 2)), size - length)
    return first, first + length


def _overlay_crop(example: SegmentationExample, box: Box) -> np.ndarray:
    """Predicted and target mask over a crop of the image, at `_DRAWN_PX` width: uint8."""
    x0, y0, x1, y1 = box
    height = max(1, round(_DRAWN_PX * (y1 - y0) / (x1 - x0)))
    rows = y0 + ((np.arange(height) + 0.5) * (y1 - y0) / height).astype(int)
    columns = x0 + ((np.arange(_DRAWN_PX) + 0.5) * (x1 - x0) / _DRAWN_PX).astype(int)
    pixels = np.ix_(rows, columns)
    target = None if example.target_mask is None else example.target_mask[pixels]
    predicted = np.zeros((height, _DRAWN_PX), np.uint8)
    if example.predicted_mask is not None:
        predicted = example.predicted_mask[pixels]
    return overlay(_background(example, box, height), predicted, target=target)


def _background(example: SegmentationExample, box: Box, height: int) -> np.ndarray:
    """The crop of the image at `_DRAWN_PX` width; plain grey where it was not kept."""
    size = _size(example)
    if example.image is None or size is None:
        return np.full((height, _DRAWN_PX, 3), _MISSING_GREY, np.uint8)
    across, down = example.image.shape[1] / size[1], example.image.shape[0] / size[0]
    x0, y0, x1, y1 = box
    crop = (x0 * across, y0 * down, x1 * across, y1 * down)
    enlarged = Image.fromarray(example.image).resize(
        (_DRAWN_PX, height), Image.Resampling.BICUBIC, box=crop
    )
    return np.asarray(enlarged)


def _legend_columns(defects: Sequence[str], columns: int) -> int:
    """The number of legend columns that fit below so many images."""
    longest = max((len(style.shorten(name)) for name in defects), default=1)
    width_in = columns * (RowLayout.COLUMN + RowLayout.GAP)
    return max(1, min(len(defects), int(width_in / (0.6 + 0.09 * longest))))


def _draw_legend(axes: Axes, defects: Sequence[str], columns: int) -> None:
    axes.set_axis_off()
    handles = class_patches(defects)
    axes.legend(handles=handles, loc="upper left", ncols=columns, borderaxespad=0)
