"""Decision thresholds, fitted on scored images.

An image is predicted as a defect where its score exceeds the threshold (`exceeds`). The score is an
anomaly score, or of classifiers the probability of any defect. Pure numpy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.stored_values import from_stored
from capsule_inspection.types import Estimate

CONFORMAL, SIGMA, F1 = "conformal", "sigma", "f1"

OPERATING_POINT = "operating_point"
GIVEN = "given"
"""Rule of a threshold that the command line names instead of the run's."""
DEFAULT_THRESHOLD = 0.5
"""Of the probability of any defect: a defect is more probable than not."""
TABLE_RATES = (0.0, 0.01, 0.02, 0.05, 0.10)
"""Fractions of the good images that the thresholds of `operating_points` reject at most."""

_ROUNDING = 1e-9
"""Less than any true difference from a whole number here; more than rounding makes of 1 - rate."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and the images that it is fitted on; plain types only, for checkpoints.

    `value` is None where the most probable class decides (rule argmax). Of the conformal rule,
    `target_fpr` is the false positive rate that it is fitted for, `required_images` how many good
    images that takes, and `enough` false where there were fewer; a group counts as one image. Of an
    operating point, `default` is the threshold without validation images, `enough` false where it
    had to be used, `criterion_value` that of `value` on these images, `best` the lowest of any
    threshold, and `standard_error` that of the best.
    """

    value: float | None
    rule: str
    good_images: int = 0
    defect_images: int = 0
    target_fpr: float | None = None
    enough: bool = True
    required_images: int | None = None
    criterion: str | None = None
    criterion_value: float | None = None
    best: float | None = None
    standard_error: float | None = None
    default: float | None = None
    defect_rate: float | None = None

    @property
    def conformal_fpr(self) -> float | None:
        """The false positive rate that it is set for; None of other rules than the conformal."""
        return self.target_fpr if self.rule == CONFORMAL else None

    def state_dict(self) -> dict[str, float | int | str | bool | None]:
        """Plain values by name, for checkpoints and records; those of other rules are left out."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not None} | {
            "value": self.value
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Threshold:
        """The threshold of `state_dict`. Raises TypeError where a value is not as expected."""
        return from_stored(cls, state)


def exceeds(score: np.ndarray, threshold_value: float) -> np.ndarray:
    """Whether scores are above the threshold, which is not rounded to their narrower type."""
    return np.asarray(score) > np.float64(threshold_value)


def conformal_threshold(
    good_scores: np.ndarray, target_fpr: float, *, group: np.ndarray | None = None
) -> Threshold:
    """Threshold that a new good image exceeds with at most this probability, on average.

    The ceil((n + 1)(1 - rate))-th smallest of n scores of good images that were not trained on.
    Source: split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2023, section 1).
    Where n is too small for the rate it is the largest score, exceeded with up to 1 / (n + 1), and
    `enough` is false. Images of one group are no independent ones: the group counts once, with its
    largest score, so the rate is that of new groups with any image above the threshold.
    Shapes: (n,) both. Raises ValueError where n is 0 or a score is not finite.
    """
    scores = finite_scores(good_scores, fewest=1)
    number = intervals.group_numbers(group, len(scores))
    score = np.full(number.max() + 1, -np.inf)
    np.maximum.at(score, number, scores)
    score.sort()
    count = len(score)
    rank = _rank(count, target_fpr)
    return Threshold(
        value=float(score[min(rank, count) - 1]),
        rule=CONFORMAL,
        good_images=count,
        target_fpr=float(target_fpr),
        enough=rank <= count,
        required_images=math.ceil(1 / target_fpr - _ROUNDING) - 1,
    )


def exceeds_target_fpr(threshold: Threshold, rejected: int, images: int) -> bool:
    """Whether significantly more good images are rejected than the target rate implies (2.5%).

    The rate that one set of calibration images leads to is itself random, with a Beta distribution
    (Angelopoulos and Bates 2023, section 3.2), so rejected images are beta-binomial. The threshold
    must be conformal, with enough images for its rate.
    """
    from scipy.stats import betabinom

    assert threshold.target_fpr is not None
    count = threshold.good_images
    rank = _rank(count, threshold.target_fpr)
    return bool(betabinom.sf(rejected - 1, images, count + 1 - rank, rank) < 0.025)


def _rank(count: int, target_fpr: float) -> int:
    return math.ceil((count + 1) * (1 - target_fpr) - _ROUNDING)


def sigma_threshold(good_scores: np.ndarray, num_std: float) -> Threshold:
    """Mean of the scores of good images plus so many sample standard deviations.

    Shapes: (n,). Raises ValueError where n < 2 or a score is not finite.
    """
    score = finite_scores(good_scores, fewest=2)
    value = float(score.mean() + num_std * score.std(ddof=1))
    return Threshold(value=value, rule=SIGMA, good_images=len(score))


def f1_threshold(is_defect: np.ndarray, score: np.ndarray) -> Threshold:
    """Threshold with the best F1 of defects on these images; of equally good ones the highest.

    It lies halfway between neighbouring scores, or just below the lowest where all are defects.
    Own, since equal F1 of scikit-learn's precision and recall differ by rounding.
    Shapes: is_defect (N,) bool; score (N,). Raises ValueError where one side is missing or a score
    is not finite.
    """
    scores = finite_scores(score, fewest=1)
    defects = int(is_defect.sum())
    if not 0 < defects < len(scores):
        raise ValueError(
            f"both sides are needed, found {len(scores) - defects} good, {defects} defects"
        )
    level, position = np.unique(scores, return_inverse=True)
    true_positives = np.cumsum(np.bincount(position, weights=is_defect)[::-1])
    positives = np.cumsum(np.bincount(position)[::-1])
    best = len(level) - 1 - int(np.argmax(2 * true_positives / (positives + defects)))
    return Threshold(
        value=_just_below(level, best),
        rule=F1,
        good_images=len(scores) - defects,
        defect_images=defects,
    )


def _just_below(level: np.ndarray, position: int) -> float:
    """Halfway from a score to the next lower one, and never the score itself."""
    if position == 0:
        return float(np.nextafter(level[0], -np.inf))
    halfway = level[position - 1] / 2 + level[position] / 2
    return float(halfway if halfway < level[position] else level[position - 1])


def finite_scores(score: np.ndarray, *, fewest: int) -> np.ndarray:
    """Scores as float64. Raises ValueError where there are fewer, or one is not finite."""
    scores = np.asarray(score, dtype=np.float64)
    if len(scores) < fewest:
        raise ValueError(f"at least {fewest} scores are needed, found {len(scores)}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, found {scores[~np.isfinite(scores)][0]}")
    return scores


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates of one way to decide between good and defect, on scored images.

    `threshold` is None where the most probable class decides. `target_fpr` is the fraction of the
    good images that a threshold was placed for on these very images, None for other ones.
    `is_chosen` marks what the run decides by. `missed` (of the defects) and `rejected` (of the good
    images) are None where there are no such images.
    """

    threshold: float | None
    missed: Estimate | None
    rejected: Estimate | None
    target_fpr: float | None = None
    is_chosen: bool = False


def operating_points(
    is_defect: np.ndarray,
    score: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    chosen: float | None,
    argmax_defect: np.ndarray | None = None,
    rates: Sequence[float] = TABLE_RATES,
) -> list[OperatingPoint]:
    """Missed defects and rejected good images at several thresholds, for the table of a run.

    First what the run decides by, then for classifiers a threshold of 0.5 and the most probable
    class, then thresholds that reject at most these fractions of the good images given, each the
    lowest that does, halfway to the next higher score. Rows that would repeat another threshold are
    left out.

    Shapes, all (N,): is_defect bool; score finite, high for defects; groups str, images of one are
    one observation in the intervals (None: each image stands for itself); argmax_defect bool,
    whether the most probable class is a defect, None for models that do not name defects. `chosen`
    is the threshold of the run, None where the most probable class decides.
    Raises ValueError where a score is not finite, or neither threshold nor classes can decide.
    """
    scores = finite_scores(score, fewest=1)
    if chosen is None and argmax_defect is None:
        raise ValueError("without a threshold, argmax_defect is needed")

    def point(threshold: float | None, target: float | None = None) -> OperatingPoint:
        if threshold is None:
            assert argmax_defect is not None
            rejected = argmax_defect
        else:
            rejected = exceeds(scores, threshold)
        return OperatingPoint(
            threshold,
            _rate(~rejected, is_defect, groups),
            _rate(rejected, ~is_defect, groups),
            target,
            is_chosen=threshold == chosen,
        )

    thresholds: dict[float | None, float | None] = {chosen: None}
    if argmax_defect is not None:
        thresholds |= {DEFAULT_THRESHOLD: None, None: None}
    good = np.sort(scores[~is_defect])[::-1]
    for rate in rates if len(good) else ():
        count = math.floor(rate * len(good) + _ROUNDING)
        if count < len(good):
            thresholds.setdefault(_just_above(scores, good[count]), rate)
    return [point(threshold, target) for threshold, target in thresholds.items()]


def _just_above(scores: np.ndarray, level: float) -> float:
    """Halfway from a score to the next higher one, the score itself where there is none."""
    higher = scores[scores > level]
    if not len(higher):
        return float(level)
    halfway = level / 2 + higher.min() / 2
    return float(halfway if halfway < higher.min() else level)


def _rate(wrong: np.ndarray, side: np.ndarray, groups: np.ndarray | None) -> Estimate | None:
    """Fraction of the images of a side that are wrong; None where it has none."""
    if not side.any():
        return None
    group = None if groups is None else groups[side]
    return intervals.proportion(int(wrong[side].sum()), int(side.sum()), group=group)
