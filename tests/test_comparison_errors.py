"""Error rates of comparisons, simulated: the reduced version of `benchmarks.comparison_errors`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.comparison_errors import draw_power, null_table, power_table
from benchmarks.comparison_scenarios import (
    BALANCED,
    GOOD,
    MARGIN,
    MISSED,
    Scenario,
    beyond_scenarios,
    margin_scenarios,
    null_scenarios,
    power_scenarios,
)
from benchmarks.simulated_comparisons import Rates, simulate
from benchmarks.simulated_studies import Design, Model, draw_study, true_value

STUDIES = 300
NULL = {scenario.name: scenario for scenario in null_scenarios()}


def allowed(studies: int) -> int:
    """So many of a rate of 5% come about once in a thousand simulations."""
    return int(binom.ppf(0.999, studies, 0.05))


@pytest.mark.parametrize(
    "name",
    [
        "two equal classifiers, 175 good and 87 defects",
        "same scores, two thresholds",
        "groups of 4 with the same answer",
        "two equal classifiers, accuracy",
        "cost 10 : 1, two thresholds",
    ],
)
def test_without_a_difference_no_model_is_recommended_and_none_are_told_apart(name: str) -> None:
    (rates,) = simulate([NULL[name]], STUDIES, processes=1)
    assert rates.studies == STUDIES
    assert rates.recommended <= allowed(STUDIES)
    assert rates.false <= allowed(STUDIES)
    assert rates.covered > 0.92 * STUDIES


def test_of_eight_equal_models_no_two_are_told_apart() -> None:
    (rates,) = simulate([NULL["8 equal classifiers"]], 240, processes=1)
    assert rates.studies == 60
    assert rates.false <= allowed(60)


def test_a_difference_in_missed_defects_is_found_as_often_as_by_exact_mcnemar_tests() -> None:
    scenarios = [
        one
        for one in power_scenarios()
        if one.primary == MISSED and one.effect == pytest.approx(0.12)
    ]
    for rates in simulate(scenarios, 150, processes=1):
        assert rates.found >= rates.found_by_mcnemar > 0.2 * rates.studies
        assert rates.best_recommended > 0.1 * rates.studies
        assert rates.recommended == rates.best_recommended


def test_each_null_scenario_has_nothing_to_choose_and_the_others_what_they_say() -> None:
    scenarios = null_scenarios() + beyond_scenarios()
    assert len({scenario.name for scenario in scenarios}) == len(scenarios)
    for scenario in scenarios:
        assert scenario.difference(0, 1) == pytest.approx(0, abs=1e-9), scenario.name
    for scenario in margin_scenarios():
        first, second = (
            true_value(model, metric, scenario.design)
            for metric in [MISSED if "negative" in scenario.name else scenario.primary]
            for model in scenario.models
        )
        assert abs(first - second) == pytest.approx(MARGIN), scenario.name
    effects = [
        abs(scenario.difference(0, 1)) - scenario.effect
        for scenario in power_scenarios()
        if scenario.primary != BALANCED
    ]
    assert effects == pytest.approx([0] * len(effects), abs=1e-9)


@pytest.mark.parametrize(
    "design",
    [
        Design(),
        Design(group_size=4),
        Design(group_size=2, group_agreement=0.5, folds=3, seeds=2),
        Design(folds=5, common_defects=True, seeds=2),
    ],
    ids=["plain", "groups", "folds and seeds", "one-class folds"],
)
def test_simulated_predictions_have_the_rates_of_their_models(design: Design) -> None:
    models = (GOOD, Model.of(false_positive_rate=0.2, missed=0.3, naming=0.7))
    found = []
    for chance in range(150):
        study = draw_study(models, design, np.random.default_rng(chance))
        of_models = study.of_images(study.correct)
        found.append([of_models[:, study.label == label].mean(axis=1) for label in range(6)])
    rates = np.mean(found, axis=0)
    for number, model in enumerate(models):
        assert rates[0, number] == pytest.approx(1 - model.false_positive_rate, abs=0.02)
        expected = (1 - model.missed) * np.array(model.naming)
        assert rates[1:, number] == pytest.approx(expected, abs=0.05)


def test_images_of_a_group_have_one_fold_one_class_and_the_same_prediction() -> None:
    design = Design(group_size=4, folds=5)
    study = draw_study((GOOD,), design, np.random.default_rng(0))
    for group in np.unique(study.group):
        rows = study.group == group
        assert len(np.unique(study.fold[rows])) == len(np.unique(study.label[rows])) == 1
        assert len(np.unique(study.score[0, 0, rows].round(9))) == 1
    assert np.unique(study.group).size < 262 / 3.5
    common = draw_study((GOOD,), Design(folds=5, common_defects=True), np.random.default_rng(0))
    in_rows = np.bincount(common.image)
    assert set(in_rows[common.label == 0]) == {1}
    assert set(in_rows[common.label > 0]) == {5}
    assert len(np.unique(common.score[0, 0, common.image == 261])) == 5


def test_results_do_not_depend_on_the_number_of_processes_and_are_printed(tmp_path: Path) -> None:
    scenarios = [Scenario("a", (GOOD, GOOD)), Scenario("b", (GOOD.better_by(1), GOOD))]
    once, twice = (simulate(scenarios, 20, processes=count) for count in (1, 2))
    assert once == twice
    assert [rates.scenario.name for rates in once] == ["a", "b"]
    assert once[1].found > once[0].found
    assert "| a | balanced accuracy |" in null_table(once)
    assert power_table(once).count("\n") == 3
    draw_power(once, tmp_path / "power.png")
    assert (tmp_path / "power.png").stat().st_size > 5000


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    rates = Rates(NULL["perfect"], 300, 0, 0, 0, 0, 0, 0, 0)
    assert rates.bound(0) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert binom.cdf(15, 300, rates.bound(15)) == pytest.approx(0.05)
    assert rates.bound(300) == 1
