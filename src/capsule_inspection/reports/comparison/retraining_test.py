"""Tests whether a difference holds if both models are trained again, from trainings of equal folds.

Seeds of one fold are averaged first: they share their training and test images, so they say
nothing about other images, and as separate observations they would make the test too optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired_tests import PairedDifference, corrected_resampled_t_test
from capsule_inspection.reports.comparison.model_runs import ModelRuns, get_fold, get_seed
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TRAIN

MIN_FOLDS = 3
"""Trainings needed for a test over trainings; with two it has one degree of freedom."""


@dataclass(frozen=True)
class RetrainingTest:
    """The test over folds of the difference in one metric.

    `num_always_tested` is the number of images that every fold tests, such as the defects of
    one-class runs: the test says nothing about other images like them.
    """

    difference: PairedDifference
    num_trainings: int
    num_always_tested: int = 0


def run_retraining_tests(first: ModelRuns, second: ModelRuns) -> dict[str, RetrainingTest] | None:
    """Nadeau and Bengio's test over folds, of trainings of equal seed and fold; None without folds.

    Also None where a model has no class probabilities and two trainings of equal fold were tested
    on different images. The images that every fold tests do not count as test images: they are no
    source of variation between folds, so the test covers other training and other good images only.
    """
    units = _runs_by_seed_and_fold(first), _runs_by_seed_and_fold(second)
    shared = [unit for unit in units[0] if unit in units[1] and unit[1] is not None]
    if len({fold for _, fold in shared}) < MIN_FOLDS:
        return None
    runs = [(units[0][unit], units[1][unit]) for unit in shared]
    counts = [run.record.get("data", {}).get("images", {}) for pair in runs for run in pair]
    if not all(TRAIN in count for count in counts):
        return None
    tested = _tested_images(first), _tested_images(second)
    are_classifiers = first.has_probabilities and second.has_probabilities
    if not are_classifiers and any(tested[0][unit] != tested[1][unit] for unit in shared):
        return None
    always = len(frozenset.intersection(*(tested[0][unit] for unit in shared)))
    train = float(np.mean([count[TRAIN] for count in counts]))
    test = float(np.mean([len(run.rows_of(first.stage)) for pair in runs for run in pair])) - always
    tests: dict[str, RetrainingTest] = {}
    for metric in _shared_metrics(first, second):
        key = names.metric_key(first.stage, metric)
        if all(key in run.metrics for pair in runs for run in pair):
            by_fold: dict[int | None, list[float]] = {}
            for (_, fold), (a, b) in zip(shared, runs, strict=True):
                by_fold.setdefault(fold, []).append(a.metrics[key].value - b.metrics[key].value)
            values = np.array([np.mean(differences) for differences in by_fold.values()])
            difference = corrected_resampled_t_test(values, test_images=test, train_images=train)
            tests[metric] = RetrainingTest(difference, len(runs), always)
    return tests


def _runs_by_seed_and_fold(model: ModelRuns) -> dict[tuple[int, int | None], RunFolder]:
    return {(get_seed(run), get_fold(run)): run for run in model.runs}


def _shared_metrics(first: ModelRuns, second: ModelRuns) -> list[str]:
    """Metrics that mean the same for both."""
    shared = [
        names.ACCURACY,
        names.BALANCED_ACCURACY,
        names.AUROC,
        names.BINARY_DICE_GLOBAL,
    ]
    same_classes = (
        first.has_probabilities and second.has_probabilities and first.classes == second.classes
    )
    return [*shared, names.MEAN_IOU_GLOBAL] if same_classes else shared


def _tested_images(model: ModelRuns) -> dict[tuple[int, int | None], frozenset[str]]:
    """The images of each run, by seed and fold."""
    return {
        (predictions.seed, predictions.fold): frozenset(model.image_ids[predictions.rows].tolist())
        for predictions in model.run_predictions
    }
