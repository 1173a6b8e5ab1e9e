"""Rates whether a model is usable in production, and says so; the rule is in run_text.j2."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto

from capsule_inspection.metrics import names
from capsule_inspection.types import Estimate

WELL, WELL_AT_WORST, PRESORT = 0.05, 0.15, 0.20
"""Limits of the false-positive and the false-negative rate; the second is of their intervals."""

GUESSING = 0.5
"""AUROC of a model that guesses."""


class Usability(StrEnum):
    """The usability of a model."""

    WELL = auto()
    PROMISING = auto()
    PRESORT = auto()
    NOT_USABLE = auto()
    GUESSING = auto()
    REVERSED = auto()
    NO_DEFECTS = auto()
    NO_GOOD = auto()
    NOTHING = auto()


NO_BETTER_THAN_GUESSING = Usability.GUESSING, Usability.REVERSED
UNUSABLE = Usability.NOT_USABLE, *NO_BETTER_THAN_GUESSING

_VERDICTS = {
    Usability.WELL: "it separates good from defective parts well",
    Usability.PROMISING: "promising, but too few images were tested to rely on it",
    Usability.PRESORT: "usable as a pre-sort with a human check: let a person look at what it "
    "rejects, and at samples of what it accepts",
    Usability.GUESSING: "not shown to be usable: it is not distinguishable from guessing",
    Usability.REVERSED: "not usable: it is worse than guessing, since its scores rank good parts "
    "above defects",
    Usability.NO_DEFECTS: "open: no defective part was tested, so the rate of missed defects is "
    "unknown",
    Usability.NO_GOOD: "open: no good part was tested, so the rate of rejected good parts is "
    "unknown",
    Usability.NOTHING: "open: nothing was tested",
}
_WRONG = {
    names.FALSE_POSITIVE_RATE: "good parts are rejected",
    names.FALSE_NEGATIVE_RATE: "defective parts are missed",
}


def rate_usability(metrics: Mapping[str, Estimate]) -> Usability:
    """Apply the rule; `metrics` have no stage in their keys."""
    rates = [metrics.get(name) for name in (names.FALSE_POSITIVE_RATE, names.FALSE_NEGATIVE_RATE)]
    known = [rate for rate in rates if rate is not None]
    auroc = metrics.get(names.AUROC)
    if auroc is not None and auroc.ci_low is not None and auroc.ci_high is not None:
        if auroc.ci_high < GUESSING:
            return Usability.REVERSED
        if auroc.ci_low <= GUESSING:
            return Usability.GUESSING
    if not known:
        return Usability.NOTHING
    worst = max(rate.value for rate in known)
    if worst > PRESORT:
        return Usability.NOT_USABLE
    if len(known) < len(rates):
        return Usability.NO_DEFECTS if rates[0] is not None else Usability.NO_GOOD
    if worst > WELL:
        return Usability.PRESORT
    highest = max(1.0 if rate.ci_high is None else rate.ci_high for rate in known)
    return Usability.WELL if highest <= WELL_AT_WORST else Usability.PROMISING


def verdict_of(metrics: Mapping[str, Estimate]) -> str:
    """The usability as a part of a sentence: `promising, but too few images ...`."""
    usability = rate_usability(metrics)
    wrong = [_WRONG[name] for name in _WRONG if name in metrics and metrics[name].value > PRESORT]
    text = f"more than {100 * PRESORT:.0f}% of the {' and of the '.join(wrong)}"
    if usability is Usability.NOT_USABLE:
        return f"not usable as it is: {text}"
    if usability is Usability.GUESSING and wrong:
        return f"not usable: {text}, and it is not distinguishable from guessing"
    return _VERDICTS[usability]
