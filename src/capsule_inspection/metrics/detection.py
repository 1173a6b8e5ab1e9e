"""Figures of telling defects from good images, for every task that does; pure numpy on arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from capsule_inspection.metrics import intervals, names, resampling, weighted
from capsule_inspection.types import Figure

USUAL_FALSE_ALARM_RATE = 0.05
"""Share of good images rejected at which recall is told, where a run does not ask for another."""


def detection_figures(
    is_defect: np.ndarray, called_defect: np.ndarray, score: np.ndarray
) -> dict[str, Figure]:
    """How well scores part defects from good images, and what the decisions miss and reject.

    A figure that cannot be had is absent: there must be defects to miss, good ones to reject, and
    both for AUROC and average precision. Shapes, all (N,): is_defect and called_defect bool;
    score finite, high for defects.
    """
    figures: dict[str, Figure] = {}
    good = ~is_defect
    if is_defect.any() and good.any():
        figures[names.AUROC] = intervals.auroc(score[good], score[is_defect])
        figures[names.AVERAGE_PRECISION] = intervals.average_precision(is_defect, score)
    if is_defect.any():
        missed = int((is_defect & ~called_defect).sum())
        figures[names.DEFECTS_MISSED] = intervals.proportion(missed, int(is_defect.sum()))
    if good.any():
        rejected = int((good & called_defect).sum())
        figures[names.GOOD_REJECTED] = intervals.proportion(rejected, int(good.sum()))
    return figures


def anomaly_figures(
    is_defect: np.ndarray,
    called_defect: np.ndarray,
    score: np.ndarray,
    *,
    class_names_of_images: np.ndarray,
    false_alarm_rate: float,
    seed: int = 0,
) -> dict[str, Figure]:
    """`detection_figures`, F1 of defects, recall at a false-alarm rate, recall of each class.

    `f1_best` is that of the best threshold for these very images, so it is optimistic. The recall
    at a rate is the best with at most that share of these good images rejected. Both, and F1, need
    defects and good images. The recall of a class is the share that was called what it is: a
    defect, or good.
    Shapes: as there; class_names_of_images (N,) str.
    """
    figures = detection_figures(is_defect, called_defect, score)
    class_name = class_names_of_images
    if is_defect.any() and not is_defect.all():
        once = np.ones((1, len(score)))
        weights = resampling.stratified_weights(is_defect, seed=seed)
        value, drawn = (
            weighted.of_scores(is_defect, score, rows, false_alarm_rate=false_alarm_rate)
            | weighted.of_decisions(is_defect, called_defect, class_name, rows)
            for rows in (once, weights)
        )
        alone = _limits_alone(value, is_defect, called_defect)
        for name, limits in alone.items():
            of_draws = resampling.percentile_limits(drawn[name])
            one = float(value[name][0])
            figures[name] = resampling.enclosing(one, limits, of_draws, n=len(score))
    return figures | _of_classes(is_defect, called_defect, class_name)


def f1_limits(f1: float, n: int) -> resampling.Limits:
    """Limits of an F1 where n images are defects or called so.

    J = TP / (TP + FP + FN) is a proportion and F1 = 2J / (1 + J): see `classification.macro_f1`,
    which also says why a bootstrap alone will not do. Fewer images, such as the defects where the
    false alarms are not known, give wider limits.
    """
    overlap = f1 / (2 - f1)
    limits = intervals.exact_limits(np.array([overlap * n]), np.array([n]))
    low, high = (float(2 * limit[0] / (1 + limit[0])) for limit in limits)
    return low, high


def proportion_limits(value: float, n: int) -> resampling.Limits:
    """Wilson limits of a proportion of n images, which need not be a whole number of them."""
    figure = intervals.proportion(min(value, 1.0) * n, n)
    assert figure.low is not None
    assert figure.high is not None
    return figure.low, figure.high


def _limits_alone(
    value: Mapping[str, np.ndarray], is_defect: np.ndarray, called_defect: np.ndarray
) -> dict[str, resampling.Limits]:
    """Limits that do not lose their width where every image is called what it is."""
    defects, either = int(is_defect.sum()), int((is_defect | called_defect).sum())
    recall = float(value[names.RECALL_AT_RATE][0])
    return {
        names.F1: f1_limits(float(value[names.F1][0]), either),
        names.F1_BEST: f1_limits(float(value[names.F1_BEST][0]), defects),
        names.RECALL_AT_RATE: proportion_limits(recall, defects),
    }


def _of_classes(
    is_defect: np.ndarray, called_defect: np.ndarray, class_name: np.ndarray
) -> dict[str, Figure]:
    right = is_defect == called_defect
    return {
        names.class_metric(names.RECALL, name): intervals.proportion(
            int(right[class_name == name].sum()), int((class_name == name).sum())
        )
        for name in weighted.classes_of(is_defect, class_name)
    }
