"""Rates whether a model is usable in production; the rule stands on the page (run_text.j2)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, auto

from capsule_inspection.metrics import names
from capsule_inspection.types import Estimate

WELL, WELL_AT_WORST, PRESORT = 0.05, 0.15, 0.20
"""Limits of the false-positive and the false-negative rate; the second is of their intervals."""

GUESSING = 0.5


class Usability(StrEnum):
    """The usability of a model."""

    WELL = auto()
    PROMISING = auto()
    PRESORT = auto()
    NOT_USABLE = auto()
    GUESSING = auto()
    NO_DEFECTS = auto()
    NO_GOOD = auto()
    NOTHING = auto()


def rate_usability(metrics: Mapping[str, Estimate]) -> Usability:
    """Apply the rule; `metrics` have no stage in their keys."""
    rates = [metrics.get(name) for name in (names.FALSE_POSITIVE_RATE, names.FALSE_NEGATIVE_RATE)]
    known = [rate for rate in rates if rate is not None]
    if len(known) < len(rates):
        if not known:
            return Usability.NOTHING
        return Usability.NO_DEFECTS if rates[0] is not None else Usability.NO_GOOD
    auroc = metrics.get(names.AUROC)
    if auroc is not None and auroc.ci_low is not None and auroc.ci_low <= GUESSING:
        return Usability.GUESSING
    worst = max(rate.value for rate in known)
    if worst > WELL:
        return Usability.PRESORT if worst <= PRESORT else Usability.NOT_USABLE
    highest = max(1.0 if rate.ci_high is None else rate.ci_high for rate in known)
    return Usability.WELL if highest <= WELL_AT_WORST else Usability.PROMISING
