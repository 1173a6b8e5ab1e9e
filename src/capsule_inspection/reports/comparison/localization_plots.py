"""Predicted masks and anomaly maps of several models for the same images.

The images are those of `disagreements`: of each class the one on which segmentation models differ
most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from capsule_inspection.reports.comparison.disagreements import (
    ModelView,
    complete_mask_counts,
    most_disputed_images,
    view_images,
)
from capsule_inspection.reports.comparison.model_runs import ModelRuns
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.anomaly_examples import MAP_COLOURS
from capsule_inspection.reports.plots.overlays import class_patches, overlay
from capsule_inspection.reports.plots.row_layout import (
    RowLayout,
    aspect_of,
    dark_outline,
    write_placeholder,
)
from capsule_inspection.reports.run.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import DEFECT, RunFiles

MAX_MODELS = 4
_DRAWN_PX = 600
"""Width at which panels are drawn, about twice their size on the page: lines come out clean."""

_MIN_CROP = 1 / 4
"""Smallest fraction of the width and height of an image in an enlarged crop."""

_CROP_SCALE = 1.6
"""Size of the crop relative to the defect."""

_MISSING_GREY = 200
"""Grey in place of an image that was not kept."""

Crop = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions of width and height."""

FULL: Crop = (0.0, 0.0, 1.0, 1.0)


def models_with_maps(models: Sequence[ModelRuns]) -> list[ModelRuns]:
    """The models with maps, those with masks first; empty where none has masks."""
    with_maps = [model for model in models if (model.runs[0].path / RunFiles.MAPS).is_file()]
    with_maps.sort(key=lambda model: complete_mask_counts(model) is None)
    chosen = with_maps[:MAX_MODELS]
    return chosen if chosen and complete_mask_counts(chosen[0]) is not None else []


@style.styled
def disputed_images(models: Sequence[ModelRuns]) -> Figure:
    """A row for an image of each class, a column for each of `models_with_maps`."""
    images = most_disputed_images(models)
    if not images:
        return style.text_figure("These models were not tested on the same images with masks.")
    views = [view_images(model, images) for model in models]
    rows = [[of_model.get(image) for of_model in views] for image in images]
    thumbnails = [
        _find_thumbnail(models, image, row) for image, row in zip(images, rows, strict=True)
    ]
    defects = _legend_classes(models)
    page = RowLayout(1 + len(models), len(rows), aspect_of(thumbnails), foot=0.7)
    _write_headings(page, models)
    first = models[0]
    for number, (image, row, thumbnail) in enumerate(zip(images, rows, thumbnails, strict=True)):
        panels = [page.panel(number, column) for column in range(1 + len(row))]
        _set_caption(panels[0], style.shorten(first.labels[first.row_of[image]], 34))
        _draw_row(panels, row, thumbnail, any_defect=len(defects))
    _draw_legend(page.below(0, 1 + len(models)), defects)
    page.set_title("Of each class the image on which the predicted masks differ most")
    return page.figure


def _set_caption(axes: Axes, text: str, *, is_wrong: bool = False) -> None:
    colour = style.VERMILION if is_wrong else style.BLACK
    axes.set_title(text, fontsize=9.5, fontweight="normal", color=colour)


def _legend_classes(models: Sequence[ModelRuns]) -> list[str]:
    """All defect classes; then "defect" where a model does not tell defects apart."""
    longest = max((model.classes for model in models), key=len)
    has_binary_masks = any(
        complete_mask_counts(model) is not None and not model.has_probabilities for model in models
    )
    return [*longest[1:], *([DEFECT] if has_binary_masks else [])]


def _write_headings(page: RowLayout, models: Sequence[ModelRuns]) -> None:
    page.write(0, "image, true defect outlined")
    for column, model in enumerate(models, start=1):
        suffix = "" if complete_mask_counts(model) is not None else ": map, not enlarged"
        page.write(column, f"{style.shorten(model.name, 32)}{suffix}")


def _find_thumbnail(
    models: Sequence[ModelRuns], image: str, row: Sequence[ModelView | None]
) -> np.ndarray | None:
    """The thumbnail without padding, from the first run that kept it."""
    for model, view in zip(models, row, strict=True):
        for run, index in model.find_image(image):
            path = run.image_path(index)
            if path.is_file():
                box = None if view is None else view.content_box
                return without_padding(read_thumbnail(path), box)
    return None


def _draw_row(
    panels: Sequence[Axes],
    row: Sequence[ModelView | None],
    thumbnail: np.ndarray | None,
    *,
    any_defect: int,
) -> None:
    known = next((view for view in row if view is not None), None)
    crop = FULL if known is None else _crop_around_defect(known, row)
    for axes, view in zip(panels, [known, *row], strict=True):
        style.hide_axes(axes)
        if view is None:
            write_placeholder(axes, "not kept")
    if known is None:
        return
    full = _background(thumbnail, FULL, known)
    target = _resample(known.target_mask, FULL, full)
    outlined = overlay(full, np.zeros_like(target), target=target)
    panels[0].imshow(outlined, interpolation="antialiased")
    _draw_frame(panels[0], crop, full.shape[:2])
    for axes, view in zip(panels[1:], row, strict=True):
        if view is not None:
            drawn = _draw_prediction(view, thumbnail, crop, any_defect)
            axes.imshow(drawn, interpolation="antialiased")
            _set_caption(axes, _caption(view), is_wrong=view.is_wrong)


def _draw_prediction(
    view: ModelView, thumbnail: np.ndarray | None, crop: Crop, any_defect: int
) -> np.ndarray:
    """The crop with the predicted mask filled, or the full map; the target mask is outlined."""
    if view.predicted_mask is None:
        crop = FULL  # bright regions need the rest of the map for comparison
    background = _background(thumbnail, crop, view)
    target = _resample(view.target_mask, crop, background)
    if view.predicted_mask is None:
        heat = colormaps[MAP_COLOURS](_resample(view.heat, crop, background))[..., :3]
        return overlay((255 * heat).astype(np.uint8), np.zeros_like(target), target=target)
    predicted = view.predicted_mask
    if not view.has_probabilities:
        predicted = (predicted != 0) * np.uint8(any_defect)
    return overlay(background, _resample(predicted, crop, background), target=target)


def _caption(view: ModelView) -> str:
    predicted_label = f"predicted {style.shorten(view.predicted_label, 18)}"
    if view.predicted_mask is None:
        return predicted_label
    target, predicted = view.target_mask != 0, view.predicted_mask != 0
    if not target.any():
        return f"{100 * predicted.mean():.2g}% of pixels, {predicted_label}"
    dice = 2 * (target & predicted).sum() / (target.sum() + predicted.sum())
    return f"Dice {dice:.2f}, {predicted_label}"


def _crop_around_defect(known: ModelView, row: Sequence[ModelView | None]) -> Crop:
    """The crop around the true defect; for good images, around all predicted regions."""
    regions = [known.target_mask != 0]
    if not regions[0].any():
        masks = (view.predicted_mask for view in row if view is not None)
        regions = [mask != 0 for mask in masks if mask is not None]
    boxes = np.array([_bounding_box(region) for region in regions if region.any()])
    if not len(boxes):
        return FULL
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    size = min(1.0, max(_CROP_SCALE * float((high - low).max()), _MIN_CROP))
    left, top = ((low + high - size) / 2).clip(0, 1 - size).tolist()
    return left, top, left + size, top + size


def _bounding_box(region: np.ndarray) -> Crop:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    height, width = region.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def _background(thumbnail: np.ndarray | None, crop: Crop, view: ModelView) -> np.ndarray:
    """A crop of the image at `_DRAWN_PX` width; plain grey where it was not kept."""
    height, width = (view.target_mask if thumbnail is None else thumbnail).shape[:2]
    size = (_DRAWN_PX, max(1, round(_DRAWN_PX * height / width)))
    if thumbnail is None:
        return np.full((size[1], size[0], 3), _MISSING_GREY, np.uint8)
    box = (crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height)
    return np.asarray(Image.fromarray(thumbnail).resize(size, Image.Resampling.BICUBIC, box=box))


def _resample(values: np.ndarray, crop: Crop, like: np.ndarray) -> np.ndarray:
    """The values at the pixels of an image of the crop: (H, W) as it."""
    indices = []
    for axis, (first, last) in enumerate(((crop[1], crop[3]), (crop[0], crop[2]))):
        count = like.shape[axis]
        centres = first + (np.arange(count) + 0.5) * (last - first) / count
        indices.append((centres * values.shape[axis]).astype(int).clip(0, values.shape[axis] - 1))
    return values[np.ix_(*indices)]


def _draw_frame(axes: Axes, crop: Crop, size: tuple[int, ...]) -> None:
    """The border of a crop of an image of this height and width."""
    if crop == FULL:
        return
    height, width = size
    x0, y0, x1, y1 = crop
    corner = (x0 * width, y0 * height)
    line = Rectangle(corner, (x1 - x0) * width, (y1 - y0) * height, fill=False, edgecolor="white")
    line.set(linewidth=0.9, path_effects=[dark_outline(2.2)])
    axes.add_patch(line)


def _draw_legend(axes: Axes, defects: Sequence[str]) -> None:
    axes.set_axis_off()
    axes.legend(handles=class_patches(defects), loc="upper left", ncols=len(defects),
                borderaxespad=0, alignment="left",
                title="outlined: true, filled: predicted; the framed part is enlarged",
                )  # fmt: skip
