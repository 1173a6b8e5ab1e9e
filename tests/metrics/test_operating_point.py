"""Operating points of classifiers: which threshold is chosen, on what, and that it helps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from capsule_inspection.metrics.operating_point import operating_point
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.types import Costs

GOOD = np.linspace(0.02, 0.30, 35)
DEFECTS = np.linspace(0.60, 0.98, 17)


def choose(
    good: np.ndarray = GOOD,
    defects: np.ndarray = DEFECTS,
    *,
    prior: float = 0.5,
    costs: Costs | None = None,
    groups: np.ndarray | None = None,
) -> Threshold:
    is_defect = np.arange(len(good) + len(defects)) >= len(good)
    if groups is None:
        groups = np.arange(len(is_defect)).astype(str)
    score = np.concatenate([good, defects])
    return operating_point(is_defect, score, groups, prior=prior, costs=costs)


def test_the_default_stays_where_it_separates_the_images() -> None:
    found = choose()
    assert (found.value, found.default, found.rule) == (0.5, 0.5, "operating_point")
    assert (found.good_images, found.defect_images, found.enough) == (35, 17, True)
    assert (found.criterion, found.criterion_value, found.best) == ("balanced_error", 0, 0)
    assert found.standard_error == pytest.approx(
        0.5 * np.hypot(np.sqrt((1 / 37 * 36 / 37) / 35), np.sqrt((1 / 19 * 18 / 19) / 17))
    )


def test_where_it_does_not_the_nearest_within_one_standard_error_is_chosen() -> None:
    good, defects = GOOD / 3, DEFECTS / 3  # all scores are far too low
    found = choose(good, defects)
    # Missing one of 17 is 0.029 and within the error of 0.032, missing two is not.
    assert found.value == pytest.approx((defects[0] + defects[1]) / 2)
    assert found.criterion_value == pytest.approx(0.5 / 17)
    assert found.criterion_value <= found.best + found.standard_error < 2 * 0.5 / 17
    higher = choose(1 - defects, 1 - good)  # the same from above, with the sides exchanged
    assert 0.5 < higher.value < 1


@pytest.mark.parametrize("prior", [0.1, 1 / 3, 0.5, 0.9])
def test_the_default_of_balanced_error_is_the_assumed_fraction_of_defects(prior: float) -> None:
    assert choose(prior=prior, good=GOOD[:0]).value == pytest.approx(prior)


def test_the_default_of_costs_is_that_of_bayes_for_the_rate_in_production() -> None:
    # With the rate that the probabilities assume: reject where p * 9 > (1 - p) * 1.
    found = choose(prior=0.2, costs=Costs(9, 1, 0.2))
    assert found.default == pytest.approx(0.1)
    assert (found.criterion, found.defect_rate) == ("expected_cost", 0.2)
    # Rarer defects shift the log odds by as much as the prior does.
    rarer = choose(prior=0.2, costs=Costs(9, 1, 0.02)).default
    odds = (rarer / (1 - rarer)) / (0.1 / 0.9)
    assert odds == pytest.approx((0.2 / 0.8) / (0.02 / 0.98))
    assert choose(costs=Costs(2, 1)).defect_rate == pytest.approx(17 / 52)


def test_equal_costs_and_halves_are_the_balanced_error() -> None:
    rng = np.random.default_rng(0)
    good, defects = rng.beta(2, 5, 35), rng.beta(5, 2, 17)
    by_cost = choose(good, defects, prior=0.3, costs=Costs(1, 1, 0.5))
    balanced = choose(good, defects, prior=0.3)
    assert by_cost.value == balanced.value
    assert by_cost.criterion_value == pytest.approx(balanced.criterion_value)


@pytest.mark.parametrize(
    ("costs", "value"), [(Costs(1, 0), 0.0), (Costs(0, 1), 1.0), (Costs(1e6, 1e6, 0.5), 0.5)]
)
def test_a_side_that_costs_nothing_is_given_up(costs: Costs, value: float) -> None:
    assert choose(costs=costs).value == value


@pytest.mark.parametrize(("good", "defects"), [(GOOD[:0], DEFECTS), (GOOD, DEFECTS[:0])])
def test_without_one_side_the_default_is_used(good: np.ndarray, defects: np.ndarray) -> None:
    for costs in (None, Costs(5, 1), Costs(5, 1, 0.1)):
        found = choose(good, defects, costs=costs, prior=0.25)
        assert (found.value, found.enough) == (found.default, False)
        assert (found.good_images, found.defect_images) == (len(good), len(defects))
        assert found.criterion_value is None


def test_images_of_one_group_are_one_observation_in_the_standard_error() -> None:
    four = np.arange(13).astype(str).repeat(4)  # the last group of good images has 3
    groups = np.concatenate([four[:35], np.char.add("d", four[:17])])
    alone, grouped = choose(), choose(groups=groups)
    assert 1.5 < grouped.standard_error / alone.standard_error < 4
    defects = DEFECTS / 3
    assert choose(GOOD / 3, defects, groups=groups).value > choose(GOOD / 3, defects).value


def test_a_threshold_lies_halfway_between_neighbouring_scores() -> None:
    rng = np.random.default_rng(1)
    good, defects = rng.beta(2, 9, 35), rng.beta(2, 4, 17)
    value = choose(good, defects).value
    level = np.unique(np.concatenate([good, defects, [0, 1]]))
    assert value == 0.5 or value in (level[1:] + level[:-1]) / 2


def test_it_is_stored_as_plain_values() -> None:
    found = choose(costs=Costs(3, 1))
    stored = json.loads(json.dumps(found.state_dict()))
    assert Threshold.from_state_dict(stored) == found
    assert Threshold.from_state_dict(Threshold(None, "argmax").state_dict()).value is None


def test_an_impossible_prior_and_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="prior must be between 0 and 1, found 1"):
        choose(prior=1)
    with pytest.raises(ValueError, match="must be finite, found nan"):
        choose(good=np.append(GOOD, np.nan))


@pytest.mark.parametrize("costs", [None, Costs(10, 1, 0.1), Costs(1, 1, 0.3)])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.5])
def test_on_new_images_it_is_better_than_the_lowest_of_35_and_17(
    costs: Costs | None, shift: float
) -> None:
    """Normal scores, whose log odds are wrong by a shift, as after a calibration on few images."""
    rng = np.random.default_rng(0)

    def draw(count: int, mean: float) -> np.ndarray:
        return 1 / (1 + np.exp(-3 * rng.normal(mean, 1, count) - shift))

    weights = (0.5, 0.5) if costs is None else (
        costs.false_negative * costs.defect_rate, costs.false_positive * (1 - costs.defect_rate)
    )  # fmt: skip
    new_good, new_defects = draw(20_000, -1.5), draw(20_000, 1.5)

    def criterion(threshold: float) -> float:
        missed, rejected = (new_defects <= threshold).mean(), (new_good > threshold).mean()
        return weights[0] * missed + weights[1] * rejected

    chosen, lowest = [], []
    for _ in range(200):
        good, defects = draw(35, -1.5), draw(17, 1.5)
        chosen.append(criterion(choose(good, defects, costs=costs).value))
        levels = np.unique(np.concatenate([good, defects, [0, 1]]))
        middle = (levels[1:] + levels[:-1]) / 2
        values = [
            weights[0] * (defects <= t).mean() + weights[1] * (good > t).mean() for t in middle
        ]
        lowest.append(criterion(middle[int(np.argmin(values))]))
    assert np.mean(chosen) < np.mean(lowest)
