"""Images on which segmentation models differ most, and the predictions of each model for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.reports.comparison.model_runs import MaskCounts, ModelRuns
from capsule_inspection.reports.run.maps import read_maps
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import RunFiles

_TIE = 1e-3
"""Weight of the mean error relative to the difference, to break ties."""

_HEAT_QUANTILES = (0.01, 0.999)
"""Quantiles of the maps of a run that are drawn dark and bright, as in `map_scale`."""

_MIN_RANGE = 1e-6


@dataclass(frozen=True)
class ModelView:
    """The prediction of one run for one image.

    Shapes: target_mask and predicted_mask (h, w) class indices, the latter None without masks;
    heat (h, w) in [0, 1], the anomaly map. `content_box` is x0, y0, x1, y1 of what all three show,
    as fractions of the width and height of the thumbnail.
    """

    target_mask: np.ndarray
    predicted_mask: np.ndarray | None
    heat: np.ndarray
    content_box: tuple[float, float, float, float]
    predicted_label: str
    is_wrong: bool
    has_probabilities: bool


def most_disputed_images(models: Sequence[ModelRuns]) -> list[str]:
    """An image of each class; a good one only where any of them has a predicted defect.

    It has the largest difference in Dice between the segmentation models; for good images, in the
    fraction of predicted pixels. With one such model, and at equal differences, the worst one.
    """
    with_masks = [
        (model, counts) for model in models if (counts := complete_mask_counts(model)) is not None
    ]
    first, model_errors = models[0], [_mean_errors(counts) for _, counts in with_masks]
    shared = [
        image
        for image in first.image_ids.tolist()
        if all(image in model.row_of for model in models)
        and all(counts.known[:, model.row_of[image]].all() for model, counts in with_masks)
    ]
    if not with_masks or not shared:
        return []
    labels = np.array([first.labels[first.row_of[image]] for image in shared])
    errors = np.stack(
        [
            of_model[[model.row_of[image] for image in shared]]
            for of_model, (model, _) in zip(model_errors, with_masks, strict=True)
        ]
    )
    difference = np.ptp(errors, axis=0) + _TIE * errors.mean(axis=0)
    chosen = []
    for name in first.classes:
        rows = np.flatnonzero(labels == name)
        if len(rows) and (name != first.normal_class or errors[:, rows].any()):
            chosen.append(shared[rows[difference[rows].argmax()]])
    return chosen


def complete_mask_counts(model: ModelRuns) -> MaskCounts | None:
    """The mask counts of a model that kept all its masks; else None."""
    counts = model.mask_counts
    return counts if counts is not None and counts.is_complete else None


def _mean_errors(mask_counts: MaskCounts) -> np.ndarray:
    """1 - binary Dice; for good images the fraction of predicted pixels. Mean of seeds: (N,)."""
    counts = mask_counts.counts
    hit, target = counts[..., 1:, 1:].sum(axis=(-2, -1)), counts[..., 1:, :].sum(axis=(-2, -1))
    predicted, pixels = counts[..., 1:].sum(axis=(-2, -1)), counts.sum(axis=(-2, -1))
    of_defects = 1 - 2 * hit / np.maximum(target + predicted, 1)
    errors = np.where(target > 0, of_defects, predicted / np.maximum(pixels, 1))
    return np.asarray(errors.mean(axis=0))


def view_images(model: ModelRuns, images: Sequence[str]) -> dict[str, ModelView]:
    """The predictions for images, each by the first run that was tested on it and kept its map.

    The maps of a run are not kept, since those of many would not fit into memory.
    Raises RunError where maps are damaged.
    """
    views: dict[str, ModelView] = {}
    for run in model.runs:
        index_of = {
            image: index
            for image in images
            if image not in views
            for tested_by, index in model.find_image(image)
            if tested_by is run
        }
        maps = read_maps(run.path / RunFiles.MAPS) if index_of else None
        if maps is None:
            continue
        low, high = np.quantile(maps.anomaly_map, _HEAT_QUANTILES).tolist()
        for image, index in index_of.items():
            row = maps.row_of(index)
            if row is not None:
                heat = ((maps.map_of(row) - low) / max(high - low, _MIN_RANGE)).clip(0, 1)
                predicted = _predicted_label(run, index)
                views[image] = ModelView(
                    maps.target_mask_of(row),
                    maps.predicted_mask_of(row),
                    heat,
                    maps.relative_content_box(row),
                    predicted,
                    _is_wrong(model, image, predicted),
                    model.has_probabilities,
                )
    return views


def _predicted_label(run: RunFolder, index: int) -> str:
    rows = run.predictions
    return str(rows.loc[rows["index"] == index, "predicted_label"].iloc[0])


def _is_wrong(model: ModelRuns, image: str, predicted: str) -> bool:
    label, good = model.labels[model.row_of[image]], model.normal_class
    if model.has_probabilities:
        return bool(predicted != label)
    return bool((predicted == good) != (label == good))
