"""Figures of a classifier: which defect is it, and is it one at all?

Source: definitions as in scikit-learn; intervals from `intervals`. Pure numpy on arrays that are
handed to it: it reads no files, and the stage is put before the names by `names.with_stage`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.detection import detection_figures
from capsule_inspection.types import GOOD_LABEL, Figure


def classification_figures(
    label: np.ndarray,
    probabilities: np.ndarray,
    *,
    classes: Sequence[str],
    called: np.ndarray | None = None,
    score: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Figure]:
    """Every figure of one set of images, each with its 95% interval, without a stage in the keys.

    A figure that cannot be had is absent: the recall of a class without images, the precision of
    one that was never predicted, what compares good with defects where one side is missing.
    Balanced accuracy is the mean recall of the classes that have images, as in scikit-learn. A
    figure's n is the number of images it stands on.
    Shapes: label (N,) int in [0, C); probabilities (N, C), rows sum to 1; called (N,) int, what was
    decided, where it is not the most probable class; score (N,), high for defects, where it is not
    one minus the probability of the good class.
    Raises ValueError where shapes differ, N is 0, a label is outside or a probability is not in
    [0, 1] (NaN included).
    """
    _check(label, probabilities, classes)
    prediction = probabilities.argmax(axis=1) if called is None else called
    matrix = confusion(label, prediction, len(classes))
    figures = {
        names.ACCURACY: intervals.proportion(int(np.trace(matrix)), len(label)),
        names.BALANCED_ACCURACY: balanced_accuracy(matrix),
        names.MACRO_F1: macro_f1(label, prediction, len(classes), seed=seed),
    }
    if score is None:
        score = 1.0 - probabilities[:, GOOD_LABEL].astype(np.float64)
    figures |= detection_figures(label != GOOD_LABEL, prediction != GOOD_LABEL, score)
    return figures | _per_class(matrix, classes)


def confusion(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """How often each class (row) was called each class (column).

    Shapes: label and prediction (N,) int in [0, num_classes). Returns (C, C) int64.
    """
    cell = label.astype(np.int64) * num_classes + prediction.astype(np.int64)
    counts = np.bincount(cell, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def balanced_accuracy(matrix: np.ndarray) -> Figure:
    """Mean recall of the classes that have images, from a confusion matrix (C, C)."""
    totals = matrix.sum(axis=1)
    present = totals > 0
    return intervals.mean_of_proportions(np.diag(matrix)[present], totals[present])


def macro_f1(label: np.ndarray, prediction: np.ndarray, num_classes: int, *, seed: int) -> Figure:
    """Mean F1 of the classes that occur in `label` or `prediction`, as scikit-learn averages it.

    The interval encloses two: a stratified bootstrap, which has no width where all are right, and
    the exact limits of each class combined, which do not know that one mistake lowers the F1 of two
    classes. Drawn from known truths, the two cover it in 53% to 95% and 89% to 95% of cases alone,
    and in 94% or more together. Shapes: (N,) int in [0, num_classes), both.
    """

    def statistic(of_label: np.ndarray, of_prediction: np.ndarray) -> float:
        return float(_f1_by_class(confusion(of_label, of_prediction, num_classes)).mean())

    drawn = intervals.bootstrap(statistic, [label, prediction], stratify=label, seed=seed)
    exact_low, exact_high = _f1_limits(confusion(label, prediction, num_classes))
    lows = [exact_low] if drawn.low is None else [exact_low, drawn.low]
    highs = [exact_high] if drawn.high is None else [exact_high, drawn.high]
    low, high = max(0.0, min(lows)), min(1.0, max(highs))
    return Figure(drawn.value, min(low, drawn.value), max(high, drawn.value), drawn.n)


def _f1_by_class(matrix: np.ndarray) -> np.ndarray:
    """F1 of each class that occurs in rows or columns; (C',) with C' <= C."""
    correct = np.diag(matrix)
    occurrences = matrix.sum(axis=0) + matrix.sum(axis=1)
    return 2 * correct[occurrences > 0] / occurrences[occurrences > 0]


def _f1_limits(matrix: np.ndarray) -> tuple[float, float]:
    """Limits of the mean F1 from those of each class.

    J = TP / (TP + FP + FN) is a proportion and F1 = 2J / (1 + J) grows with it, so its limits carry
    over. Source: Lam et al. 2023, "Confidence intervals for the F1 score" (the indirect method).
    """
    correct = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - correct
    correct, union = correct[union > 0], union[union > 0]
    overlap = np.stack([correct / union, *intervals.exact_limits(correct, union)])
    _, low, high = intervals.combine(*(2 * overlap / (1 + overlap)))
    return low, high


def _per_class(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, Figure]:
    totals = {names.RECALL: matrix.sum(axis=1), names.PRECISION: matrix.sum(axis=0)}
    return {
        names.class_metric(metric, classes[i]): intervals.proportion(int(matrix[i, i]), int(n[i]))
        for metric, n in totals.items()
        for i in range(len(classes))
        if n[i]
    }


def _check(label: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    expected = (len(label), len(classes))
    if probabilities.shape != expected or not len(label):
        raise ValueError(
            f"probabilities must be (images, classes) = {expected} with at least one image, "
            f"found {probabilities.shape}"
        )
    if not ((label >= 0) & (label < len(classes))).all():
        raise ValueError(f"labels must lie in 0..{len(classes) - 1}, found {np.unique(label)}")
    outside = np.flatnonzero(~((probabilities >= 0) & (probabilities <= 1.0 + 1e-6)).all(axis=1))
    if len(outside):
        raise ValueError(
            f"probabilities must lie in [0, 1]; {len(outside)} rows do not, the first is "
            f"row {outside[0]}: {probabilities[outside[0]]}"
        )
