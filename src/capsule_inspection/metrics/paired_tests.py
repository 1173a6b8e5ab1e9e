"""Paired tests of two models on the same images, and the sample size that a difference needs.

Two models err on the same hard images, so images are compared in pairs: the intervals of the models
are too wide for their difference. Several seeds count as fractions of an image, never as more
images. statsmodels and scipy are imported when called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.bootstrap import percentile_bootstrap

RESAMPLES = 2000
POWER = 0.8
"""Probability that a test of the required sample size finds the difference."""
PERMUTATIONS = 9999
MIN_DISCORDANT = 6
"""With fewer images on which two models differ, the exact test cannot reach .05: 2 * 0.5**5."""

_MIN_OF_ONE_VALUE = 20
"""Images from which on a bootstrap is believed that they always differ by the same."""


@dataclass(frozen=True)
class PairedDifference:
    """First minus second with its 95% interval; None where there is no interval or p value.

    `test` names the test that gave the p value; `n` is the number of images, or of trainings.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    n: int
    test: str


def proportion_difference(first: np.ndarray, second: np.ndarray) -> PairedDifference:
    """Difference of two proportions of the same images, such as accuracies.

    Exact McNemar test and Newcombe's interval where an image is right or wrong. Of fractions over
    seeds: permutation test and bootstrap over images. Shapes: both (N,) in [0, 1], N >= 1.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    value = float(first.mean() - second.mean())
    if np.isin(np.concatenate([first, second]), (0.0, 1.0)).all():
        table = _contingency_table(first, second)
        _, only_first, only_second, _ = table
        p_value = _mcnemar(only_first, only_second)
        limits = paired_newcombe_interval(*table)
        return PairedDifference(value, *limits, p_value, len(first), "exact McNemar")
    drawn = percentile_bootstrap(
        lambda one, other: float(one.mean() - other.mean()), [first, second], resamples=RESAMPLES
    )
    low, high = drawn or (None, None)
    p_value = _permutation(first - second)
    return PairedDifference(value, low, high, p_value, len(first), "paired permutation")


def balanced_accuracy_difference(
    first: np.ndarray, second: np.ndarray, label: np.ndarray
) -> PairedDifference:
    """Difference of two balanced accuracies on the same images.

    Newcombe's limits within each class, combined by `intervals.mover`; p is the level at which they
    reach zero. A permutation test would not do: where two models err on the same few images of the
    rare classes it takes their recalls there for certain.
    Shapes: first and second (N,) in [0, 1], how far an image is classified correctly; label (N,).
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    of_class = [label == name for name in np.unique(label)]
    tables = [_contingency_table(first[rows], second[rows]) for rows in of_class]
    value, low, high = _combined_limits(tables, intervals.CONFIDENCE)
    limits = max(-1.0, low), min(1.0, high)
    p_value = _level_at_zero(tables, value)
    return PairedDifference(value, *limits, p_value, len(first), "score test by class")


def bootstrap_difference(value: float, drawn: np.ndarray, *, n: int, test: str) -> PairedDifference:
    """A difference with limits and p value from its resamples (R,).

    p is twice the fraction of resamples on the smaller side of zero, one added to each count
    (Davison and Hinkley 1997, 4.4). Where all resamples are alike there are no limits: p is 1 where
    they are zero, and not known where they are not and come of few images, which are alike by
    chance.
    """
    if np.ptp(drawn) == 0:
        alike = abs(value) < 1e-12
        unlike = 2 / (len(drawn) + 1) if n >= _MIN_OF_ONE_VALUE else None
        return PairedDifference(value, None, None, 1.0 if alike else unlike, n, test)
    low, high = np.quantile(drawn, [0.025, 0.975])
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(1.0, 2 * (int(smaller) + 1) / (len(drawn) + 1))
    return PairedDifference(value, float(low), float(high), p_value, n, test)


def corrected_resampled_t_test(
    differences: np.ndarray, *, test_images: float, train_images: float
) -> PairedDifference:
    """Would the difference hold if both were trained again? From one difference a training.

    Trainings on overlapping images are not independent; their variance is inflated by n_test /
    n_train. Source: Nadeau and Bengio 2003, "Inference for the generalization error", section 5.
    Shapes: differences (J,) of paired trainings, J >= 2. Without any variance p is 1 where they are
    all zero, and None where they are not: so few trainings cannot tell.
    """
    from scipy.stats import t

    count = len(differences)
    mean = float(np.mean(differences))
    error = math.sqrt((1 / count + test_images / train_images) * float(np.var(differences, ddof=1)))
    test = "corrected resampled t"
    if error == 0:
        return PairedDifference(mean, None, None, 1.0 if mean == 0 else None, count, test)
    half = float(t.ppf(0.975, count - 1)) * error
    p_value = float(2 * t.sf(abs(mean) / error, count - 1))
    return PairedDifference(mean, mean - half, mean + half, p_value, count, test)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P values adjusted for as many comparisons as there are, by Holm's method; the same length.

    statsmodels' `multipletests` has the same values, but collects garbage in each call.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors)
    return adjusted.clip(max=1.0)


def required_sample_size(
    first: np.ndarray, second: np.ndarray, *, alpha: float = 0.05
) -> int | None:
    """Number of images at which this difference would be significant; None where there is none.

    Source: Connor 1987, for McNemar's test, from the fraction of images on which the two differ; at
    least so many that the exact test could reject at all. Shapes: both (N,) in [0, 1].
    """
    from scipy.stats import norm

    difference = first.astype(np.float64) - second
    delta, discordant = float(difference.mean()), float((difference**2).mean())
    if abs(delta) < 1e-12:
        return None
    z_alpha, z_power = norm.ppf(1 - alpha / 2), norm.ppf(POWER)
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - delta**2)
    return math.ceil(max((spread / delta) ** 2, MIN_DISCORDANT / discordant))


def paired_newcombe_interval(
    both: float,
    only_first: float,
    only_second: float,
    neither: float,
    *,
    confidence: float = intervals.CONFIDENCE,
) -> intervals.Limits:
    """Limits of a difference of paired proportions, from a contingency table of images.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", method 10: Wilson limits of both, with their correlation.
    """
    n = round(both + only_first + only_second + neither)
    first, first_low, first_high = _wilson(min(both + only_first, n), n, confidence)
    second, second_low, second_high = _wilson(min(both + only_second, n), n, confidence)
    phi = _phi(both, only_first, only_second, neither)

    def distance(of_first: float, of_second: float) -> float:
        product = phi * math.prod((of_first, of_second))
        return math.sqrt(max(0.0, of_first**2 - 2 * product + of_second**2))

    value = first - second
    low = value - distance(first - first_low, second_high - second)
    high = value + distance(first_high - first, second - second_low)
    return max(-1.0, low), min(1.0, high)


_Table = tuple[float, float, float, float]
"""How many images both got right, only the first, only the second, neither."""


def _contingency_table(first: np.ndarray, second: np.ndarray) -> _Table:
    """The table of two models; of several seeds the mean over all pairs of a seed of each."""
    return (
        float((first * second).sum()),
        float((first * (1 - second)).sum()),
        float(((1 - first) * second).sum()),
        float(((1 - first) * (1 - second)).sum()),
    )


def _combined_limits(tables: Sequence[_Table], confidence: float) -> tuple[float, float, float]:
    """Mean difference of the classes, and its limits."""
    values = [(table[1] - table[2]) / sum(table) for table in tables]
    limits = [paired_newcombe_interval(*table, confidence=confidence) for table in tables]
    low, high = np.array(limits).T
    return intervals.mover(np.array(values), low, high)


def _level_at_zero(tables: Sequence[_Table], value: float) -> float:
    """The two-sided level at which the limits of a difference touch zero."""
    from scipy.optimize import brentq

    if abs(value) < 1e-12:
        return 1.0

    def beyond_zero(confidence: float) -> float:
        _, low, high = _combined_limits(tables, confidence)
        return low if value > 0 else -high

    highest, lowest = 1 - 1e-9, 1e-6
    if beyond_zero(highest) > 0:
        return 1 - highest
    if beyond_zero(lowest) <= 0:
        return 1.0
    return float(1 - brentq(beyond_zero, lowest, highest))


def _wilson(successes: float, n: int, confidence: float) -> tuple[float, float, float]:
    """A proportion and its limits, which enclose it."""
    low, high = intervals.wilson_limits(successes, n, confidence=confidence)
    value = successes / n
    return value, min(value, max(0.0, low)), max(value, min(1.0, high))


def _phi(both: float, only_first: float, only_second: float, neither: float) -> float:
    """Newcombe's correlation, corrected for continuity where it is positive; 0 at an empty edge."""
    edges = (
        (both + only_first)
        * (only_second + neither)
        * (both + only_second)
        * (only_first + neither)
    )
    if edges == 0:
        return 0.0
    n = both + only_first + only_second + neither
    excess = both * neither - only_first * only_second
    corrected = max(excess - n / 2, 0.0) if excess > 0 else float(excess)
    return corrected / math.sqrt(edges)


def _mcnemar(only_first: float, only_second: float) -> float:
    from statsmodels.stats.contingency_tables import mcnemar

    if only_first + only_second == 0:
        return 1.0
    return min(1.0, float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue))


def _permutation(difference: np.ndarray) -> float:
    """Two-sided p value of a sum of differences, if the two models could change places."""
    from scipy.stats import permutation_test

    differing = difference[difference != 0]
    if len(differing) < 2:  # one image may as well have fallen to the other
        return 1.0
    found = permutation_test(
        (differing, np.zeros(len(differing))),
        lambda first, second, axis: np.sum(first - second, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
