"""The conclusion of a comparison: a recommendation, or why none is justified.

One metric decides, at 5% for all pairs together. A recommendation needs a model that is better in
it than every other one, and shown to be no worse in missed defects and in rejected good parts by
more than a margin. How often the rule errs is simulated in `benchmarks/comparison_errors.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from capsule_inspection.reports.comparison.costs import PARAMETERS, TRAINING_TIME
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import (
    DecisionSettings,
    PairwiseComparison,
    Verdict,
)
from capsule_inspection.reports.run.usability import NO_BETTER_THAN_GUESSING, rate_usability

SIMILAR_TIME_RATIO = 1.25
"""Training times with a smaller ratio count as equal."""
BY_TIME, BY_PARAMETERS = "training_time", "parameters"


class Reason(StrEnum):
    """Why a model is recommended, or why none is."""

    RECOMMENDED = "recommended"
    NOT_DISTINGUISHABLE = "not_distinguishable"
    TRADE_OFF = "trade_off"
    EQUIVALENT = "equivalent"
    SINGLE = "single"
    REFUSED = "refused"


@dataclass(frozen=True)
class Recommendation:
    """What follows from all pairs.

    `model` is the recommended one; of equivalent models the cheapest. `candidates` are the models
    that no other is better than, or the only one and those that it is not better than; `worse` are
    the rest. `cheapest` of the candidates is by training time or by parameters (`cheapest_by`, ""
    where all cost about the same); None where costs are not known.
    """

    reason: Reason
    primary: str
    margin: float
    model: str | None = None
    candidates: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    cheapest: str | None = None
    cheapest_by: str = ""


def recommend(
    results: Sequence[ModelMetrics],
    pairs: Sequence[PairwiseComparison],
    settings: DecisionSettings,
) -> Recommendation:
    """Which model to choose, as far as these runs show it."""
    primary = settings.primary_metric([result.model for result in results])
    names = [result.name for result in results]
    beaten = {pair.other(pair.better) for pair in pairs if pair.better is not None}
    candidates = tuple(name for name in names if name not in beaten) or tuple(names)
    if len(candidates) == 1:  # significance is not transitive: it need not be better than all
        beaten = {pair.other(pair.better) for pair in pairs if pair.better == candidates[0]}
        candidates = tuple(name for name in names if name not in beaten)
    worse = tuple(name for name in names if name not in candidates)
    reason = _conclude(names, candidates, pairs)
    cheapest, by = None, ""
    if reason in (Reason.EQUIVALENT, Reason.NOT_DISTINGUISHABLE):
        cheapest, by = _find_cheapest([result for result in results if result.name in candidates])
    model = {Reason.RECOMMENDED: candidates[0], Reason.EQUIVALENT: cheapest}.get(reason)
    return Recommendation(reason, primary, settings.margin, model, candidates, worse, cheapest, by)


def _conclude(
    names: Sequence[str], candidates: Sequence[str], pairs: Sequence[PairwiseComparison]
) -> Reason:
    if len(names) == 1:
        return Reason.SINGLE
    if all(pair.verdict is Verdict.REFUSED for pair in pairs):
        return Reason.REFUSED
    first = candidates[0]
    own = [pair for pair in pairs if first in (pair.first, pair.second)]
    if len(own) == len(names) - 1 and all(pair.better == first for pair in own):
        is_worse = any(pair.verdict is Verdict.TRADE_OFF for pair in own)
        return Reason.TRADE_OFF if is_worse else Reason.RECOMMENDED
    between = [
        pair.verdict for pair in pairs if pair.first in candidates and pair.second in candidates
    ]
    num_pairs = len(candidates) * (len(candidates) - 1) // 2
    if between == [Verdict.EQUIVALENT] * num_pairs:
        return Reason.EQUIVALENT
    return Reason.TRADE_OFF if Verdict.TRADE_OFF in between else Reason.NOT_DISTINGUISHABLE


def _find_cheapest(candidates: Sequence[ModelMetrics]) -> tuple[str | None, str]:
    """The quickest to train, or the smallest where the times are similar.

    None where one of them may be guessing: then its cost is no reason to take it.
    """
    times = {model.name: cost.mean for model in candidates if (cost := model.cost(TRAINING_TIME))}
    sizes = {model.name: cost.mean for model in candidates if (cost := model.cost(PARAMETERS))}
    if len(times) < 2:
        return None, ""
    if any(rate_usability(model.metrics) in NO_BETTER_THAN_GUESSING for model in candidates):
        return None, ""
    if max(times.values()) > SIMILAR_TIME_RATIO * min(times.values()):
        return min(times, key=times.__getitem__), BY_TIME
    if len(sizes) < len(times) or max(sizes.values()) == min(sizes.values()):
        return min(times, key=times.__getitem__), ""
    return min(sizes, key=sizes.__getitem__), BY_PARAMETERS
