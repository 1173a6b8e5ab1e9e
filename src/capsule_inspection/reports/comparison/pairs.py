"""Statistical comparison of pairs of models: what each pair shows.

`differences` says in what two models differ; here that is corrected for the number of pairs and
judged by the settings. `decision` draws the conclusion from all pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.intervals import Limits
from capsule_inspection.metrics.paired_tests import PairedDifference, holm, required_sample_size
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.reports.comparison.differences import (
    EqualRate,
    ModelPair,
    RetrainingTest,
    compare_at_equal_rate,
    image_differences,
    mask_differences,
    retraining_tests,
    why_not_comparable,
)
from capsule_inspection.reports.comparison.metrics import ERROR_RATES, ModelMetrics
from capsule_inspection.reports.comparison.table import ModelRuns
from capsule_inspection.reports.comparison.wording import note
from capsule_inspection.types import ConfigurationError, Costs

SIGNIFICANCE = 0.05
"""Level of the primary endpoint over all pairs together, and of one-sided tests of a margin."""


@dataclass(frozen=True)
class DecisionSettings:
    """What decides, named before looking: the primary metric and the margin that matters.

    `primary` None is expected cost where costs are given, balanced accuracy where all models name
    defects, else AUROC.
    """

    primary: str | None = None
    margin: float = 0.05
    costs: Costs | None = None

    def primary_metric(self, models: Sequence[ModelRuns]) -> str:
        """The metric that decides a comparison of these models."""
        if self.primary is not None:
            return self.primary
        if self.costs is not None:
            return names.EXPECTED_COST
        names_defects = all(model.names_defects for model in models)
        return names.BALANCED_ACCURACY if names_defects else names.AUROC


class Verdict(StrEnum):
    """What a pair shows."""

    BETTER = "better"
    TRADE_OFF = "trade_off"
    EQUIVALENT = "equivalent"
    NOT_DISTINGUISHABLE = "not_distinguishable"
    REFUSED = "refused"


@dataclass(frozen=True)
class PairwiseComparison:
    """Two models on the images that they share.

    `differences` are first minus second by metric; `corrected_p_values` (Holm) and `simultaneous`
    intervals (Bonferroni) are for all pairs that were compared by the metric, `num_pairs`.
    `num_correct` counts the images that each predicts correctly, `num_only_first` those that only
    the first does (over several seeds: mean fractions, summed). `required_images` is the range of
    the numbers of images that would show a difference of the margin in the primary metric.
    `better` is the model that is better in the primary metric, `worse_in` the error rates in which
    it is worse, or not shown to be no worse. `not_comparable`, `missing_auroc` and `missing_masks`
    say why something is not compared.
    """

    first: str
    second: str
    num_images: int
    num_groups: int
    num_first_images: int
    num_second_images: int
    differences: dict[str, PairedDifference] = field(default_factory=dict)
    corrected_p_values: dict[str, float] = field(default_factory=dict)
    simultaneous: dict[str, Limits] = field(default_factory=dict)
    num_pairs: dict[str, int] = field(default_factory=dict)
    num_correct: tuple[float, float] | None = None
    num_only_first: float = 0.0
    num_only_second: float = 0.0
    required_images: tuple[int, int] | None = None
    verdict: Verdict = Verdict.REFUSED
    better: str | None = None
    worse_in: tuple[str, ...] = ()
    equal_rate: EqualRate | None = None
    retraining_tests: dict[str, RetrainingTest] | None = None
    not_comparable: str | None = None
    missing_auroc: str | None = None
    missing_masks: str | None = None

    def other(self, model: str) -> str:
        """The other model of the pair."""
        return self.second if model == self.first else self.first

    def difference_of(self, model: str, metric: str) -> PairedDifference:
        """This model less the other one."""
        difference = self.differences[metric]
        return difference if model == self.first else difference.mirrored()

    def is_significant(self, metric: str) -> bool:
        """Whether the two differ in a metric, at 5% for all pairs together."""
        return self.corrected_p_values.get(metric, 1.0) < SIGNIFICANCE

    def winner(self, metric: str) -> str | None:
        """The model that is significantly better in a metric."""
        if not self.is_significant(metric):
            return None
        is_higher = self.differences[metric].value > 0
        return self.first if is_higher != (metric in LOWER_IS_BETTER) else self.second


def compare_pairs(
    results: Sequence[ModelMetrics], settings: DecisionSettings, *, reference: str | None = None
) -> list[PairwiseComparison]:
    """Compare every pair of models, or each with a reference.

    Raises ConfigurationError where no pair can be compared by the primary metric that is named.
    """
    models = {result.name: result.model for result in results}
    chosen = (
        itertools.combinations(models.values(), 2)
        if reference is None
        else [(models[reference], model) for name, model in models.items() if name != reference]
    )
    pairs = [ModelPair.of(*both) for both in chosen]
    compared = [_compare(pair, settings) for pair in pairs]
    primary = settings.primary_metric(list(models.values()))
    _require_primary(compared, settings)
    return [
        replace(decided, equal_rate=compare_at_equal_rate(pair))
        if decided.verdict is Verdict.TRADE_OFF and pair.has_good_and_defects
        else decided
        for decided, pair in zip(decide(compared, primary, settings), pairs, strict=True)
    ]


def decide(
    compared: Sequence[PairwiseComparison], primary: str, settings: DecisionSettings
) -> list[PairwiseComparison]:
    """The comparisons, corrected for their number, with what each shows."""
    return [_decide(comparison, primary, settings) for comparison in _correct(compared)]


def _require_primary(compared: Sequence[PairwiseComparison], settings: DecisionSettings) -> None:
    known = list(dict.fromkeys(metric for pair in compared for metric in pair.differences))
    if known and settings.primary is not None and settings.primary not in known:
        raise ConfigurationError(
            f"compare.primary={settings.primary}: no two of these models can be compared by it. "
            f"Choose one of {', '.join(known)}."
        )


def _compare(pair: ModelPair, settings: DecisionSettings) -> PairwiseComparison:
    first, second = pair.models
    found = PairwiseComparison(
        first.name,
        second.name,
        len(pair.images),
        pair.images["group"].nunique(),
        len(first.images),
        len(second.images),
        not_comparable=why_not_comparable(pair),
    )
    if found.not_comparable:
        return found
    masks, missing_masks = mask_differences(pair)
    differences = image_differences(pair, settings.costs) | masks
    has_auroc = names.AUROC in differences or not pair.has_good_and_defects
    found = replace(
        found,
        differences=differences,
        missing_auroc=None if has_auroc else note("no_auroc", first.name, second.name),
        missing_masks=missing_masks,
        retraining_tests=retraining_tests(pair, list(differences)),
    )
    if not pair.name_defects:
        return found
    correct = pair.both("correct")
    return replace(
        found,
        num_correct=(float(correct[0].sum()), float(correct[1].sum())),
        num_only_first=float(np.maximum(correct[0] - correct[1], 0).sum()),
        num_only_second=float(np.maximum(correct[1] - correct[0], 0).sum()),
    )


def _correct(comparisons: Sequence[PairwiseComparison]) -> list[PairwiseComparison]:
    """Correct p values and intervals of each metric for the number of pairs."""
    tested: dict[str, list[float]] = {}
    for pair in comparisons:
        for metric, difference in pair.differences.items():
            if difference.p_value is not None:
                tested.setdefault(metric, []).append(difference.p_value)
    num_pairs = {metric: len(p_values) for metric, p_values in tested.items()}
    corrected = {
        metric: dict(zip(p_values, holm(p_values).tolist(), strict=True))
        for metric, p_values in tested.items()
    }
    return [
        replace(
            pair,
            corrected_p_values={
                metric: corrected[metric][difference.p_value]
                for metric, difference in pair.differences.items()
                if difference.p_value is not None
            },
            simultaneous={
                metric: limits
                for metric, difference in pair.differences.items()
                if (limits := difference.interval(1 - SIGNIFICANCE / num_pairs.get(metric, 1)))
            },
            num_pairs=num_pairs,
        )
        for pair in comparisons
    ]


def _decide(
    comparison: PairwiseComparison, primary: str, settings: DecisionSettings
) -> PairwiseComparison:
    """What the pair shows in the primary metric and the error rates."""
    differences, margin = comparison.differences, settings.margin
    difference = differences.get(primary)
    if difference is None or difference.p_value is None:
        return comparison
    level = SIGNIFICANCE / comparison.num_pairs[primary]
    rates = [rate for rate in ERROR_RATES if rate != primary and rate in differences]
    if primary == names.EXPECTED_COST:  # it weighs both error rates against each other
        rates = []
    better = comparison.winner(primary)
    worse_in: tuple[str, ...] = ()
    if better is not None:  # also shown to be no worse in the error rates?
        of_better = {rate: comparison.difference_of(better, rate) for rate in rates}
        worse_in = tuple(
            rate for rate, of in of_better.items() if not of.is_below(margin, alpha=SIGNIFICANCE)
        )
        verdict = Verdict.TRADE_OFF if worse_in else Verdict.BETTER
    elif all(
        differences[metric].is_equivalent(margin, alpha=SIGNIFICANCE)
        for metric in (primary, *rates)
    ):
        verdict = Verdict.EQUIVALENT
    else:
        winners = {comparison.winner(rate) for rate in rates} - {None}
        verdict = Verdict.TRADE_OFF if len(winners) > 1 else Verdict.NOT_DISTINGUISHABLE
    return replace(
        comparison,
        required_images=required_sample_size(difference, margin, alpha=level),
        verdict=verdict,
        better=better,
        worse_in=worse_in,
    )
