"""Ranks models by validation metrics, so that no test image takes part in the choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.training_costs import (
    RunValue,
    from_record,
    monitored_metric,
    validation_metric,
)

MONITORED_VALUE = from_record("monitor", "value")

_LOSS_SETTINGS = (
    "task.monitor",
    "task.monitor_smoothing",
    "task.loss",
    "task.loss_weights",
    "task.head_weight",
    "task.defect_weight",
    "task.focal_gamma",
    "task.corruption_probability",
    "data.synthesis",
    "model.corruption",
    "model.head",
    "model.classes",
    "data",
    "split",
    "images",
)
"""Settings that change the meaning of a validation loss: its terms, images and corruption."""

_OVERLAP_SETTINGS = ("task.monitor_smoothing", "split", "images")
"""Settings that change the meaning of a validation overlap; image size and crop hardly do."""


@dataclass(frozen=True)
class Ranking:
    """Models, the best on validation first, and the metric of the ranking.

    Without a metric that all of them have, they are in the order of their runs.
    """

    order: list[ModelMetrics]
    by: str | None


def rank_on_validation(results: Sequence[ModelMetrics]) -> Ranking:
    """Rank by balanced accuracy, else the AUROC of good against defect, else the loss.

    The loss only where it is the same loss on the same images. Segmentation models rank by the
    overlap that selects their epoch, on the same images too.
    """
    if all(result.model.has_masks for result in results):
        overlap = _common_overlap(results)
        if overlap is not None:
            return _rank(results, partial(_mean, run_value=MONITORED_VALUE), overlap)
    elif all(result.model.has_probabilities and not result.model.has_masks for result in results):
        return _rank(results, _classifier_value, names.BALANCED_ACCURACY)
    for metric in (names.BALANCED_ACCURACY, names.AUROC):
        if all(result.cost(validation_metric(metric)) for result in results):
            return _rank(results, partial(_mean, run_value=validation_metric(metric)), metric)
    if _have_common_loss(results):
        return _rank(results, lambda result: -_mean(result, MONITORED_VALUE), names.LOSS)
    return Ranking(list(results), None)


def best_on_validation(results: Sequence[ModelMetrics]) -> ModelMetrics:
    """The model with the best validation metric; the first where they share none."""
    return rank_on_validation(results).order[0]


def _rank(
    results: Sequence[ModelMetrics], value: Callable[[ModelMetrics], float], metric: str
) -> Ranking:
    return Ranking(sorted(results, key=value, reverse=True), metric)


def _mean(result: ModelMetrics, run_value: RunValue) -> float:
    found = result.cost(run_value)
    return -math.inf if found is None else found.mean


def _classifier_value(result: ModelMetrics) -> float:
    """Balanced accuracy, else AUROC, else below all others."""
    for metric in (names.BALANCED_ACCURACY, names.AUROC):
        found = result.cost(validation_metric(metric))
        if found is not None:
            return found.mean
    return -math.inf


def _have_common_loss(results: Sequence[ModelMetrics]) -> bool:
    """Whether the same validation loss selects the epoch of every run."""
    return _common_monitored_metric(results) == names.LOSS and _share_settings(
        results, _LOSS_SETTINGS
    )


def _common_overlap(results: Sequence[ModelMetrics]) -> str | None:
    """The overlap that selects the epoch of every run, where images and classes are the same."""
    metric = _common_monitored_metric(results)
    if metric in (None, names.LOSS):
        return None
    class_settings = () if metric == names.BINARY_DICE else ("model.classes",)
    return metric if _share_settings(results, (*_OVERLAP_SETTINGS, *class_settings)) else None


def _common_monitored_metric(results: Sequence[ModelMetrics]) -> str | None:
    """The metric that selects the epoch of every run and has a value; None where they differ."""
    runs = [run for result in results for run in result.model.runs]
    found = {monitored_metric(run) if MONITORED_VALUE(run) is not None else None for run in runs}
    return found.pop() if len(found) == 1 else None


def _share_settings(results: Sequence[ModelMetrics], groups: Sequence[str]) -> bool:
    """Whether all have the same folds, and no setting in these groups differs."""
    if len({frozenset(result.model.folds) for result in results}) > 1:
        return False
    models = [settings.model_settings(run) for result in results for run in result.model.runs]
    return not any(
        key == name or key.startswith(f"{name}.")
        for key in settings.differing_settings(models)
        for name in groups
    )
