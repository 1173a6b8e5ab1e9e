"""Differences of two models on the same images: intervals, tests and sample sizes.

Every difference of means over images is judged by one score test (`PairedScore`), areas under ROC
curves by its variant with a fixed variance. The interval inverts the test, so it excludes zero
exactly where p < .05. Images of one group are one observation. Several seeds count as fractions of
an image, never as more images. scipy is imported when called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from capsule_inspection.metrics.intervals import CONFIDENCE, Limits, wilson_limits
from capsule_inspection.types import Costs

RESAMPLES = 2000
POWER = 0.8
"""Probability that a test of the required sample size finds the difference."""

SCORE_TEST = "score test"
_PSEUDO = 0.5
"""Differing images that are added, see `PairedScore`."""
_MIN_OF_ONE_VALUE = 20
"""Images from which on a bootstrap is believed that they always differ by the same."""
_ZERO = 1e-12
"""Smaller differences are rounding errors."""


@dataclass(frozen=True)
class PairedScore:
    """Score test of a difference of two means, as a sum over groups of images.

    A group has the contribution D_g and the weight E_g; if the difference is truly delta, its
    variance is the sum of (D_g - delta E_g)^2. At delta = 0, with one image a group, this is
    McNemar's statistic; for groups it is that of Durkalski et al. 2003. To the variance half a
    differing image is added in each stratum where the models never differ, since a class of three
    images without a difference may hide one; and at least half a one of mean weight. The variance
    is at least that of outcomes in {-1, 0, 1} with this mean.

    `squares`, `products` and `weights` are the sums of D^2, DE and E^2; `pseudo` is what is added.
    With `weights` 0 the variance is the same for every delta: Wald's test.
    `variance_limits` are 95% limits of the variance at delta = 0, where known.
    """

    value: float
    squares: float
    products: float
    weights: float
    pseudo: float
    variance_limits: Limits | None

    def variance(self, delta: float) -> float:
        """Variance of the difference if it is truly `delta`."""
        found = self.squares - 2 * delta * self.products + delta**2 * self.weights
        least = abs(delta) * (1 - abs(delta)) * self.weights
        return max(found, least) + self.pseudo

    def statistic(self, delta: float) -> float:
        """Standard normal if the difference is truly `delta`."""
        distance = self.value - delta
        return 0.0 if abs(distance) < _ZERO else distance / math.sqrt(self.variance(delta))

    def p_value(self) -> float:
        """Two-sided p value of no difference."""
        from scipy.special import ndtr

        return float(2 * ndtr(-abs(self.statistic(0.0))))

    def interval(self, confidence: float = CONFIDENCE) -> Limits:
        """The differences that the test does not reject, within [-1, 1]."""
        from scipy.optimize import brentq
        from scipy.special import ndtri

        z = float(ndtri(0.5 + confidence / 2))

        def excess(delta: float) -> float:
            return abs(self.value - delta) - z * math.sqrt(self.variance(delta))

        low, high = (
            end if excess(end) <= 0 else float(brentq(excess, *sorted((self.value, end))))
            for end in (-1.0, 1.0)
        )
        return low, high


@dataclass(frozen=True)
class PairedDifference:
    """First minus second with its 95% interval; None where there is no interval or p value.

    `test` names the test that gave the p value. `n` is the number of images, or of trainings, and
    `n_groups` that of independent ones.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    n: int
    test: str
    n_groups: int | None = None
    score: PairedScore | None = None
    scale: float = 1.0
    """What the value of `score` is multiplied with, such as a cost; margins are not."""

    def interval(self, confidence: float) -> Limits | None:
        """The interval at another confidence; of a bootstrap, that of 95% rescaled."""
        if self.score is not None:
            low, high = self.score.interval(confidence)
            return self.scale * low, self.scale * high
        if self.ci_low is None or self.ci_high is None:
            return None
        from scipy.special import ndtri

        wider = float(ndtri(0.5 + confidence / 2) / ndtri(0.5 + CONFIDENCE / 2))
        low = self.value + wider * (self.ci_low - self.value)
        return low, self.value + wider * (self.ci_high - self.value)

    def is_below(self, margin: float, *, alpha: float = 0.05) -> bool:
        """Whether the true difference is shown to be below a margin, by a one-sided test."""
        from scipy.special import ndtri

        if self.score is not None:
            return self.score.statistic(margin) < float(ndtri(alpha))
        limits = self.interval(1 - 2 * alpha)
        return limits is not None and limits[1] < margin

    def mirrored(self) -> PairedDifference:
        """Second minus first."""
        score = self.score and replace(
            self.score, value=-self.score.value, products=-self.score.products
        )
        low, high = self.ci_low, self.ci_high
        return replace(
            self,
            value=-self.value,
            ci_low=None if high is None else -high,
            ci_high=None if low is None else -low,
            score=score,
        )

    def scaled(self, factor: float) -> PairedDifference:
        """The difference in another unit."""
        return replace(
            self,
            value=factor * self.value,
            ci_low=None if self.ci_low is None else factor * self.ci_low,
            ci_high=None if self.ci_high is None else factor * self.ci_high,
            scale=factor * self.scale,
        )

    def is_equivalent(self, margin: float, *, alpha: float = 0.05) -> bool:
        """Whether the true difference is shown to lie within the margin: two one-sided tests."""
        return self.is_below(margin, alpha=alpha) and self.mirrored().is_below(margin, alpha=alpha)


def mean_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    group: np.ndarray,
    stratum: np.ndarray | None = None,
    stratum_weights: Sequence[float] | None = None,
) -> PairedDifference:
    """Difference of two means over the same images, such as two accuracies.

    With `stratum` the mean of the means of the strata: with the label as stratum, and what is right
    as values, it is the difference of two balanced accuracies. `stratum_weights` are other weights
    of the strata, in their sorted order; they sum to 1.
    Shapes: first and second (N,) in [0, 1]; group and stratum (N,), N >= 1.
    """
    values = first.astype(np.float64) - second.astype(np.float64)
    of = np.zeros(len(values), dtype=np.int64) if stratum is None else stratum
    row = np.unique(of, return_inverse=True)[1]
    sizes = np.bincount(row)
    fraction = 1 / len(sizes) if stratum_weights is None else np.asarray(stratum_weights)
    weight = (fraction / sizes)[row]
    return score_difference(
        weight * values,
        weight,
        group=group,
        stratum=row,
        equal_strata=stratum_weights is None,
    )


def cost_difference(
    first: np.ndarray, second: np.ndarray, *, is_defect: np.ndarray, group: np.ndarray, costs: Costs
) -> PairedDifference:
    """Difference of two expected costs of a part, of models that are wrong about these images.

    Shapes: first and second (N,) in [0, 1], how often each is wrong; is_defect (N,) bool, with both
    good images and defects; group (N,).
    """
    rate = float(is_defect.mean()) if costs.defect_rate is None else costs.defect_rate
    of_sides = np.array([costs.false_positive * (1 - rate), costs.false_negative * rate])
    scale = float(of_sides.sum())
    relative = mean_difference(
        first, second, group=group, stratum=is_defect, stratum_weights=(of_sides / scale).tolist()
    )
    return relative.scaled(scale)


def score_difference(
    contribution: np.ndarray,
    weight: np.ndarray,
    *,
    group: np.ndarray,
    stratum: np.ndarray,
    equal_strata: bool = True,
) -> PairedDifference:
    """A difference of means judged by `PairedScore`, from contribution and weight of each image.

    Without `equal_strata` a whole differing image is added in each stratum: where few missed
    defects of high cost stand against many rejected good images, a test with half a one finds a
    difference between equal costs in up to 10% of the cases, with a whole one in 5%.
    Shapes: all (N,); the contributions sum to the difference, the weights to 1.
    """
    groups, row = np.unique(group, return_inverse=True)
    of_group, weight_of_group = (np.bincount(row, weights=of) for of in (contribution, weight))
    squares, weights = float((of_group**2).sum()), float((weight_of_group**2).sum())
    of_all = of_alike = 0.0
    for name in np.unique(stratum):
        in_stratum = stratum == name
        each = np.bincount(row[in_stratum], weights=weight[in_stratum])
        mean_square = float((each**2).sum() / max(1, (each > 0).sum()))
        of_all += mean_square
        of_alike += mean_square * bool((np.abs(contribution[in_stratum]) < _ZERO).all())
    effective = 1 / weights
    differing = wilson_limits(min(1.0, squares / weights) * effective, effective)
    value = float(contribution.sum())
    score = PairedScore(
        value=0.0 if abs(value) < _ZERO else value,
        squares=squares,
        products=float((of_group * weight_of_group).sum()),
        weights=weights,
        pseudo=_PSEUDO * max(of_alike, weights / len(groups)) if equal_strata else of_all,
        variance_limits=(differing[0] * weights, differing[1] * weights),
    )
    return with_score(score, n=len(group), n_groups=len(groups), test=SCORE_TEST)


def with_score(score: PairedScore, *, n: int, n_groups: int, test: str) -> PairedDifference:
    """The difference with the interval and the p value of its score test."""
    low, high = score.interval()
    return PairedDifference(score.value, low, high, score.p_value(), n, test, n_groups, score)


def required_sample_size(
    difference: PairedDifference, margin: float, *, alpha: float = 0.05
) -> tuple[int, int] | None:
    """Numbers of images, from least to most, at which a true difference of `margin` would be found.

    With a power of 80%, for images like these. It is a range, since the variance is known from
    these images only: its 95% limits. None where there is no score test.
    """
    from scipy.special import ndtri

    if difference.score is None or difference.score.variance_limits is None:
        return None
    wanted = float(ndtri(1 - alpha / 2) + ndtri(POWER)) ** 2 / margin**2
    least = margin * difference.score.weights
    low, high = (
        math.ceil(difference.n * wanted * max(limit, least))
        for limit in difference.score.variance_limits
    )
    return low, high


def bootstrap_difference(
    value: float, drawn: np.ndarray, *, n: int, test: str, n_groups: int | None = None
) -> PairedDifference:
    """A difference with limits and p value from its resamples (R,).

    p is twice the fraction of resamples on the smaller side of zero, one added to each count
    (Davison and Hinkley 1997, 4.4). Where all resamples are alike there are no limits: p is 1 where
    they are zero, and not known where they are not and come of few images, which are alike by
    chance.
    """
    groups = n if n_groups is None else n_groups
    if np.ptp(drawn) == 0:
        alike = abs(value) < _ZERO
        unlike = 2 / (len(drawn) + 1) if groups >= _MIN_OF_ONE_VALUE else None
        return PairedDifference(value, None, None, 1.0 if alike else unlike, n, test, groups)
    # Drawn values, not values between them, so that limits and p value agree.
    low = np.quantile(drawn, 0.025, method="lower")
    high = np.quantile(drawn, 0.975, method="higher")
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    p_value = min(1.0, 2 * (int(smaller) + 1) / (len(drawn) + 1))
    return PairedDifference(value, float(low), float(high), p_value, n, test, groups)


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
