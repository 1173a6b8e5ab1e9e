"""Two models on the same images: how far apart, with what certainty, and how many images it takes.

Images are compared one by one, since two models that see the same photographs err on the same hard
ones: intervals of each by itself say little of their difference. Several seeds count as shares of
an image, never as more images. Thin over statsmodels and scipy, which are imported when called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import intervals
from capsule_inspection.types import Figure

RESAMPLES = 2000
PERMUTATIONS = 9999
FEWEST_DISCORDANT = 6
"""With fewer images on which two models differ, the exact test cannot reach .05: 2 * 0.5**5."""


@dataclass(frozen=True)
class PairedDifference:
    """First minus second with its 95% interval; None where there is no interval or p value.

    `test` is what gave the p value, in words; `n` is the number of images, or of trainings.
    """

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    n: int
    test: str


def proportion_difference(first: np.ndarray, second: np.ndarray) -> PairedDifference:
    """Difference of two proportions of the same images, such as accuracies.

    Exact McNemar test and Newcombe's interval where an image is right or wrong. Where shares of
    seeds are given: permutation test and bootstrap over images.
    Shapes: both (N,) in [0, 1]. Raises ValueError where shapes differ, N is 0 or a value lies
    outside.
    """
    first, second = _checked(first, second)
    value = float(first.mean() - second.mean())
    if _is_binary(first, second):
        both, only_first, only_second, neither = _table(first, second)
        low, high = newcombe_limits(both, only_first, only_second, neither)
        p_value, test = _mcnemar(only_first, only_second), "exact McNemar"
        return PairedDifference(value, low, high, p_value, len(first), test)
    drawn = intervals.bootstrap(_mean_difference, [first, second], resamples=RESAMPLES)
    p_value = _permutation(first - second)
    return PairedDifference(value, drawn.low, drawn.high, p_value, len(first), "paired permutation")


def mean_recall_difference(
    first: np.ndarray, second: np.ndarray, label: np.ndarray
) -> PairedDifference:
    """Difference of two balanced accuracies on the same images.

    Newcombe's limits within each class, combined by their distances (MOVER: Zou and Donner 2008);
    p is the level at which they reach zero. A permutation test would not do: where two models err
    on the same few images of the rare classes it takes their recalls there for certain.
    Shapes: first and second (N,) in [0, 1], how far an image was named correctly; label (N,) int.
    Raises ValueError as `proportion_difference` does.
    """
    first, second = _checked(first, second)
    of_class = [label == name for name in np.unique(label)]
    tables = [_table(first[rows], second[rows]) for rows in of_class]
    value, low, high = _combined_limits(tables, 0.95)
    p_value = _level_at_zero(tables, value)
    return PairedDifference(
        value, max(-1.0, low), min(1.0, high), p_value, len(first), "score test by class"
    )


Counts = tuple[float, float, float, float]
"""How many images both got right, only the first, only the second, neither."""


def _combined_limits(tables: Sequence[Counts], confidence: float) -> tuple[float, float, float]:
    """Mean difference of the classes, and its limits."""
    values = [(only_first - only_second) / (both + only_first + only_second + neither)
              for both, only_first, only_second, neither in tables]  # fmt: skip
    limits = [newcombe_limits(*table, confidence=confidence) for table in tables]
    low, high = zip(*limits, strict=True)
    return intervals.combine(np.array(values), np.array(low), np.array(high))


def _level_at_zero(tables: Sequence[Counts], value: float) -> float:
    """The two-sided level at which the limits of a difference touch zero."""
    from scipy.optimize import brentq

    if abs(value) < 1e-12:
        return 1.0

    def beyond_zero(confidence: float) -> float:
        _, low, high = _combined_limits(tables, confidence)
        return low if value > 0 else -high

    surest, least = 1 - 1e-9, 1e-6
    if beyond_zero(surest) > 0:
        return 1 - surest
    if beyond_zero(least) <= 0:
        return 1.0
    return float(1 - brentq(beyond_zero, least, surest))


def auroc_difference(
    first: np.ndarray, second: np.ndarray, is_defect: np.ndarray, *, seed: int = 0
) -> PairedDifference:
    """Difference of two areas under the ROC curve on the same images, mean over seeds.

    Paired bootstrap over images, good ones and defects each for themselves; p is twice the share of
    resamples on the smaller side of zero, one added to each count (Davison and Hinkley 1997, 4.4).
    Shapes: first (S1, N) and second (S2, N) scores, high for defects; is_defect (N,) bool.
    Raises ValueError where one side is missing.
    """
    good, defect = np.flatnonzero(~is_defect), np.flatnonzero(is_defect)
    if not len(good) or not len(defect):
        raise ValueError(f"both sides are needed, found {len(good)} good, {len(defect)} defects")
    wins = _wins(first, good, defect) - _wins(second, good, defect)
    value = float(wins.mean())
    generator = np.random.default_rng(seed)
    good_weight = generator.multinomial(len(good), np.full(len(good), 1 / len(good)), RESAMPLES)
    defect_weight = generator.multinomial(
        len(defect), np.full(len(defect), 1 / len(defect)), RESAMPLES
    )
    drawn = np.einsum("rd,dg,rg->r", defect_weight, wins, good_weight, optimize=True) / wins.size
    return bootstrap_difference(value, drawn, n=len(is_defect), test="paired bootstrap")


_FEWEST_OF_ONE_VALUE = 20
"""Images of which a bootstrap believes that they always differ by the same."""


def bootstrap_difference(value: float, drawn: np.ndarray, *, n: int, test: str) -> PairedDifference:
    """A difference with limits and p value from its resamples (R,), as `auroc_difference` says.

    Where all resamples are alike there are no limits: p is 1 where they are zero, and not known
    where they are not and come of few images, which are alike by chance.
    """
    if np.ptp(drawn) == 0:
        alike = abs(value) < 1e-12
        unlike = 2 / (len(drawn) + 1) if n >= _FEWEST_OF_ONE_VALUE else None
        return PairedDifference(value, None, None, 1.0 if alike else unlike, n, test)
    low, high = np.quantile(drawn, [0.025, 0.975])
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(1.0, 2 * (int(smaller) + 1) / (len(drawn) + 1))
    return PairedDifference(value, float(low), float(high), p_value, n, test)


def _wins(scores: np.ndarray, good: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """How often each defect scores above each good image, ties half, mean over seeds: (D, G)."""
    above = [np.sign(row[defect][:, None] - row[good][None, :]) for row in np.atleast_2d(scores)]
    return (np.mean(above, axis=0) + 1) / 2


def holm(p_values: Sequence[float]) -> np.ndarray:
    """P values for as many comparisons as there are, by Holm's method. Returns the same length."""
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(list(p_values), method="holm")[1])


def images_needed(
    first: np.ndarray, second: np.ndarray, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """How many images would show a difference as large as this one, None where there is none.

    Source: Connor 1987, for McNemar's test, from the shares of images on which the two differ; at
    least so many that the exact test could reject at all. Shapes: both (N,) in [0, 1].
    """
    from scipy.stats import norm

    first, second = _checked(first, second)
    difference = first - second
    delta, discordant = float(difference.mean()), float((difference**2).mean())
    if abs(delta) < 1e-12:
        return None
    z_alpha, z_power = norm.ppf(1 - alpha / 2), norm.ppf(power)
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - delta**2)
    return math.ceil(max((spread / delta) ** 2, FEWEST_DISCORDANT / discordant))


def corrected_resampled_t(
    differences: np.ndarray, *, test_images: float, train_images: float
) -> PairedDifference:
    """Would the difference hold if both were trained anew? From one difference a training.

    Trainings on overlapping images are not independent; their variance is inflated by n_test /
    n_train. Source: Nadeau and Bengio 2003, "Inference for the generalization error", section 5.
    Shapes: differences (J,) of paired trainings. Without any variance p is 1 where they are all
    zero, and None where they are not: so few trainings cannot tell. Raises ValueError where J < 2.
    """
    from scipy.stats import t

    count = len(differences)
    if count < 2:
        raise ValueError(f"at least 2 trainings are needed, found {count}")
    mean = float(np.mean(differences))
    error = math.sqrt((1 / count + test_images / train_images) * float(np.var(differences, ddof=1)))
    test = "corrected resampled t"
    if error == 0:
        return PairedDifference(mean, None, None, 1.0 if mean == 0 else None, count, test)
    half = float(t.ppf(0.975, count - 1)) * error
    p_value = float(2 * t.sf(abs(mean) / error, count - 1))
    return PairedDifference(mean, mean - half, mean + half, p_value, count, test)


def newcombe_limits(
    both: float,
    only_first: float,
    only_second: float,
    neither: float,
    *,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Limits of a difference of paired proportions, from how many images fell where.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", method 10: Wilson limits of both, with their correlation.
    """
    n = round(both + only_first + only_second + neither)
    one: Figure = intervals.proportion(min(both + only_first, n), n, confidence=confidence)
    two: Figure = intervals.proportion(min(both + only_second, n), n, confidence=confidence)
    assert one.low is not None
    assert one.high is not None
    assert two.low is not None
    assert two.high is not None
    phi = _phi(both, only_first, only_second, neither)
    below, above = (
        (one.value - one.low, two.high - two.value),
        (
            one.high - one.value,
            two.value - two.low,
        ),
    )
    value = one.value - two.value
    low = value - math.sqrt(max(0.0, below[0] ** 2 - 2 * phi * math.prod(below) + below[1] ** 2))
    high = value + math.sqrt(max(0.0, above[0] ** 2 - 2 * phi * math.prod(above) + above[1] ** 2))
    return max(-1.0, low), min(1.0, high)


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


def _mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(first.mean() - second.mean())


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


def _table(first: np.ndarray, second: np.ndarray) -> Counts:
    """How many images both got right, only the first, only the second, neither.

    Of several seeds: the mean over all pairs of a seed of the one and a seed of the other.
    """
    return (
        float((first * second).sum()),
        float((first * (1 - second)).sum()),
        float(((1 - first) * second).sum()),
        float(((1 - first) * (1 - second)).sum()),
    )


def _is_binary(*arrays: np.ndarray) -> bool:
    return all(bool(np.isin(array, (0.0, 1.0)).all()) for array in arrays)


def _checked(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"two arrays of one length needed, found {first.shape}, {second.shape}")
    values = np.concatenate([first, second])
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("shares must lie in [0, 1], and be numbers")
    return first.astype(np.float64), second.astype(np.float64)
