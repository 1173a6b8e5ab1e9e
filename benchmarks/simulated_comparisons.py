"""Comparisons of simulated studies by the project's own decision, and counts of its conclusions.

The metrics are computed from arrays, since pandas would take most of the time;
`tests/reports/comparison/test_decision.py` holds them against those of the tables.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import bdtr, betaincinv

from benchmarks.comparison_scenarios import Scenario
from benchmarks.simulated_studies import Study, draw_study
from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired_auroc import PairedScores, auroc_difference
from capsule_inspection.metrics.paired_tests import (
    PairedDifference,
    cost_difference,
    holm,
    mean_difference,
)
from capsule_inspection.reports.comparison.decision import Reason, Recommendation, recommend
from capsule_inspection.reports.comparison.pairs import (
    SIGNIFICANCE,
    DecisionSettings,
    PairwiseComparison,
    Verdict,
    decide,
)

_STUDIES_OF_A_TASK = 250
"""Studies with one seed; the results do not depend on the number of processes."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Outcome:
    """What a comparison concludes from one study.

    `recommended` is the number of the model or None. `is_found`: the first model is significantly
    better than all others in the primary metric; `is_found_by_mcnemar`: by exact tests with Holm's
    correction. `is_false`: two models are distinguished in the primary metric that are equal in it.
    `is_covered`: the interval of the first pair holds the true difference.
    """

    recommended: int | None
    is_found: bool
    is_false: bool
    is_found_by_mcnemar: bool
    is_covered: bool
    is_equivalent: bool


def compare_study(
    study: Study, scenario: Scenario
) -> tuple[Recommendation, list[PairwiseComparison]]:
    """Compare all pairs of models of a study and decide, as `compare.py` does."""
    count = len(scenario.models)
    settings = DecisionSettings(scenario.primary, scenario.margin, scenario.costs)
    sizes = len(study.label), len(np.unique(study.group)), len(study.label), len(study.label)
    compared = [
        PairwiseComparison(
            str(one), str(other), *sizes, differences=_differences(study, one, other, settings)
        )
        for one, other in itertools.combinations(range(count), 2)
    ]
    pairs = decide(compared, scenario.primary, settings)
    models: list[Any] = [
        SimpleNamespace(name=str(number), model=None, cost=lambda _: None)
        for number in range(count)
    ]
    return recommend(models, pairs, settings), pairs


def conclude(study: Study, scenario: Scenario) -> Outcome:
    """What the comparison of a study concludes, beside the truth of its scenario."""
    found, pairs = compare_study(study, scenario)
    recommended = found.model if found.reason is Reason.RECOMMENDED else None
    difference = pairs[0].differences[scenario.primary]
    low, high = difference.ci_low, difference.ci_high
    assert low is not None
    assert high is not None
    return Outcome(
        recommended=None if recommended is None else int(recommended),
        is_found=all(pair.winner(scenario.primary) == "0" for pair in pairs if pair.first == "0"),
        is_false=any(
            pair.is_significant(scenario.primary)
            and abs(scenario.difference(int(pair.first), int(pair.second))) < _ROUNDING
            for pair in pairs
        ),
        is_found_by_mcnemar=_is_found_by_mcnemar(study, scenario.mcnemar),
        is_covered=low - _ROUNDING <= scenario.difference(0, 1) <= high + _ROUNDING,
        is_equivalent=pairs[0].verdict is Verdict.EQUIVALENT,
    )


def _differences(
    study: Study, one: int, other: int, settings: DecisionSettings
) -> dict[str, PairedDifference]:
    """The primary metric and both error rates, as in `reports.comparison.pairs`, from arrays."""
    is_defect, group = study.label > 0, study.group
    rejected, correct = (
        study.of_images(of[[one, other]]) for of in (study.rejected, study.correct)
    )
    wrong = np.where(is_defect, 1 - rejected, rejected)
    found = {
        metric: mean_difference(wrong[0][side], wrong[1][side], group=group[side])
        for metric, side in (
            (names.FALSE_NEGATIVE_RATE, is_defect),
            (names.FALSE_POSITIVE_RATE, ~is_defect),
        )
    }
    primary, costs = settings.primary, settings.costs
    if primary == names.BALANCED_ACCURACY:
        found[primary] = mean_difference(*correct, group=group, stratum=study.label)
    elif primary == names.ACCURACY:
        found[primary] = mean_difference(*correct, group=group)
    elif primary == names.AUROC:
        found[primary] = auroc_difference(_folds(study, one, other))
    elif primary == names.EXPECTED_COST and costs is not None:
        found[primary] = cost_difference(*wrong, is_defect=is_defect, group=group, costs=costs)
    return found


def _folds(study: Study, one: int, other: int) -> list[PairedScores]:
    found = []
    for fold in np.unique(study.fold):
        rows = np.flatnonzero(study.fold == fold)
        image = study.image[rows]
        found.append(
            PairedScores(
                study.score[one][:, rows],
                study.score[other][:, rows],
                study.label[image] > 0,
                image,
                study.group[image],
            )
        )
    return found


def _is_found_by_mcnemar(study: Study, metric: str) -> bool:
    """Whether exact McNemar tests with Holm's correction find the first model better than all."""
    of = study.correct if metric == names.ACCURACY else study.rejected
    right = study.of_images(of)
    if metric != names.ACCURACY:
        right = right[:, study.label > 0]
    both = list(itertools.combinations(range(len(right)), 2))
    only = [
        (int((right[one] > right[other]).sum()), int((right[one] < right[other]).sum()))
        for one, other in both
    ]
    fewer, differing = np.min(only, axis=1), np.sum(only, axis=1)
    corrected = holm(np.minimum(1, 2 * bdtr(fewer, differing, 0.5)))
    return all(
        corrected[pair] < SIGNIFICANCE and only[pair][0] > only[pair][1]
        for pair, (one, _) in enumerate(both)
        if one == 0
    )


@dataclass(frozen=True)
class Rates:
    """Counts over the studies of a scenario."""

    scenario: Scenario
    studies: int
    recommended: int
    best_recommended: int
    found: int
    false: int
    found_by_mcnemar: int
    covered: int
    equivalent: int

    @classmethod
    def of(cls, scenario: Scenario, outcomes: Sequence[Outcome]) -> Rates:
        return cls(
            scenario,
            len(outcomes),
            recommended=sum(outcome.recommended is not None for outcome in outcomes),
            best_recommended=sum(outcome.recommended == 0 for outcome in outcomes),
            found=sum(outcome.is_found for outcome in outcomes),
            false=sum(outcome.is_false for outcome in outcomes),
            found_by_mcnemar=sum(outcome.is_found_by_mcnemar for outcome in outcomes),
            covered=sum(outcome.is_covered for outcome in outcomes),
            equivalent=sum(outcome.is_equivalent for outcome in outcomes),
        )

    def bound(self, count: int) -> float:
        """Upper 95% limit of a rate (Clopper and Pearson)."""
        if count == self.studies:
            return 1.0
        return float(betaincinv(count + 1, self.studies - count, 0.95))


def simulate(
    scenarios: Sequence[Scenario], studies: int, *, processes: int | None = None, seed: int = 0
) -> list[Rates]:
    """Draw and compare so many studies of each scenario, fewer of those with many models."""
    counts = [2 * studies // len(scenario.models) for scenario in scenarios]
    tasks = [
        (scenario, min(_STUDIES_OF_A_TASK, count - begin), (seed, number, begin))
        for number, (scenario, count) in enumerate(zip(scenarios, counts, strict=True))
        for begin in range(0, count, _STUDIES_OF_A_TASK)
    ]
    if processes == 1:
        done: Iterable[list[Outcome]] = list(itertools.starmap(_simulate_task, tasks))
    else:
        with ProcessPoolExecutor(processes) as pool:
            done = list(pool.map(_simulate_task, *zip(*tasks, strict=True)))
    outcomes: dict[int, list[Outcome]] = {}
    for (_, _, (_, number, _)), of_task in zip(tasks, done, strict=True):
        outcomes.setdefault(number, []).extend(of_task)
    return [Rates.of(scenario, outcomes[number]) for number, scenario in enumerate(scenarios)]


def _simulate_task(scenario: Scenario, studies: int, seed: tuple[int, ...]) -> list[Outcome]:
    random = np.random.default_rng(seed)
    return [
        conclude(draw_study(scenario.models, scenario.design, random), scenario)
        for _ in range(studies)
    ]
