"""Metrics of a classifier, by class and of defects against good images.

Definitions are scikit-learn's, intervals those of `intervals`. Pure numpy on arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.bootstrap import percentile_bootstrap
from capsule_inspection.metrics.detection import detection_metrics
from capsule_inspection.types import GOOD_LABEL, Estimate


def classification_metrics(
    label: np.ndarray,
    probabilities: np.ndarray,
    *,
    classes: Sequence[str],
    predicted_label: np.ndarray | None = None,
    score: np.ndarray | None = None,
    seed: int = 0,
    group: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """All metrics of one set of images, each with its 95% interval; keys have no stage.

    A metric that is undefined is absent: the recall of a class without images, the precision of
    one that is never predicted, detection metrics where good images or defects are missing.
    Balanced accuracy is the mean recall of the classes that have images, as in scikit-learn. Images
    of one group are one observation; an estimate's n is the number of its groups.
    Shapes: label (N,) int in [0, C); probabilities (N, C), rows sum to 1; predicted_label (N,) int,
    where it is not the most probable class; score (N,), high for defects, where it is not one minus
    the probability of the good class; group (N,), without which each image stands for itself.
    Raises ValueError where a probability is not in [0, 1] (NaN included).
    """
    _check(probabilities)
    predicted = probabilities.argmax(axis=1) if predicted_label is None else predicted_label
    group = intervals.group_numbers(group, len(label))
    if score is None:
        score = 1.0 - probabilities[:, GOOD_LABEL].astype(np.float64)
    return {
        names.ACCURACY: _proportion(label == predicted, group),
        names.BALANCED_ACCURACY: balanced_accuracy(label, predicted, group),
        names.MACRO_F1: macro_f1(label, predicted, len(classes), seed=seed, group=group),
        **detection_metrics(label != GOOD_LABEL, predicted != GOOD_LABEL, score, group=group),
        **_per_class(names.RECALL, label, label == predicted, classes, group),
        **_per_class(names.PRECISION, predicted, label == predicted, classes, group),
    }


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Number of images of each class (row) that are predicted as each class (column).

    scikit-learn's takes thirty times as long; a bootstrap needs thousands.
    Shapes: label and predicted (N,) int in [0, num_classes). Returns (C, C) int64.
    """
    cell = label.astype(np.int64) * num_classes + predicted.astype(np.int64)
    return np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def balanced_accuracy(label: np.ndarray, predicted: np.ndarray, group: np.ndarray) -> Estimate:
    """Mean recall of the classes that have images. Shapes: (N,) each."""
    of_classes = [label == name for name in np.unique(label)]
    right = np.array([(label == predicted)[rows].sum() for rows in of_classes])
    totals = np.array([rows.sum() for rows in of_classes])
    return intervals.mean_of_proportions(right, totals, [group[rows] for rows in of_classes])


def macro_f1(
    label: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    *,
    seed: int,
    group: np.ndarray | None = None,
) -> Estimate:
    """Mean F1 of the classes that occur in `label` or `predicted`, as scikit-learn averages it.

    The interval encloses two: a stratified bootstrap, which has no width where all are right, and
    the exact limits of each class combined, which do not know that one mistake lowers the F1 of two
    classes. Drawn from known truths, the two cover it in 53% to 95% and 89% to 95% of cases alone,
    and in 94% or more together. Shapes: (N,) int in [0, num_classes), both; group (N,).
    """

    def statistic(of_label: np.ndarray, of_predicted: np.ndarray) -> float:
        matrix = confusion_matrix(of_label, of_predicted, num_classes)
        occurrences = matrix.sum(axis=0) + matrix.sum(axis=1)
        present = occurrences > 0
        return float((2 * np.diag(matrix)[present] / occurrences[present]).mean())

    group = intervals.group_numbers(group, len(label))
    of_draws = percentile_bootstrap(
        statistic, [label, predicted], stratify=label, group=group, seed=seed
    )
    exact = _macro_f1_limits(label, predicted, group)
    n = intervals.num_groups(group)
    return intervals.estimate(statistic(label, predicted), exact, of_draws, n=n)


def _macro_f1_limits(
    label: np.ndarray, predicted: np.ndarray, group: np.ndarray
) -> intervals.Limits:
    """Limits of the mean F1 from those of each class, which are those of `intervals.f1_limits`."""
    of_classes = [(label == name) | (predicted == name) for name in np.union1d(label, predicted)]
    right = np.array([(label == predicted)[rows].sum() for rows in of_classes])
    union = np.array([rows.sum() for rows in of_classes])
    limits = intervals.clopper_pearson_limits(right, union, [group[rows] for rows in of_classes])
    jaccard = np.stack([right / union, *limits])
    _, low, high = intervals.mover(*(2 * jaccard / (1 + jaccard)))
    return low, high


def _per_class(
    metric: str,
    named: np.ndarray,
    is_right: np.ndarray,
    classes: Sequence[str],
    group: np.ndarray,
) -> dict[str, Estimate]:
    """Fraction that is right of the images of each class; `named` is their class (N,)."""
    of_classes = {name: named == number for number, name in enumerate(classes)}
    return {
        names.class_metric(metric, name): _proportion(is_right[rows], group[rows])
        for name, rows in of_classes.items()
        if rows.any()
    }


def _proportion(is_right: np.ndarray, group: np.ndarray) -> Estimate:
    return intervals.proportion(int(is_right.sum()), len(is_right), group=group)


def _check(probabilities: np.ndarray) -> None:
    outside = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1.0 + 1e-6)).all(axis=1))
    if len(outside):
        raise ValueError(
            f"probabilities must lie in [0, 1]; {len(outside)} rows do not, the first is "
            f"row {outside[0]}: {probabilities[outside[0]]}"
        )
