"""The conclusion of a comparison: a recommendation, or why none is justified.

One metric decides, at 5% for all pairs together. A recommendation needs a model that is better in
it than every other one, and shown to be no worse in missed defects and in rejected good parts by
more than a margin. How often the rule errs is simulated in `benchmarks/comparison_errors.py`.
"""

from __future__ import annotations

import itertools
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
    the rest. `cheapest` of the candidates is by training time
    or by parameters, `cheapest_by`, which is "" where all cost about the same; None where costs are
    not known. `worse_in` are other models and error rates that stand against the candidate.
    """

    reason: Reason
    primary: str
    margin: float
    model: str | None = None
    candidates: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()
    cheapest: str | None = None
    cheapest_by: str = ""
    worse_in: tuple[tuple[str, str], ...] = ()


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
    reason, worse_in = _conclude(names, candidates, pairs)
    cheapest, by = None, ""
    if reason in (Reason.EQUIVALENT, Reason.NOT_DISTINGUISHABLE):
        cheapest, by = _find_cheapest([result for result in results if result.name in candidates])
    model = {Reason.RECOMMENDED: candidates[0], Reason.EQUIVALENT: cheapest}.get(reason)
    return Recommendation(
        reason, primary, settings.margin, model, candidates, worse, cheapest, by, worse_in
    )


def _conclude(
    names: Sequence[str], candidates: Sequence[str], pairs: Sequence[PairwiseComparison]
) -> tuple[Reason, tuple[tuple[str, str], ...]]:
    """The reason, and what stands against a single candidate."""
    if len(names) == 1:
        return Reason.SINGLE, ()
    if all(pair.verdict is Verdict.REFUSED for pair in pairs):
        return Reason.REFUSED, ()
    pair_of = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    first = candidates[0]
    own = [pair_of.get(frozenset((first, name))) for name in names if name != first]
    if len(candidates) == 1 and all(pair is not None and pair.better == first for pair in own):
        against = tuple(
            (pair.other(first), rate) for pair in own if pair is not None for rate in pair.worse_in
        )
        return (Reason.TRADE_OFF, against) if against else (Reason.RECOMMENDED, ())
    between = [
        pair_of[frozenset(both)]
        for both in itertools.combinations(candidates, 2)
        if frozenset(both) in pair_of
    ]
    verdicts = {pair.verdict for pair in between}
    is_complete = len(between) == len(candidates) * (len(candidates) - 1) // 2
    if verdicts == {Verdict.EQUIVALENT} and is_complete:
        return Reason.EQUIVALENT, ()
    if Verdict.TRADE_OFF in verdicts:
        return Reason.TRADE_OFF, ()
    return Reason.NOT_DISTINGUISHABLE, ()


def _find_cheapest(candidates: Sequence[ModelMetrics]) -> tuple[str | None, str]:
    """The quickest to train, or the smallest where the times are similar."""
    times = {model.name: cost.mean for model in candidates if (cost := model.cost(TRAINING_TIME))}
    sizes = {model.name: cost.mean for model in candidates if (cost := model.cost(PARAMETERS))}
    if len(times) < 2:
        return None, ""
    if max(times.values()) > SIMILAR_TIME_RATIO * min(times.values()):
        return min(times, key=times.__getitem__), BY_TIME
    if len(sizes) < len(times) or max(sizes.values()) == min(sizes.values()):
        return min(times, key=times.__getitem__), ""
    return min(sizes, key=sizes.__getitem__), BY_PARAMETERS
