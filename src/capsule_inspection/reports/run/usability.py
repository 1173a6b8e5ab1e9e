"""Rates whether a model is usable in production, by a rule that stands on the page."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from capsule_inspection.metrics import names
from capsule_inspection.types import Estimate

WELL, WELL_AT_WORST, PRESORT = 0.05, 0.15, 0.20
"""Limits of the false-positive and the false-negative rate: see RULE."""

GUESSING = 0.5
ORDERS_WELL = 0.9
"""AUROC from which a poor result is due to the threshold rather than to the scores."""

RULE = (
    "Rule of the verdict: “well” where at most 5 of 100 good parts are rejected and at most 5 of "
    "100 defective ones missed, and both intervals end at 15 or below (“promising” where only "
    "the intervals are too wide); “pre-sort” where both are at most 20; “not usable” otherwise, or "
    "where the interval of AUROC includes 0.5, which is guessing."
)


class Usability(Enum):
    """The usability of a model; the value is its text."""

    WELL = "it separates good from defective parts well."
    PROMISING = "promising, but too few images were tested to rely on it."
    PRESORT = (
        "usable as a pre-sort with a human check: let a person look at what it rejects, and at "
        "samples of what it accepts."
    )
    NOT_USABLE = "not usable as it is"
    GUESSING = "not usable: it is not distinguishable from guessing."
    NO_DEFECTS = "open: no defective part was tested, so the rate of missed defects is unknown."
    NO_GOOD = "open: no good part was tested, so the rate of rejected good parts is unknown."
    NOTHING = "open: nothing was tested."


def rate_usability(metrics: Mapping[str, Estimate]) -> Usability:
    """Apply RULE; `metrics` have no stage in their keys."""
    rejected, missed = (
        metrics.get(names.FALSE_POSITIVE_RATE),
        metrics.get(names.FALSE_NEGATIVE_RATE),
    )
    if rejected is None or missed is None:
        return _rate_incomplete(has_good=rejected is not None, has_defects=missed is not None)
    if _is_guessing(metrics.get(names.AUROC)):
        return Usability.GUESSING
    worst = max(rejected.value, missed.value)
    if worst <= WELL:
        at_worst = max(_high(rejected), _high(missed))
        return Usability.WELL if at_worst <= WELL_AT_WORST else Usability.PROMISING
    return Usability.PRESORT if worst <= PRESORT else Usability.NOT_USABLE


def needs_other_threshold(metrics: Mapping[str, Estimate]) -> bool:
    """Whether the model is not usable although its scores are good."""
    auroc = metrics.get(names.AUROC)
    return (
        rate_usability(metrics) is Usability.NOT_USABLE
        and auroc is not None
        and auroc.value >= ORDERS_WELL
    )


def _rate_incomplete(*, has_good: bool, has_defects: bool) -> Usability:
    if not has_good and not has_defects:
        return Usability.NOTHING
    return Usability.NO_DEFECTS if has_good else Usability.NO_GOOD


def _is_guessing(auroc: Estimate | None) -> bool:
    return auroc is not None and auroc.ci_low is not None and auroc.ci_low <= GUESSING


def _high(figure: Estimate) -> float:
    return 1.0 if figure.ci_high is None else figure.ci_high
