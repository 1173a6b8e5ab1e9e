"""Ranks of models on validation: with many models, they say which are shown or compared with.

No test image takes part in the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER, metric_label
from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.comparison.costs import MONITORED, monitored_metric, run_numbers
from capsule_inspection.reports.comparison.metrics import ModelMetrics

_LOSS_SETTINGS = (
    "task.monitor", "task.monitor_smoothing", "task.loss", "task.loss_weights", "task.head_weight",
    "task.defect_weight", "task.focal_gamma", "task.corruption_probability", "data.synthesis",
    "model.corruption", "model.head", "model.classes", "data", "split", "images",
)  # fmt: skip
"""Settings that change the meaning of a validation loss: its terms, images and corruption."""

_OVERLAP_SETTINGS = ("task.monitor_smoothing", "split", "images")
"""Settings that change the meaning of a validation overlap; image size and crop hardly do."""


class Ranking(NamedTuple):
    """Models, the best on validation first, and the metric of the ranking.

    Without a metric that all of them have, they are in the order of their runs.
    """

    order: list[ModelMetrics]
    by: str | None


def rank_on_validation(results: Sequence[ModelMetrics]) -> Ranking:
    """Rank by balanced accuracy, else AUROC, else loss.

    By the loss only where it is the same loss on the same images. Segmentation models rank by the
    overlap that selects their epoch, on the same images too.
    """
    monitored = _common_monitored_metric(results)
    classes = () if monitored == names.BINARY_DICE else ("model.classes",)
    have_overlap = all(of.model.has_masks for of in results) and monitored not in (None, names.LOSS)
    if have_overlap and _share_settings(results, (*_OVERLAP_SETTINGS, *classes)):
        return _rank(results, MONITORED, str(monitored))
    for metric in (names.BALANCED_ACCURACY, names.AUROC):
        number = f"validation {metric_label(metric)}"
        if all(result.cost(number) for result in results):
            return _rank(results, number, metric)
    if monitored == names.LOSS and _share_settings(results, _LOSS_SETTINGS):
        return _rank(results, MONITORED, names.LOSS)
    return Ranking(list(results), None)


def _rank(results: Sequence[ModelMetrics], number: str, metric: str) -> Ranking:
    """Rank by the mean of a number, which all models have."""
    spreads = {result: result.cost(number) for result in results}
    means = {result: spread.mean for result, spread in spreads.items() if spread is not None}
    lower_is_better = metric in LOWER_IS_BETTER
    return Ranking(sorted(means, key=means.__getitem__, reverse=not lower_is_better), metric)


def _common_monitored_metric(results: Sequence[ModelMetrics]) -> str | None:
    """The metric that selects the epoch of every run and has a value; None where they differ."""
    runs = [run for result in results for run in result.model.runs]
    found = {monitored_metric(run) if MONITORED in run_numbers(run) else None for run in runs}
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
