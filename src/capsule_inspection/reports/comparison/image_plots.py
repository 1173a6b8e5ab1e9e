"""Images on which models disagree, with their predictions, masks and anomaly maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from capsule_inspection.metrics.segmentation import PixelAreas, iou_and_dice
from capsule_inspection.metrics.target_masks import counted_pixels
from capsule_inspection.reports.comparison.table import ModelRuns
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.plots.image_grid import Panel, draw_grid, wrap_panels
from capsule_inspection.reports.plots.overlays import class_patches, compose, crop_around
from capsule_inspection.reports.run.maps import RunMaps, read_thumbnail
from capsule_inspection.types import DEFECT, RunFiles

MAX_DISAGREEMENTS, MAX_MODELS_WITH_MAPS = 12, 4

_HEAT_QUANTILES = (0.01, 0.999)
"""Quantiles of the maps of a run that are drawn dark and bright."""

_TIE = 1e-3
"""Weight of the mean error relative to the difference of models, to break ties."""


def list_plots(models: Sequence[ModelRuns]) -> dict[str, Callable[[], Figure]]:
    """What draws each plot, by the name of its file."""
    plots: dict[str, Callable[[], Figure]] = {}
    with_maps = [model for model in models if (model.runs[0].path / RunFiles.MAPS).is_file()]
    with_maps.sort(key=lambda model: not _has_all_masks(model))
    if with_maps and _has_all_masks(with_maps[0]):
        plots["masks"] = partial(disputed_masks, with_maps[:MAX_MODELS_WITH_MAPS])
    if len(models) > 1:
        plots["disagreement"] = partial(disagreements, models)
    return plots


@style.styled
def disagreements(models: Sequence[ModelRuns]) -> Figure:
    """Test images on which some models are right and others wrong."""
    correct = pd.concat([model.images["correct"] for model in models], axis=1, join="inner")
    if correct.empty:
        return style.text_figure("The models were not tested on the same images.")
    difference = correct.max(axis=1) - correct.min(axis=1)
    disputed = difference[difference > 0].sort_values(ascending=False, kind="stable").index
    if disputed.empty:
        return style.text_figure(f"Right and wrong on the same of {len(correct)} images.")
    panels: list[Panel] = []
    for image_id in disputed:
        image = _find_thumbnail(models, image_id)
        if image is not None:
            panels.append(Panel(image, _describe_predictions(models, image_id)))
        if len(panels) == MAX_DISAGREEMENTS:
            break
    if not panels:
        return style.text_figure("The runs kept no thumbnails of the images that they disagree on.")
    title = f"{len(panels)} of {len(disputed)} disputed images, of {len(correct)}"
    return draw_grid(wrap_panels(panels), title=title)


def _describe_predictions(models: Sequence[ModelRuns], image_id: str) -> str:
    """The label, and the most frequent prediction of each model."""
    lines = [f"true: {style.shorten(models[0].images['label'][image_id], 24)}"]
    for model in models:
        predicted = _rows_of_image(model, image_id)["predicted_label"].mode().iloc[0]
        symbol = "✓" if model.images["correct"][image_id] > 0.5 else "✗"
        name = style.shorten(model.name, 20)
        lines.append(f"{symbol} {name}: {style.shorten(predicted, 18)}")
    return "\n".join(lines)


def _rows_of_image(model: ModelRuns, image_id: str) -> pd.DataFrame:
    return model.rows[model.rows["image_id"] == image_id]


def _find_thumbnail(
    models: Sequence[ModelRuns], image_id: str, content_box: Sequence[float] | None = None
) -> np.ndarray | None:
    """The thumbnail of the first run that kept it."""
    for model in models:
        rows = _rows_of_image(model, image_id)
        for run, index in zip(rows["run"], rows["index"], strict=True):
            image = read_thumbnail(model.runs[run].image_path(index), content_box)
            if image is not None:
                return image
    return None


def _has_all_masks(model: ModelRuns) -> bool:
    return model.mask_counts is not None and model.mask_counts.is_complete


def most_disputed_images(models: Sequence[ModelRuns]) -> list[str]:
    """An image of each class; a good one only where any model predicts a defect in it.

    It has the largest difference in Dice between the segmentation models; for good images, in the
    fraction of predicted pixels. With one such model, and at equal differences, the worst one.
    """
    of_models = [_mask_errors(model) for model in models if _has_all_masks(model)]
    errors = pd.concat(of_models, axis=1, join="inner")
    for model in models:
        errors = errors[errors.index.isin(model.images.index)]
    labels = models[0].images["label"].loc[errors.index]
    dispute = errors.max(axis=1) - errors.min(axis=1) + _TIE * errors.mean(axis=1)
    chosen = []
    for name in models[0].classes:
        is_class = labels == name
        if is_class.any() and (name != models[0].normal_class or dispute[is_class].any()):
            chosen.append(str(dispute[is_class].idxmax()))
    return chosen


def _mask_errors(model: ModelRuns) -> pd.Series:
    """1 - binary Dice, for good images the fraction of predicted pixels; means of the seeds."""
    assert model.mask_counts is not None
    known = np.flatnonzero(model.mask_counts.known.all(axis=0))
    areas = PixelAreas.of(model.mask_counts.counts[:, known])
    of_any = (part[..., 0] for part in (areas.hit, areas.truth, areas.predicted))
    dice = iou_and_dice(*of_any)[1]
    predicted = areas.predicted[..., 0] / areas.total
    errors = np.where(np.isnan(dice), predicted, 1 - dice).mean(axis=0)
    return pd.Series(errors, index=model.images.index[known], name=model.name)


@style.styled
def disputed_masks(models: Sequence[ModelRuns]) -> Figure:
    """A row for an image of each class, a column for the mask or map of each model.

    Raises RunError where maps are damaged.
    """
    images = most_disputed_images(models)
    if not images:
        return style.text_figure("These models were not tested on the same images with masks.")
    defects = max((model.classes[1:] for model in models), key=len)
    if any(_has_all_masks(model) and not model.names_defects for model in models):
        defects = (*defects, DEFECT)
    rows = {image_id: [Panel(None)] * (1 + len(models)) for image_id in images}
    headings = ["image, true defect outlined"]
    for column, model in enumerate(models, start=1):
        headings.append(style.shorten(model.name, 32))
        headings[-1] += "" if _has_all_masks(model) else ": map, not enlarged"
        for image_id, label, is_wrong, maps, row in _read_maps_of(model, images):
            image = _find_thumbnail(models, image_id, maps.relative_content_box(row))
            outlines = (maps.target_mask_of(row),)
            crop = crop_around(maps.mask_of(row))
            if maps.predicted_mask is None:
                picture, text = compose(None, heat=_heat(maps, row), outlines=outlines), ""
            else:
                mask, text = _describe_mask(maps, row)
                mask = mask if model.names_defects else (mask != 0) * len(defects)
                picture = compose(image, mask=mask, outlines=outlines, crop=crop)
            caption = f"{text}predicted {style.shorten(label, 18)}"
            rows[image_id][column] = Panel(picture, caption, is_wrong)
            true = models[0].images["label"][image_id]
            rows[image_id][0] = Panel(compose(image, outlines=outlines), true, frame=crop)
    note = "Outlined: true. Filled: predicted. The framed part is enlarged."
    legend = class_patches(defects)
    return draw_grid(list(rows.values()), headings=headings, legend=legend, note=note)


def _read_maps_of(
    model: ModelRuns, images: Sequence[str]
) -> Iterator[tuple[str, str, bool, RunMaps, int]]:
    """Image, predicted label, whether it is wrong, maps and row in them.

    Of each image once, of the first run with its map. Maps are not kept: those of many runs would
    not fit into memory.
    """
    missing = set(images)
    for number, run in enumerate(model.runs):
        rows = model.rows_of_run(number)
        rows = rows[rows["image_id"].isin(missing)]
        maps = None if rows.empty else run.read_maps()
        columns = ("image_id", "predicted_label", "correct", "index")
        for image_id, label, is_correct, index in rows[[*columns]].itertuples(index=False):
            row = None if maps is None else maps.row_of(index)
            if maps is not None and row is not None:
                missing.remove(image_id)
                yield image_id, label, not is_correct, maps, row


def _heat(maps: RunMaps, row: int) -> np.ndarray:
    """The map of an image on the scale of its run, (h, w) in [0, 1]."""
    low, high = np.quantile(maps.anomaly_map, _HEAT_QUANTILES).tolist()
    return ((maps.map_of(row) - low) / max(high - low, 1e-6)).clip(0, 1)


def _describe_mask(maps: RunMaps, row: int) -> tuple[np.ndarray, str]:
    """The predicted mask of an image, and its Dice; of good images, its area."""
    mask = maps.predicted_mask_of(row)
    assert mask is not None
    counted = counted_pixels(maps.target_mask_of(row))
    target, predicted = maps.mask_of(row)[counted], mask[counted] != 0
    if not target.any():
        return mask, f"{100 * predicted.mean():.2g}% of pixels, "
    dice = 2 * (target & predicted).sum() / (target.sum() + predicted.sum())
    return mask, f"Dice {dice:.2f}, "
