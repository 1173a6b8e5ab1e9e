"""Metrics of defect detection, on one set of images and as the mean of folds.

Scores of different models have different scales, so folds are never pooled. Images of one group are
one observation, and folds that test the same images do not make more of them: intervals draw
groups, those of good images and of defects each for themselves, in all of their folds together. In
weights (R, N) each row is one resample, and a row of ones gives the metrics themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import bootstrap, intervals, names
from capsule_inspection.types import Costs, Estimate

DEFAULT_TARGET_FPR = 0.05
"""False positive rate of `tpr_at_fpr` where a run has no rate of its own."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class FoldPredictions:
    """The predictions of one fold's model for its test images.

    Shapes, all (N,): is_defect and predicted_defect bool; score finite, high for defects;
    class_name str; group str, the same for the same image in every fold, such as its SHA-256.
    """

    is_defect: np.ndarray
    predicted_defect: np.ndarray
    score: np.ndarray
    class_name: np.ndarray
    group: np.ndarray


def detection_metrics(
    is_defect: np.ndarray,
    predicted_defect: np.ndarray,
    score: np.ndarray,
    *,
    group: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """AUROC and average precision of the scores, error rates of the predictions.

    A metric that is undefined is absent: each error rate needs its side, AUROC and average
    precision need both. Shapes, all (N,): is_defect and predicted_defect bool; score finite, high
    for defects; group of names or numbers, without which each image stands for itself.
    """
    group = intervals.group_numbers(group, len(score))
    metrics: dict[str, Estimate] = {}
    good = ~is_defect
    if is_defect.any() and good.any():
        groups = group[good], group[is_defect]
        metrics[names.AUROC] = intervals.auroc(score[good], score[is_defect], groups=groups)
        metrics[names.AVERAGE_PRECISION] = intervals.average_precision(
            is_defect, score, group=group
        )
    wrong = is_defect != predicted_defect
    sides = {names.FALSE_NEGATIVE_RATE: is_defect, names.FALSE_POSITIVE_RATE: good}
    return metrics | {
        name: intervals.proportion(int(wrong[side].sum()), int(side.sum()), group=group[side])
        for name, side in sides.items()
        if side.any()
    }


def anomaly_metrics(
    is_defect: np.ndarray,
    predicted_defect: np.ndarray,
    score: np.ndarray,
    *,
    class_names: np.ndarray,
    target_fpr: float,
    seed: int = 0,
    group: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """`detection_metrics`, F1 of defects, TPR at a target FPR, recall of each class.

    `f1_max` is F1 at the best threshold for these images, so it is optimistic. `tpr_at_fpr` is the
    best recall with at most that fraction of these good images rejected. These and F1 need defects
    and good images. The recall of a class is the fraction of its images that are correctly
    predicted as defects or as good. Shapes: as there; class_names (N,) str.
    """
    group = intervals.group_numbers(group, len(score))
    metrics = detection_metrics(is_defect, predicted_defect, score, group=group)
    if is_defect.any() and not is_defect.all():
        weights = _with_observed(bootstrap.stratified_weights(is_defect, seed=seed, group=group))
        drawn = score_metrics(is_defect, score, weights, target_fpr=target_fpr)
        drawn |= decision_metrics(is_defect, predicted_defect, class_names, weights)
        either = is_defect | predicted_defect
        counted = {names.F1: either, names.F1_MAX: is_defect, names.TPR_AT_FPR: is_defect}
        for name, rows in counted.items():
            value = float(drawn[name][0])
            of_draws = bootstrap.percentile_limits(drawn[name][1:])
            closed_form = _limits(name, value, group[rows])
            n = intervals.num_groups(group)
            metrics[name] = intervals.estimate(value, closed_form, of_draws, n=n)
    right = is_defect == predicted_defect
    for name in _sorted_classes(is_defect, class_names):
        rows = class_names == name
        key = names.class_metric(names.RECALL, name)
        metrics[key] = intervals.proportion(
            int(right[rows].sum()), int(rows.sum()), group=group[rows]
        )
    return metrics


def mean_anomaly_metrics(
    folds: Sequence[FoldPredictions], *, target_fpr: float, seed: int = 0
) -> dict[str, Estimate]:
    """Mean over folds of the `anomaly_metrics` of each.

    A fold without a metric does not count towards its mean. Intervals enclose a bootstrap over
    groups and, except for AUROC, the closed-form interval for their number: with the bootstrap
    alone, one missed defect could have a narrower interval than none. An estimate's n is the number
    of its groups.
    """
    if not folds:
        return {}
    groups, is_defect = [fold.group for fold in folds], [fold.is_defect for fold in folds]
    weights = bootstrap.clustered_weights(groups, is_defect, seed=seed)
    of_folds = [
        _fold_metrics(fold, _with_observed(rows), target_fpr)
        for fold, rows in zip(folds, weights, strict=True)
    ]
    metrics = {}
    for name in dict.fromkeys(name for fold in of_folds for name in fold):
        drawn = bootstrap.mean_of_folds([fold[name] for fold in of_folds if name in fold])
        value = float(drawn[0])
        if np.isfinite(value):
            group = _groups(name, folds)
            of_draws = bootstrap.percentile_limits(drawn[1:])
            if name == names.AUROC:  # others have a closed form, which is as wide as it should be
                of_draws = bootstrap.widen(of_draws, value, *_sides(folds))
            closed_form = _limits_of_folds(name, value, folds)
            n = intervals.num_groups(group)
            metrics[name] = intervals.estimate(value, closed_form, of_draws, n=n)
    return metrics


def expected_cost(
    false_negative_rate: Estimate,
    false_positive_rate: Estimate,
    *,
    costs: Costs,
    defect_rate: float,
) -> Estimate:
    """Mean cost of a part, in the unit of the costs, at this fraction of defects among the parts.

    The interval combines those of the rates, which both must have; n is the sum of theirs.
    """
    weights = costs.false_negative * defect_rate, costs.false_positive * (1 - defect_rate)
    rates = false_negative_rate, false_positive_rate
    limits = np.array([(rate.value, rate.ci_low, rate.ci_high) for rate in rates], np.float64)
    value, low, high = np.multiply(2, intervals.mover(*(np.array(weights) * limits.T)))
    return Estimate(float(value), float(low), float(high), sum(rate.n for rate in rates))


def score_metrics(
    is_defect: np.ndarray, score: np.ndarray, weights: np.ndarray, *, target_fpr: float
) -> dict[str, np.ndarray]:
    """Metrics that need no threshold: (R,) each, NaN where a side is not drawn.

    Shapes: is_defect (N,) bool; score (N,); weights (R, N).
    """
    true_positives, false_positives = _cumulative_counts(is_defect, score, weights)
    defects, good = true_positives[:, -1:], false_positives[:, -1:]
    allowed = np.floor(target_fpr * good + _ROUNDING)
    positives = true_positives + false_positives
    precision = np.divide(
        true_positives, positives, out=np.zeros_like(positives), where=positives > 0
    )
    with np.errstate(invalid="ignore"):
        tpr, fpr = true_positives / defects, false_positives / good
        return {
            names.AUROC: area_under_curve(fpr, tpr),
            names.AVERAGE_PRECISION: (np.diff(tpr) * precision[:, 1:]).sum(axis=1),
            names.F1_MAX: (2 * true_positives / (positives + defects)).max(axis=1),
            names.TPR_AT_FPR: np.where(false_positives <= allowed, tpr, 0.0).max(axis=1),
        }


def decision_metrics(
    is_defect: np.ndarray, predicted_defect: np.ndarray, class_name: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Error rates, F1 and recalls of predictions: (R,) each, NaN where the denominator is 0.

    Shapes: is_defect and predicted_defect (N,) bool; class_name (N,) str; weights (R, N).
    """
    right = is_defect == predicted_defect
    found = weights @ (is_defect & predicted_defect)
    positives = weights @ predicted_defect + weights @ is_defect
    with np.errstate(invalid="ignore"):
        metrics = {
            names.FALSE_NEGATIVE_RATE: _fraction(~right, is_defect, weights),
            names.FALSE_POSITIVE_RATE: _fraction(~right, ~is_defect, weights),
            names.F1: 2 * found / positives,
        }
        for name in _sorted_classes(is_defect, class_name):
            key = names.class_metric(names.RECALL, name)
            metrics[key] = _fraction(right, class_name == name, weights)
    return metrics


def area_under_curve(x: np.ndarray, y: np.ndarray, *, limit: float = 1.0) -> np.ndarray:
    """Area below lines through points, up to x = limit, where the line is cut.

    scikit-learn's has one curve and no limit. Shapes: x and y (..., P), x rising from 0. Returns
    (...).
    """
    width, clipped = np.diff(x), np.diff(np.minimum(x, limit))
    slope = np.divide(np.diff(y), width, out=np.zeros_like(width), where=width > 0)
    return (clipped * (y[..., :-1] + slope * clipped / 2)).sum(axis=-1)


def _with_observed(weights: np.ndarray) -> np.ndarray:
    """The weights (R, N) below a row of ones, which gives the observed metrics."""
    return np.concatenate([np.ones((1, weights.shape[1])), weights])


def _fold_metrics(
    fold: FoldPredictions, weights: np.ndarray, target_fpr: float
) -> dict[str, np.ndarray]:
    """All metrics of one fold (R,), for weights (R, N)."""
    metrics = decision_metrics(fold.is_defect, fold.predicted_defect, fold.class_name, weights)
    if fold.is_defect.all() or not fold.is_defect.any():
        del metrics[names.F1]
        return metrics
    return metrics | score_metrics(fold.is_defect, fold.score, weights, target_fpr=target_fpr)


def _limits(name: str, value: float, group: np.ndarray) -> intervals.Limits:
    """Closed-form limits, which keep their width where every prediction is right."""
    n = intervals.effective_size(group)
    if name in (names.F1, names.F1_MAX):
        return intervals.f1_limits(value, n)
    return intervals.wilson_limits(min(value, 1.0) * n, n)


def _limits_of_folds(
    name: str, value: float, folds: Sequence[FoldPredictions]
) -> intervals.Limits | None:
    """Limits from the number of groups; of an AUROC only where it is perfect."""
    good, defects = _sides(folds)
    if name == names.AUROC:
        if value <= 1 - 1e-12:
            return None
        sizes = map(intervals.effective_size, (good, defects))
        return intervals.auroc_limits(1.0, *sizes)
    if name in (names.F1, names.F1_MAX, names.AVERAGE_PRECISION, names.TPR_AT_FPR):
        return _limits(name, value, defects)
    return _limits(name, value, _groups(name, folds))


def _sides(folds: Sequence[FoldPredictions]) -> tuple[np.ndarray, np.ndarray]:
    """Groups of the good images, and of the defects, of all folds."""
    return _groups(names.FALSE_POSITIVE_RATE, folds), _groups(names.FALSE_NEGATIVE_RATE, folds)


def _groups(name: str, folds: Sequence[FoldPredictions]) -> np.ndarray:
    """Groups of the images of all folds on which a metric stands."""
    return np.concatenate([fold.group[_rows(name, fold)] for fold in folds])


def _rows(name: str, fold: FoldPredictions) -> np.ndarray:
    prefix = names.class_metric(names.RECALL, "")
    if name.startswith(prefix):
        return fold.class_name == name.removeprefix(prefix)
    sides = {
        names.FALSE_POSITIVE_RATE: ~fold.is_defect,
        names.FALSE_NEGATIVE_RATE: fold.is_defect,
    }
    return sides.get(name, np.ones(len(fold.score), dtype=bool))


def _sorted_classes(is_defect: np.ndarray, class_name: np.ndarray) -> list[str]:
    """Names of the classes that have images: good ones, then defects by their names."""
    of_sides = [np.unique(class_name[~is_defect]), np.unique(class_name[is_defect])]
    return list(dict.fromkeys(str(name) for name in np.concatenate(of_sides)))


def _cumulative_counts(
    is_defect: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Defects and good images above each threshold, from none to all: (R, L + 1) both."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    sides = np.zeros((2, len(weights), len(ends) + 1))
    for side, of_side in zip(sides, (is_defect, ~is_defect), strict=True):
        side[:, 1:] = np.cumsum((weights * of_side)[:, order], axis=1)[:, ends]
    return sides[0], sides[1]


def _fraction(chosen: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights @ (chosen & among)) / (weights @ among)
