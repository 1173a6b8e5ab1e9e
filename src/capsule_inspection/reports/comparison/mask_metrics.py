"""Metrics of the predicted masks of a model, from the pixel confusion matrix of each image.

The metrics are those of `metrics.segmentation`: the folds of a seed are pooled, then the mean over
seeds is taken.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics.segmentation import pixel_confusion_matrices, pooled_overlap_metrics
from capsule_inspection.reports.comparison.map_metrics import annotated_images
from capsule_inspection.reports.comparison.model_runs import MaskCounts, ModelRuns, RunPredictions
from capsule_inspection.reports.run.maps import read_maps
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import DEFECT, Estimate, RunError, RunFiles


def read_mask_counts(model: ModelRuns) -> MaskCounts | None:
    """The pixel confusion matrices of all its runs; None where it predicts no masks.

    Where folds of a seed share an image the first counts, as for its predicted label.
    Raises RunError where the maps of a run are damaged or have classes that the run does not have.
    """
    if not model.has_masks:
        return None
    classes = model.classes if model.has_probabilities else (model.normal_class, DEFECT)
    shape = (len(model.seeds), len(model.image_ids))
    counts = np.zeros((*shape, len(classes), len(classes)), dtype=np.int64)
    known, runs_without_masks = np.zeros(shape, dtype=bool), []
    for run, predictions in zip(model.runs, model.run_predictions, strict=True):
        found = _count_run(model, run, predictions, num_classes=len(classes))
        if found is None:
            runs_without_masks.append(run.path.name)
            continue
        run_counts, rows = found
        seed = model.seeds.index(predictions.seed)
        first = ~known[seed, rows]
        counts[seed, rows[first]], known[seed, rows] = run_counts[first], True
    return MaskCounts(classes, counts, known, tuple(runs_without_masks))


def compute(model: ModelRuns) -> dict[str, Estimate]:
    """Segmentation metrics; empty where a run kept no masks."""
    counts = model.mask_counts
    if counts is None or not counts.is_complete:
        return {}
    return pooled_overlap_metrics(
        [[_known_counts(model, counts, seed)] for seed in range(len(model.seeds))],
        classes=counts.classes,
    )


def compute_by_seed(model: ModelRuns) -> dict[int, dict[str, float]]:
    """The values of each seed; empty dictionaries where a run kept no masks."""
    counts = model.mask_counts
    if counts is None or not counts.is_complete:
        return {seed: {} for seed in model.seeds}
    by_seed = {}
    for row, seed in enumerate(model.seeds):
        metrics = pooled_overlap_metrics(
            [[_known_counts(model, counts, row)]], classes=counts.classes
        )
        by_seed[seed] = {name: metric.value for name, metric in metrics.items()}
    return by_seed


def _known_counts(model: ModelRuns, counts: MaskCounts, seed: int) -> tuple[np.ndarray, np.ndarray]:
    known = counts.known[seed]
    return counts.counts[seed, known], model.image_ids[known]


def _count_run(
    model: ModelRuns, run: RunFolder, predictions: RunPredictions, *, num_classes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts (K, C, C) of the annotated images of a run, and their rows (K,), if it has masks."""
    maps = read_maps(run.path / RunFiles.MAPS)
    if maps is None or maps.predicted_mask is None:
        return None
    map_rows, rows = annotated_images(model, predictions, maps)
    targets = [maps.target_mask_of(row) for row in map_rows]
    if not model.has_probabilities:
        targets = [target.clip(max=1) for target in targets]
    predicted = [mask for row in map_rows if (mask := maps.predicted_mask_of(row)) is not None]
    try:
        valid = [np.ones(target.shape, dtype=bool) for target in targets]
        return pixel_confusion_matrices(targets, predicted, valid, num_classes=num_classes), rows
    except ValueError as error:
        raise RunError(
            f"{run.path / RunFiles.MAPS}: a mask has classes that the run does not have "
            f"({error}). Evaluate the run again with evaluate.py run={run.path}"
        ) from error
