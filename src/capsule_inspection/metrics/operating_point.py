"""Operating point of a classifier: the threshold of the probability of any defect.

Chosen on validation images, by balanced error or by expected cost. Pure numpy.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from capsule_inspection.metrics.intervals import effective_size
from capsule_inspection.metrics.names import EXPECTED_COST
from capsule_inspection.metrics.thresholds import OPERATING_POINT, Threshold, finite_scores
from capsule_inspection.types import Costs

BALANCED_ERROR = "balanced_error"
"""Criterion without costs; with costs it is `EXPECTED_COST`."""


def operating_point(
    is_defect: np.ndarray,
    score: np.ndarray,
    groups: np.ndarray,
    *,
    prior: float,
    costs: Costs | None = None,
) -> Threshold:
    """Threshold of the probability of any defect, chosen on validation images.

    By expected cost per part where costs are given, else by balanced error, (missed defects +
    rejected good images) / 2. With few images the lowest value is a matter of chance. So of all
    thresholds whose criterion is within one standard error of the lowest, the one nearest to the
    default is taken (as Breiman et al. 1984 choose the size of a tree). The default minimises the
    criterion if the probabilities are right: `prior` is the fraction of defects that they assume.
    Without good images or without defects it is the threshold, and `enough` is false.

    Thresholds lie halfway between neighbouring scores. Images of one group are one observation in
    the standard error. Shapes: is_defect (N,) bool; score (N,) in [0, 1]; groups (N,) str. Raises
    ValueError where a score is not finite or the prior not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise ValueError(f"the prior must be between 0 and 1, found {prior}")
    defects, good = int(is_defect.sum()), int((~is_defect).sum())
    rate = None
    if costs is not None:
        rate = costs.defect_rate or (defects / (defects + good) if defects and good else prior)
    weights = _criterion_weights(costs, rate)
    default = _bayes_threshold(weights, prior)
    threshold = Threshold(
        value=default,
        rule=OPERATING_POINT,
        good_images=good,
        defect_images=defects,
        enough=bool(defects and good),
        criterion=BALANCED_ERROR if costs is None else EXPECTED_COST,
        default=default,
        defect_rate=rate,
    )
    if not threshold.enough:
        return threshold
    scores = finite_scores(score, fewest=2)
    level = np.concatenate([[0.0], np.unique(scores), [1.0]])
    candidates = np.append(level[:-1] / 2 + level[1:] / 2, default)
    sides = (is_defect, ~is_defect)
    missed = _fraction_up_to(candidates, scores[is_defect])
    rejected = 1 - _fraction_up_to(candidates, scores[~is_defect])
    criterion = weights[0] * missed + weights[1] * rejected
    distance = np.abs(candidates - default)
    best = np.lexsort((distance, criterion))[0]
    error = math.hypot(
        *(
            weight * _standard_error(float(rates[best]), groups[side])
            for weight, rates, side in zip(weights, (missed, rejected), sides, strict=True)
        )
    )
    allowed = criterion <= criterion[best] + error + 1e-9 * sum(weights)  # rounding
    chosen = int(np.argmin(np.where(allowed, distance, np.inf)))
    return dataclasses.replace(
        threshold,
        value=float(candidates[chosen]),
        criterion_value=float(criterion[chosen]),
        best=float(criterion[best]),
        standard_error=error,
    )


def _criterion_weights(costs: Costs | None, rate: float | None) -> tuple[float, float]:
    """Weights of the fractions of missed defects and of rejected good images."""
    if costs is None or rate is None:
        return 0.5, 0.5
    return costs.false_negative * rate, costs.false_positive * (1 - rate)


def _bayes_threshold(weights: tuple[float, float], prior: float) -> float:
    """Probability from which on rejecting is better, of probabilities that assume a prior.

    With p the probability and q the prior, the likelihood ratio is p (1 - q) / ((1 - p) q), and a
    part is rejected where this exceeds the ratio of the weights.
    """
    of_defects, of_good = weights
    return prior * of_good / (prior * of_good + (1 - prior) * of_defects)


def _fraction_up_to(thresholds: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Fraction of the scores that do not exceed each threshold."""
    return np.searchsorted(np.sort(scores), thresholds, side="right") / len(scores)


def _standard_error(fraction: float, groups: np.ndarray) -> float:
    """Standard error of a fraction; two made-up observations keep it above 0 where all are right.

    Source of the latter: Agresti and Coull 1998.
    """
    count = effective_size(groups)
    smoothed = (fraction * count + 1) / (count + 2)
    return math.sqrt(smoothed * (1 - smoothed) / count)
