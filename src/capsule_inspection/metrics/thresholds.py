"""Decision thresholds of anomaly scores, fitted on scored images.

An image is predicted as a defect where its score exceeds the threshold (`exceeds`). Pure numpy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFORMAL, SIGMA, F1 = "conformal", "sigma", "f1"

_ROUNDING = 1e-9
"""Less than any true difference from a whole number here; more than rounding makes of 1 - rate."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and the images that it is fitted on; plain types only, for checkpoints.

    Of the conformal rule, `target_fpr` is the false positive rate that it is fitted for,
    `required_images` how many good images that takes, and `enough` false where there were fewer.
    """

    value: float
    rule: str
    good_images: int
    defect_images: int = 0
    target_fpr: float | None = None
    enough: bool = True
    required_images: int | None = None

    def state_dict(self) -> dict[str, float | int | str | bool | None]:
        """Plain values by name, for checkpoints and records."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Threshold:
        """The threshold of `state_dict`. Raises TypeError where a name is unknown or missing."""
        return cls(**state)


def exceeds(score: np.ndarray, threshold_value: float) -> np.ndarray:
    """Whether scores are above the threshold, which is not rounded to their narrower type."""
    return np.asarray(score) > np.float64(threshold_value)


def conformal_threshold(good_scores: np.ndarray, target_fpr: float) -> Threshold:
    """Threshold that a new good image exceeds with at most this probability, on average.

    The ceil((n + 1)(1 - rate))-th smallest of n scores of good images that were not trained on.
    Source: split conformal prediction (Vovk et al. 2005; Angelopoulos and Bates 2023, section 1).
    Where n is too small for the rate it is the largest score, exceeded with up to 1 / (n + 1), and
    `enough` is false. Shapes: (n,). Raises ValueError where n is 0 or a score is not finite.
    """
    score = np.sort(_checked(good_scores, fewest=1))
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
    score = _checked(good_scores, fewest=2)
    value = float(score.mean() + num_std * score.std(ddof=1))
    return Threshold(value=value, rule=SIGMA, good_images=len(score))


def f1_threshold(is_defect: np.ndarray, score: np.ndarray) -> Threshold:
    """Threshold with the best F1 of defects on these images; of equally good ones the highest.

    It lies halfway between neighbouring scores, or just below the lowest where all are defects.
    Own, since equal F1 of scikit-learn's precision and recall differ by rounding.
    Shapes: is_defect (N,) bool; score (N,). Raises ValueError where one side is missing or a score
    is not finite.
    """
    scores = _checked(score, fewest=1)
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


def _checked(score: np.ndarray, *, fewest: int) -> np.ndarray:
    scores = np.asarray(score, dtype=np.float64)
    if len(scores) < fewest:
        raise ValueError(f"at least {fewest} scores are needed, found {len(scores)}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, found {scores[~np.isfinite(scores)][0]}")
    return scores
