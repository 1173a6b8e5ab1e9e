"""The test metrics of a model over its runs, and what its trainings cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import classification_metrics
from capsule_inspection.metrics.detection import anomaly_metrics
from capsule_inspection.reports.comparison import map_metrics, mask_metrics, one_class_metrics
from capsule_inspection.reports.comparison.model_runs import ModelRuns
from capsule_inspection.reports.comparison.training_costs import RunValue
from capsule_inspection.types import GOOD_LABEL, Estimate

SEED_METRICS = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.AUROC,
    names.BINARY_DICE_GLOBAL,
    names.MEAN_IOU_GLOBAL,
)
"""Metrics that are shown for each seed."""


@dataclass(frozen=True)
class Spread:
    """Mean and range of a number over the runs of a model, and how many runs have it."""

    mean: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class ModelMetrics:
    """A model and its test metrics, without the stage in the keys."""

    model: ModelRuns
    metrics: dict[str, Estimate]

    @property
    def name(self) -> str:
        return self.model.name

    def value(self, metric: str) -> float | None:
        """The value of a metric; None where the model does not have it."""
        return self.metrics[metric].value if metric in self.metrics else None

    def cost(self, run_value: RunValue) -> Spread | None:
        """A number of each run, over the runs that have it; None where none has."""
        found = [number for run in self.model.runs if (number := run_value(run)) is not None]
        if not found:
            return None
        return Spread(float(np.mean(found)), min(found), max(found), len(found))

    @property
    def weights(self) -> str:
        """Sources of the initial weights."""
        records = (run.record.get("weights") or {} for run in self.model.runs)
        return ", ".join(sorted({str(record.get("source", "unknown")) for record in records}))

    @cached_property
    def by_seed(self) -> dict[int, dict[str, float]]:
        """`SEED_METRICS` of each seed, its folds pooled.

        Without class probabilities: AUROC, the mean over the folds, and overlap.
        """
        image_values = _image_values_by_seed(self.model)
        mask_values = mask_metrics.compute_by_seed(self.model)
        found = {seed: image_values[seed] | mask_values[seed] for seed in self.model.seeds}
        return {
            seed: {metric: values[metric] for metric in SEED_METRICS if metric in values}
            for seed, values in found.items()
        }


def measure(model: ModelRuns) -> ModelMetrics:
    """The metrics of all test images of a model, each with its 95% interval.

    Values and limits are averaged over seeds: an image that was predicted three times is one
    image, so seeds must not make intervals narrower. Without class probabilities they are means
    over runs, see `one_class_metrics`; for pixels see `map_metrics` and `mask_metrics`.
    Raises RunError where maps are damaged.
    """
    if len(model.runs) == 1:
        stored = names.metrics_of_stage(model.runs[0].metrics, model.stage)
        if stored:
            return ModelMetrics(model, stored)
    image_metrics = (
        _mean_metrics([_image_metrics(model, row) for row in range(len(model.seeds))])
        if model.has_probabilities
        else one_class_metrics.compute(model)
    )
    pixel_metrics = mask_metrics.compute(model) | map_metrics.compute(model)
    return ModelMetrics(model, image_metrics | pixel_metrics)


def _image_values_by_seed(model: ModelRuns) -> dict[int, dict[str, float]]:
    """The values of all image metrics of each seed."""
    if not model.has_probabilities:
        return one_class_metrics.compute_by_seed(model)
    return {
        seed: {name: metric.value for name, metric in _image_metrics(model, row).items()}
        for row, seed in enumerate(model.seeds)
    }


def _image_metrics(model: ModelRuns, row: int) -> dict[str, Estimate]:
    """The image metrics of the seed in this row."""
    assert model.probabilities is not None
    labels, probabilities = _class_indices(model, model.labels), model.probabilities[row]
    if not model.has_masks:
        return classification_metrics(labels, probabilities, classes=model.classes)
    # The predicted mask decides, not the largest probability.
    assert model.predicted_labels is not None
    assert model.scores is not None
    predicted, scores = _class_indices(model, model.predicted_labels[row]), model.scores[row]
    target_fpr = model.runs[0].target_fpr
    assert target_fpr is not None
    return anomaly_metrics(
        model.is_defect,
        predicted != GOOD_LABEL,
        scores,
        class_names=model.labels,
        target_fpr=target_fpr,
    ) | classification_metrics(
        labels, probabilities, classes=model.classes, predicted_label=predicted, score=scores
    )


def _class_indices(model: ModelRuns, class_names: np.ndarray) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(model.classes)}
    return np.array([index_of[name] for name in class_names.tolist()])


def _mean_metrics(seed_metrics: Sequence[dict[str, Estimate]]) -> dict[str, Estimate]:
    shared = [key for key in seed_metrics[0] if all(key in metrics for metrics in seed_metrics)]
    return {key: _mean_estimate([metrics[key] for metrics in seed_metrics]) for key in shared}


def _mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if len(known) == len(estimates) else None

    value = mean(estimate.value for estimate in estimates)
    assert value is not None
    return Estimate(
        value,
        mean(estimate.ci_low for estimate in estimates),
        mean(estimate.ci_high for estimate in estimates),
        min(estimate.n for estimate in estimates),
    )
