"""Would this inspection work on a line? A verdict by a rule that stands beside it on the page."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from capsule_inspection.metrics import names
from capsule_inspection.types import Figure

WELL, WELL_AT_WORST, PRESORT = 0.05, 0.15, 0.20
"""Shares of good parts rejected and of defects missed: see RULE."""

GUESSING = 0.5
ORDERS_WELL = 0.9
"""AUROC from which on a poor result is the threshold's fault rather than the model's."""

RULE = (
    "Rule of the verdict: “well” where at most 5 of 100 good parts are rejected and at most 5 of "
    "100 defective ones let through, and both intervals end at 15 or below (“promising” where only "
    "the intervals are too wide); “pre-sort” where both are at most 20; “not usable” otherwise, or "
    "where the interval of AUROC includes 0.5, which is guessing."
)


class Verdict(Enum):
    """What to make of a run; the value says it."""

    WELL = "it separates good from defective parts well."
    PROMISING = "promising, but too few images were tested to rely on it."
    PRESORT = (
        "usable as a pre-sort with a human check: let a person look at what it rejects, and at "
        "samples of what it accepts."
    )
    NOT_USABLE = "not usable as it is"
    GUESSING = "not usable: it cannot be told from guessing."
    NO_DEFECTS = "open: no defective part was tested, so nobody knows what would be let through."
    NO_GOOD = "open: no good part was tested, so nobody knows what would be rejected by mistake."
    NOTHING = "open: nothing was tested."


def verdict_of(figures: Mapping[str, Figure]) -> Verdict:
    """The verdict by RULE; `figures` have no stage in their keys."""
    rejected, missed = figures.get(names.GOOD_REJECTED), figures.get(names.DEFECTS_MISSED)
    if rejected is None or missed is None:
        return _open(has_good=rejected is not None, has_defects=missed is not None)
    if _is_guessing(figures.get(names.AUROC)):
        return Verdict.GUESSING
    worst = max(rejected.value, missed.value)
    if worst <= WELL:
        at_worst = max(_high(rejected), _high(missed))
        return Verdict.WELL if at_worst <= WELL_AT_WORST else Verdict.PROMISING
    return Verdict.PRESORT if worst <= PRESORT else Verdict.NOT_USABLE


def orders_better_than_it_decides(figures: Mapping[str, Figure]) -> bool:
    """Whether the scores are good and the threshold wastes them."""
    auroc = figures.get(names.AUROC)
    return (
        verdict_of(figures) is Verdict.NOT_USABLE
        and auroc is not None
        and auroc.value >= ORDERS_WELL
    )


def _open(*, has_good: bool, has_defects: bool) -> Verdict:
    if not has_good and not has_defects:
        return Verdict.NOTHING
    return Verdict.NO_DEFECTS if has_good else Verdict.NO_GOOD


def _is_guessing(auroc: Figure | None) -> bool:
    return auroc is not None and auroc.low is not None and auroc.low <= GUESSING


def _high(figure: Figure) -> float:
    return 1.0 if figure.high is None else figure.high
