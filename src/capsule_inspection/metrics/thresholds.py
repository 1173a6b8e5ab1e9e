"""From which score on is an image called a defect? Rules that learn it from scored images.

An image is called a defect where its score exceeds the threshold: `exceeds` says so, and nothing
else does. Pure numpy on arrays; which images are good for it is the split's business.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFORMAL, SIGMA, F1 = "conformal", "sigma", "f1"
RULES = (CONFORMAL, SIGMA, F1)

_ROUNDING = 1e-9
"""Less than any true difference from a whole number here; more than rounding makes of 1 - rate."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it stands on; plain types only, since it is kept in checkpoints.

    `false_alarm_rate` is what the conformal rule was asked for, and `needed` how many good images
    that takes; both are None for other rules. `enough` is false where there were fewer.
    """

    value: float
    rule: str
    good_images: int
    defect_images: int = 0
    false_alarm_rate: float | None = None
    enough: bool = True
    needed: int | None = None

    def as_dict(self) -> dict[str, float | int | str | bool | None]:
        """Plain values by name; `from_dict` makes the same threshold of them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Threshold:
        """The threshold of `as_dict`. Raises TypeError where a name is unknown or missing."""
        return cls(**stored)


def exceeds(score: np.ndarray, threshold_value: float) -> np.ndarray:
    """Whether scores call their images defects: (N,) bool. A score at the threshold does not."""
    return np.asarray(score, dtype=np.float64) > threshold_value


def conformal_threshold(good_scores: np.ndarray, false_alarm_rate: float) -> Threshold:
    """Threshold that a new good image exceeds with at most this probability, on average.

    The ceil((n + 1)(1 - rate))-th smallest of n scores of good images that trained nothing. Source:
    split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2023, section 1). Where n
    is too small for the rate it is the largest score, exceeded with up to 1 / (n + 1), and `enough`
    is false.
    Shapes: (n,). Raises ValueError where the rate is not within (0, 1), n is 0 or a score is not
    finite.
    """
    if not 0 < false_alarm_rate < 1:
        raise ValueError(f"a false-alarm rate must lie within (0, 1), found {false_alarm_rate}")
    score = np.sort(_checked(good_scores, fewest=1))
    count = len(score)
    rank = _rank(count, false_alarm_rate)
    return Threshold(
        value=float(score[min(rank, count) - 1]),
        rule=CONFORMAL,
        good_images=count,
        false_alarm_rate=float(false_alarm_rate),
        enough=rank <= count,
        needed=math.ceil(1 / false_alarm_rate - _ROUNDING) - 1,
    )


def rejects_beyond_chance(threshold: Threshold, rejected: int, images: int) -> bool:
    """Whether more of these good images are rejected than a conformal threshold explains (2.5%).

    The rate that one set of calibration images leads to is itself random, with a Beta distribution
    (Angelopoulos and Bates 2023, section 3.2), so rejected images are beta-binomial.
    Raises ValueError where the threshold is not conformal, or had too few images for its rate.
    """
    from scipy.stats import betabinom

    if threshold.rule != CONFORMAL or threshold.false_alarm_rate is None or not threshold.enough:
        raise ValueError("only a conformal threshold with enough images promises a rate")
    count = threshold.good_images
    rank = _rank(count, threshold.false_alarm_rate)
    return bool(betabinom.sf(rejected - 1, images, count + 1 - rank, rank) < 0.025)


def _rank(count: int, false_alarm_rate: float) -> int:
    return math.ceil((count + 1) * (1 - false_alarm_rate) - _ROUNDING)


def sigma_threshold(good_scores: np.ndarray, sigmas: float) -> Threshold:
    """Mean of the scores of good images plus so many sample standard deviations.

    Shapes: (n,). Raises ValueError where n < 2 or a score is not finite.
    """
    score = _checked(good_scores, fewest=2)
    value = float(score.mean() + sigmas * score.std(ddof=1))
    return Threshold(value=value, rule=SIGMA, good_images=len(score))


def f1_threshold(is_defect: np.ndarray, score: np.ndarray) -> Threshold:
    """Threshold with the best F1 of defects on these images; of equally good ones the highest.

    It lies halfway between neighbouring scores, or just below the lowest where all are called
    defects. Shapes: is_defect (N,) bool; score (N,). Raises ValueError where one side is missing
    or a score is not finite.
    """
    scores = _checked(score, fewest=1)
    defects = int(is_defect.sum())
    if not 0 < defects < len(scores):
        raise ValueError(
            f"both sides are needed, found {len(scores) - defects} good, {defects} defects"
        )
    level, position = np.unique(scores, return_inverse=True)
    found = np.cumsum(np.bincount(position, weights=is_defect)[::-1])
    called = np.cumsum(np.bincount(position)[::-1])
    best = len(level) - 1 - int(np.argmax(2 * found / (called + defects)))
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


def _checked(score: np.ndarray, *, fewest: int) -> np.ndarray:
    scores = np.asarray(score, dtype=np.float64)
    if len(scores) < fewest:
        raise ValueError(f"at least {fewest} scores are needed, found {len(scores)}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, found {scores[~np.isfinite(scores)][0]}")
    return scores
