"""Metrics of anomaly maps against masks: pixel AUROC, pixel average precision and AUPRO.

Means over runs: each run is a model of its own, so the maps of different runs are never pooled.
They are computed alike for all models with maps, so that they stand in one table.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.localization import mean_localization_metrics
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels, rows_with_known_mask
from capsule_inspection.reports.comparison.model_runs import ModelRuns, RunPredictions
from capsule_inspection.reports.run.maps import RunMaps, read_maps
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import Estimate, RunFiles

MAP_METRICS = (names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO)


def compute(model: ModelRuns) -> dict[str, Estimate]:
    """Means over the runs; without intervals where a run kept its metrics but no maps.

    Raises RunError where the maps of a run are damaged.
    """
    counted = [
        _count_pixels(model, run, predictions)
        for run, predictions in zip(model.runs, model.run_predictions, strict=True)
    ]
    known = [counts for counts in counted if counts is not None]
    if len(known) == len(counted):
        return mean_localization_metrics(known)
    return _mean_of_stored(model)


def annotated_images(
    model: ModelRuns, predictions: RunPredictions, maps: RunMaps
) -> tuple[list[int], np.ndarray]:
    """The good images of a run and its defects with a mask: rows of the maps, rows of the model.

    The second is (K,) int64.
    """
    model_row_of = dict(zip(predictions.indices.tolist(), predictions.rows.tolist(), strict=True))
    tested = [
        (map_row, model_row_of[index])
        for map_row, index in enumerate(maps.index.tolist())
        if index in model_row_of
    ]
    annotated = rows_with_known_mask(
        (bool(model.is_defect[row]) for _, row in tested),
        (maps.mask_of(map_row) for map_row, _ in tested),
    )
    used = [tested[number] for number in annotated]
    rows = np.array([row for _, row in used], dtype=np.int64)
    return [map_row for map_row, _ in used], rows


def _mean_of_stored(model: ModelRuns) -> dict[str, Estimate]:
    stored = [names.metrics_of_stage(run.metrics, model.stage) for run in model.runs]
    images = len(model.image_ids)
    return {
        name: Estimate(
            float(np.mean([of_run[name].value for of_run in stored])), None, None, images
        )
        for name in MAP_METRICS
        if all(name in of_run for of_run in stored)
    }


def _count_pixels(
    model: ModelRuns, run: RunFolder, predictions: RunPredictions
) -> tuple[PixelCounts, np.ndarray] | None:
    """Pixel counts of the annotated images, and their identifiers.

    The maps are not kept, since those of many runs would not fit into memory.
    """
    maps = read_maps(run.path / RunFiles.MAPS)
    if maps is None:
        return None
    map_rows, rows = annotated_images(model, predictions, maps)
    counts = count_pixels(
        (maps.map_of(row) for row in map_rows), (maps.mask_of(row) for row in map_rows)
    )
    return counts, model.image_ids[rows]
