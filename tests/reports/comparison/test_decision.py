"""What follows from all pairs, and that tables and simulated arrays lead to the same conclusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from comparisons import measure_runs, write
from simulated_models import model_of, models_of_study, priced, rows_of

from benchmarks.comparison_scenarios import DETECTOR, GOOD, TEN_TO_ONE, Scenario
from benchmarks.simulated_comparisons import compare_study
from benchmarks.simulated_studies import Design, draw_study
from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison.decision import Reason, Recommendation, recommend
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import (
    DecisionSettings,
    PairwiseComparison,
    Verdict,
    compare_pairs,
)
from capsule_inspection.types import ConfigurationError, Costs, Estimate

LABEL = np.repeat([0, 1, 2], [400, 100, 100])
GOOD_IMAGES, DEFECTS = np.arange(400), np.arange(400, 600)


def classifier(name: str, *wrong: Sequence[int]) -> ModelMetrics:
    rows = rows_of(LABEL, np.concatenate(wrong).tolist() if wrong else [])
    return model_of(name, rows, names_defects=True)


def decide(
    models: Sequence[ModelMetrics], **settings
) -> tuple[Recommendation, list[PairwiseComparison]]:
    chosen = DecisionSettings(**settings)
    pairs = compare_pairs(models, chosen)
    return recommend(models, pairs, chosen), pairs


def test_a_model_that_is_better_and_nowhere_worse_is_recommended() -> None:
    found, (pair,) = decide([classifier("a", DEFECTS[:40]), classifier("b", DEFECTS[:10])])
    assert (found.reason, found.model, found.primary) == (
        Reason.RECOMMENDED, "b", names.BALANCED_ACCURACY,
    )  # fmt: skip
    assert (pair.verdict, pair.better, pair.worse_in) == (Verdict.BETTER, "b", ())
    assert found.worse == ("a",)


def test_a_model_that_is_better_but_rejects_more_good_parts_is_a_trade_off() -> None:
    strict = classifier("strict", GOOD_IMAGES[:80])
    found, (pair,) = decide([strict, classifier("lax", DEFECTS[:80])])
    assert (found.reason, found.model) == (Reason.TRADE_OFF, None)
    assert pair.better == "strict"
    assert pair.worse_in == (names.FALSE_POSITIVE_RATE,)
    assert pair.equal_rate is not None
    assert pair.equal_rate.false_positive_rate == 0
    # At the rate of the other one it rejects nothing: its scores are 1 for good images too.
    assert pair.equal_rate.missed[0] == 1


def test_not_shown_to_be_no_worse_is_not_no_worse() -> None:
    """Better in accuracy, and as many good parts rejected, but others, of too few images."""
    label = np.repeat([0, 1], [30, 200])
    a, b = (
        model_of(name, rows_of(label, wrong), names_defects=True)
        for name, wrong in (("a", range(3)), ("b", [*range(3, 6), *range(100, 150)]))
    )
    found, (pair,) = decide([a, b], primary=names.ACCURACY)
    assert pair.differences[names.FALSE_POSITIVE_RATE].value == 0
    assert pair.worse_in == (names.FALSE_POSITIVE_RATE,)
    assert found.reason is Reason.TRADE_OFF
    assert decide([a, b], primary=names.ACCURACY, margin=0.2)[0].model == "a"


def test_better_in_one_error_rate_each_is_a_trade_off_without_a_better_model() -> None:
    found, (pair,) = decide(
        [classifier("a", GOOD_IMAGES[:100]), classifier("b", DEFECTS[:50])],
    )
    assert pair.differences[names.BALANCED_ACCURACY].value == pytest.approx((-0.25 + 0.5) / 3)
    found, (pair,) = decide([classifier("a", GOOD_IMAGES[:100]), classifier("b", DEFECTS[:25])])
    assert (pair.verdict, pair.better) == (Verdict.TRADE_OFF, None)
    assert pair.winner(names.FALSE_NEGATIVE_RATE) == "a"
    assert pair.winner(names.FALSE_POSITIVE_RATE) == "b"
    assert (found.reason, found.candidates) == (Reason.TRADE_OFF, ("a", "b"))


def test_few_images_do_not_distinguish_models_and_do_not_show_them_equal() -> None:
    label = np.repeat([0, 1], [20, 20])
    models = [
        model_of(name, rows_of(label, wrong), names_defects=True)
        for name, wrong in (("a", [1]), ("b", [2]))
    ]
    found, (pair,) = decide(models)
    assert pair.verdict is Verdict.NOT_DISTINGUISHABLE
    assert (found.reason, found.model) == (Reason.NOT_DISTINGUISHABLE, None)
    assert found.candidates == ("a", "b")


def test_of_equivalent_models_the_cheapest_is_named() -> None:
    models = [
        priced(classifier("slow", GOOD_IMAGES[:4]), time_s=100),
        priced(classifier("quick", DEFECTS[:2]), time_s=20),
    ]
    found, (pair,) = decide(models)
    assert pair.verdict is Verdict.EQUIVALENT
    assert (found.reason, found.model, found.cheapest_by) == (
        Reason.EQUIVALENT, "quick", "training_time",
    )  # fmt: skip
    assert decide(models, margin=0.01)[0].reason is Reason.NOT_DISTINGUISHABLE
    alike = [
        priced(models[0], time_s=20, parameters=2e6),
        priced(models[1], time_s=21, parameters=1e6),
    ]
    found = decide(alike)[0]
    assert (found.model, found.cheapest_by) == ("quick", "parameters")


def test_a_recommended_model_is_better_than_every_other() -> None:
    best, equal, worst = (
        classifier(name, DEFECTS[skipped : skipped + count])
        for name, skipped, count in (("best", 0, 20), ("equal", 20, 22), ("worst", 0, 70))
    )
    found, _ = decide([best, equal, worst])
    assert (found.reason, found.model) == (Reason.NOT_DISTINGUISHABLE, None)
    assert (found.candidates, found.worse) == (("best", "equal"), ("worst",))
    assert decide([best, worst])[0].model == "best"


def test_a_model_that_is_better_than_one_but_not_than_a_worse_one_is_not_recommended() -> None:
    """Of a, b and c, b and a differ most, but in errors of both; so no test tells them apart."""

    def pair(first: str, second: str, better: str | None) -> PairwiseComparison:
        verdict = Verdict.NOT_DISTINGUISHABLE if better is None else Verdict.BETTER
        return PairwiseComparison(first, second, 9, 9, 9, 9, verdict=verdict, better=better)

    models = [classifier(name) for name in "abc"]
    pairs = [pair("a", "b", None), pair("a", "c", "a"), pair("b", "c", "c")]
    found = recommend(models, pairs, DecisionSettings())
    assert (found.reason, found.model) == (Reason.NOT_DISTINGUISHABLE, None)
    assert (found.candidates, found.worse) == (("a", "b"), ("c",))


def test_three_pairs_are_corrected_together() -> None:
    """Six defects that only one model misses distinguish two models, but not two of three."""
    models = [classifier(name, DEFECTS[:count]) for name, count in (("a", 6), ("b", 0), ("c", 1))]
    alone = decide(models[:2])[1][0]
    of_three = decide(models)[1][0]
    metric = names.FALSE_NEGATIVE_RATE
    assert alone.corrected_p_values[metric] == alone.differences[metric].p_value < 0.05
    assert alone.winner(metric) == "b"
    assert of_three.corrected_p_values[metric] > 0.05
    assert of_three.winner(metric) is None
    assert of_three.num_pairs[metric] == 3
    assert of_three.simultaneous[metric][0] < of_three.differences[metric].ci_low
    assert of_three.required_images[0] > alone.required_images[0]


NESTED = {"sixty": range(6), "fifty_nine": range(7), "forty_seven": range(19)}
DISJOINT = {"sixty": range(6), "fifty_nine": range(6, 13), "forty_seven": range(13, 32)}


@pytest.mark.parametrize(
    ("errors", "primary"),
    [
        (NESTED, names.BALANCED_ACCURACY),
        (NESTED, names.ACCURACY),
        (DISJOINT, names.ACCURACY),
    ],
    ids=["nested, balanced accuracy", "nested, accuracy", "disjoint, accuracy"],
)
def test_of_60_59_and_47_of_66_only_the_third_is_worse(
    errors: dict[str, range], primary: str
) -> None:
    label = np.repeat([0, 1, 2], [44, 11, 11])
    models = [
        model_of(name, rows_of(label, wrong), names_defects=True) for name, wrong in errors.items()
    ]
    found, (close, *_) = decide(models, primary=primary)
    assert (found.reason, found.model) == (Reason.NOT_DISTINGUISHABLE, None)
    assert (found.candidates, found.worse) == (("sixty", "fifty_nine"), ("forty_seven",))
    assert close.required_images[1] > 66


def test_a_single_model_and_models_without_shared_images_have_no_recommendation() -> None:
    model = classifier("a")
    assert decide([model])[0].reason is Reason.SINGLE
    rows = rows_of(LABEL, []).assign(image_id=lambda table: "other " + table["image_id"])
    found, (pair,) = decide([model, model_of("b", rows, names_defects=True)])
    assert (found.reason, pair.verdict) == (Reason.REFUSED, Verdict.REFUSED)


def test_the_primary_metric_is_the_named_one_or_follows_from_models_and_costs() -> None:
    named = classifier("a")
    detector = model_of("b", rows_of(LABEL, [3]), names_defects=False)
    both = [named.model, detector.model]
    assert DecisionSettings().primary_metric([named.model]) == names.BALANCED_ACCURACY
    assert DecisionSettings().primary_metric(both) == names.AUROC
    assert DecisionSettings(costs=Costs(5, 1)).primary_metric(both) == names.EXPECTED_COST
    assert DecisionSettings("accuracy", costs=Costs(5, 1)).primary_metric(both) == "accuracy"
    with pytest.raises(ConfigurationError, match=r"compare\.primary=accuracy: no two.*auroc"):
        decide([named, detector], primary="accuracy")


def test_costs_decide_where_they_are_given() -> None:
    """Thirty missed defects against ninety rejected good parts."""
    lax, strict = classifier("lax", DEFECTS[:30]), classifier("strict", GOOD_IMAGES[:90])
    found, (pair,) = decide([lax, strict], costs=Costs(10, 1))
    assert found.primary == names.EXPECTED_COST
    assert pair.better == "strict"
    assert pair.differences[names.EXPECTED_COST].value == pytest.approx((300 - 90) / 600)
    assert decide([lax, strict], costs=Costs(1, 1))[1][0].better == "lax"
    rare = decide([lax, strict], costs=Costs(10, 1, defect_rate=0.01))[1][0]
    assert rare.better == "lax"
    assert rare.differences[names.EXPECTED_COST].value == pytest.approx(0.1 * 0.15 - 0.99 * 0.225)


def test_with_a_reference_only_it_is_compared() -> None:
    models = [classifier("a", DEFECTS[:40]), classifier("b"), classifier("c", DEFECTS[:50])]
    settings = DecisionSettings()
    pairs = compare_pairs(models, settings, reference="b")
    assert [(pair.first, pair.second) for pair in pairs] == [("b", "a"), ("b", "c")]
    assert recommend(models, pairs, settings).model == "b"


CLASSIFIERS, DETECTORS = (GOOD, GOOD.better_by(0.5)), (DETECTOR, DETECTOR.better_by(0.5))
SMALL_GROUPS = Design((60, 16, 12, 8, 8, 8), group_size=2, group_agreement=0.5)
SCENARIOS = {
    "classifiers": Scenario("", CLASSIFIERS),
    "groups, folds, seeds": Scenario("", CLASSIFIERS, Design(group_size=3, folds=3, seeds=2)),
    "three, accuracy": Scenario("", (*CLASSIFIERS, GOOD), primary=names.ACCURACY),
    "cost": Scenario("", CLASSIFIERS, SMALL_GROUPS, names.EXPECTED_COST, TEN_TO_ONE),
    "detectors": Scenario("", DETECTORS, SMALL_GROUPS, names.AUROC),
    "one-class folds": Scenario(
        "", DETECTORS, Design(folds=3, seeds=2, common_defects=True), names.AUROC
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_simulated_error_rates_are_those_of_the_comparison(name: str) -> None:
    """`benchmarks.comparison_errors` computes from arrays what the comparison does from tables."""
    scenario = SCENARIOS[name]
    names_defects = scenario.primary != names.AUROC
    settings = DecisionSettings(scenario.primary, scenario.margin, scenario.costs)
    for chance in range(4):
        random = np.random.default_rng(chance)
        study = draw_study(scenario.models, scenario.design, random)
        simulated, expected_pairs = compare_study(study, scenario)
        models = models_of_study(study, names_defects=names_defects)
        pairs = compare_pairs(models, settings)
        found = recommend(models, pairs, settings)
        assert found.reason is simulated.reason
        for pair, expected in zip(pairs, expected_pairs, strict=True):
            assert pair.verdict is expected.verdict
            assert (pair.num_images, pair.num_groups) == (expected.num_images, expected.num_groups)
            for metric, difference in expected.differences.items():
                same = pair.differences[metric]
                assert (same.value, same.ci_low, same.ci_high) == pytest.approx(
                    (difference.value, difference.ci_low, difference.ci_high)
                )
                assert same.p_value == pytest.approx(difference.p_value)


@pytest.mark.parametrize(
    ("limits", "is_named"), [((0.3, 0.7), False), ((0.1, 0.4), False), ((0.6, 0.9), True)]
)
def test_a_model_that_may_be_guessing_is_not_taken_for_its_cost(tmp_path, limits, is_named) -> None:
    runs = [write(tmp_path, name, wrong=wrong) for name, wrong in (("a", (0, 50)), ("long", (1,)))]
    results = measure_runs(runs)
    auroc = Estimate(sum(limits) / 2, *limits, 66)
    results[0] = replace(results[0], metrics={**results[0].metrics, "auroc": auroc})
    pairs = compare_pairs(results, DecisionSettings())
    assert (recommend(results, pairs, DecisionSettings()).cheapest is not None) == is_named
