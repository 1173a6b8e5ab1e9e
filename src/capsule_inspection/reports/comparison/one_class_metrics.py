"""Image metrics of models without class probabilities, such as autoencoders: means over runs.

Each run is a model with its own scale, so scores are never pooled; a defect that the models of
five folds predicted is one image. The metrics are those of `metrics.detection`.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.detection import FoldPredictions, mean_anomaly_metrics
from capsule_inspection.reports.comparison.model_runs import ModelRuns, RunPredictions
from capsule_inspection.types import Estimate


def compute(model: ModelRuns) -> dict[str, Estimate]:
    """Means over the runs of every image metric."""
    target_fpr = model.runs[0].target_fpr
    runs = [_anomaly_run(model, predictions) for predictions in model.run_predictions]
    metrics = mean_anomaly_metrics(runs, target_fpr=0.0 if target_fpr is None else target_fpr)
    if target_fpr is None:
        metrics.pop(names.TPR_AT_FPR, None)
    return metrics


def compute_by_seed(model: ModelRuns) -> dict[int, dict[str, float]]:
    """AUROC of each seed: the mean over its folds that have good images and defects."""
    found: dict[int, list[float]] = {seed: [] for seed in model.seeds}
    for predictions in model.run_predictions:
        is_defect = model.is_defect[predictions.rows]
        if is_defect.any() and not is_defect.all():
            scores = predictions.scores
            auroc = intervals.auroc(scores[~is_defect], scores[is_defect])
            found[predictions.seed].append(auroc.value)
    return {
        seed: {names.AUROC: float(np.mean(values))} if values else {}
        for seed, values in found.items()
    }


def _anomaly_run(model: ModelRuns, predictions: RunPredictions) -> FoldPredictions:
    return FoldPredictions(
        is_defect=model.is_defect[predictions.rows],
        predicted_defect=predictions.predicted_defect,
        score=predictions.scores,
        class_name=model.labels[predictions.rows],
        identity=model.image_ids[predictions.rows],
    )
