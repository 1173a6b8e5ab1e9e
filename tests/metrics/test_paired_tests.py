from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from capsule_inspection.metrics import paired_tests
from capsule_inspection.metrics.paired_tests import (
    PairedDifference,
    cost_difference,
    mean_difference,
)
from capsule_inspection.types import Costs

IMAGES = 66


def right(*wrong: int, images: int = IMAGES) -> np.ndarray:
    """Which images are predicted correctly: all but those in the range of `wrong`."""
    found = np.ones(images)
    found[range(*wrong)] = 0
    return found


def difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    group: np.ndarray | None = None,
    label: np.ndarray | None = None,
) -> PairedDifference:
    alone = np.arange(len(first)) if group is None else group
    return mean_difference(first, second, group=alone, stratum=label)


def excludes_zero(found: PairedDifference) -> bool:
    assert found.ci_low is not None
    assert found.ci_high is not None
    return not found.ci_low <= 0 <= found.ci_high


def draw_pairs(count: int) -> list[PairedDifference]:
    """Differences of small studies: groups, strata and seeds of many kinds."""
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        images = int(random.integers(2, 60))
        seeds = int(random.integers(1, 4))
        skill = random.random(2)
        first, second = (
            (random.random((seeds, images)) < of_model).mean(axis=0) for of_model in skill
        )
        label = np.sort(random.integers(0, random.integers(1, 5), images))
        group = random.integers(0, images, images)
        found.append(difference(first, second, group=group, label=label))
    return found


def test_without_strata_and_groups_it_is_mcnemars_test_with_half_an_image_added() -> None:
    first, second = right(6, 13), right(13, 32)
    found = difference(first, second)
    only_first, only_second = 19, 7
    statistic = (only_first - only_second) / math.sqrt(only_first + only_second + 0.5)
    assert found.value == pytest.approx(12 / IMAGES)
    assert found.p_value == pytest.approx(2 * norm.sf(statistic))
    table = [[40, only_first], [only_second, 0]]
    assert found.p_value == pytest.approx(
        mcnemar(table, exact=False, correction=False).pvalue, abs=0.01
    )
    assert found.p_value < mcnemar(table, exact=True).pvalue
    assert (found.n, found.n_groups, found.test) == (IMAGES, IMAGES, "score test")


def test_the_answers_of_60_59_and_47_of_66() -> None:
    nested = [difference(right(6), right(wrong)) for wrong in (6, 7, 19)]
    assert [found.p_value < 0.05 for found in nested if found.p_value] == [False, False, True]
    assert difference(right(6), right(6, 13)).p_value == pytest.approx(1, abs=0.3)
    assert difference(right(6), right(13, 32)).p_value < 0.05


def test_62_against_57_nested_has_an_interval_and_a_test_that_agree() -> None:
    found = difference(right(4), right(9))
    assert found.p_value == pytest.approx(2 * norm.sf(5 / math.sqrt(5.5)))
    assert found.p_value < 0.05
    assert found.ci_low > 0


def test_the_interval_excludes_zero_exactly_where_the_test_rejects() -> None:
    found = draw_pairs(400)
    rejected = [one.p_value < 0.05 for one in found]
    assert rejected == [excludes_zero(one) for one in found]
    assert 40 < sum(rejected) < 360
    for one in found:
        limits = one.interval(0.99)
        assert limits is not None
        assert limits[0] <= one.ci_low <= one.value <= one.ci_high <= limits[1]
        assert (one.p_value < 0.01) == (not limits[0] <= 0 <= limits[1])


def test_limits_are_the_differences_that_the_test_does_not_reject() -> None:
    for one in draw_pairs(60):
        score = one.score
        for limit in (one.ci_low, one.ci_high):
            if abs(limit) < 1:
                assert abs(score.statistic(limit)) == pytest.approx(norm.ppf(0.975), abs=1e-6)


def test_exchanging_the_models_mirrors_everything() -> None:
    label = np.arange(IMAGES) % 3
    for kwargs in ({}, {"label": label}, {"group": np.arange(IMAGES) // 2}):
        one, other = (
            difference(*pair, **kwargs)
            for pair in ((right(4), right(2, 20)), (right(2, 20), right(4)))
        )
        for mirrored in (other, one.mirrored()):
            assert mirrored.value == pytest.approx(-one.value)
            assert mirrored.ci_low == pytest.approx(-one.ci_high)
            assert mirrored.p_value == pytest.approx(one.p_value)
            assert mirrored.interval(0.9) == pytest.approx(other.interval(0.9))


def test_intervals_cover_the_true_difference() -> None:
    random, covered, studies = np.random.default_rng(0), 0, 500
    label = np.repeat([0, 1, 2], [40, 20, 8])
    for _ in range(studies):
        difficulty = random.random(len(label))
        first = difficulty < np.array([0.9, 0.8, 0.7])[label]
        second = (0.7 * difficulty + 0.3 * random.random(len(label))) < 0.6
        truth = np.mean([0.9, 0.8, 0.7]) - second_rate()
        found = difference(first.astype(float), second.astype(float), label=label)
        covered += found.ci_low <= truth <= found.ci_high
    assert covered / studies > 0.93


def second_rate() -> float:
    """Probability that 0.7 U + 0.3 V < 0.6 for uniform U and V."""
    grid = (np.arange(2000) + 0.5) / 2000
    return float(np.clip((0.6 - 0.7 * grid) / 0.3, 0, 1).mean())


def test_models_that_agree_have_an_interval_with_a_width() -> None:
    few, many = (difference(right(3, images=n), right(3, images=n)) for n in (20, 200))
    for found in (few, many):
        assert (found.value, found.p_value) == (0, 1)
        assert found.ci_low == pytest.approx(-found.ci_high)
    assert few.ci_high > 5 * many.ci_high > 0


def test_images_of_one_group_are_one_observation() -> None:
    first, second = right(4, images=40), right(14, images=40)
    once = difference(first, second)
    often = difference(*(np.repeat(of, 4) for of in (first, second)), group=np.repeat(range(40), 4))
    assert (often.value, often.p_value) == pytest.approx((once.value, once.p_value))
    assert (often.ci_low, often.ci_high) == pytest.approx((once.ci_low, once.ci_high))
    assert (often.n, often.n_groups) == (160, 40)
    ignored = difference(*(np.repeat(of, 4) for of in (first, second)))
    assert ignored.p_value < 0.01 * once.p_value


def test_groups_may_hold_images_of_several_classes() -> None:
    first, second, label = right(8), right(20), np.arange(IMAGES) % 2
    found = difference(first, second, label=label, group=np.arange(IMAGES) // 2)
    assert found.value == pytest.approx(12 / IMAGES)
    assert found.n_groups == IMAGES // 2
    # Pairs of one good and one defect image differ together: 6 pairs of 33, all one way.
    assert found.p_value == pytest.approx(2 * norm.sf(6 / math.sqrt(6.5)), rel=1e-6)


def test_seeds_that_agree_are_one_observation_of_each_image() -> None:
    first, second = right(4), right(14)
    seeds = (np.mean([of] * 3, axis=0) for of in (first, second))
    assert difference(*seeds) == difference(first, second)


def test_the_difference_of_balanced_accuracies_is_that_of_scikit_learn() -> None:
    label = np.repeat([0, 1, 2], [40, 6, 4])
    predicted = np.random.default_rng(1).integers(0, 3, (2, 50))
    found = difference(*(predicted == label).astype(float), label=label)
    expected = [balanced_accuracy_score(label, row) for row in predicted]
    assert found.value == pytest.approx(expected[0] - expected[1])


def test_the_difference_of_costs_weighs_the_errors_of_both_sides() -> None:
    is_defect = np.arange(IMAGES) >= 44
    wrong = 1 - right(40, 50), 1 - right(0)
    for rate, defects in ((0.5, 0.5), (None, 22 / 66)):
        costs = Costs(false_negative=9, false_positive=1, defect_rate=rate)
        found = cost_difference(*wrong, is_defect=is_defect, group=np.arange(IMAGES), costs=costs)
        expected = 9 * defects * 6 / 22 + (1 - defects) * 4 / 44
        assert found.value == pytest.approx(expected)
        assert found.scale == pytest.approx(9 * defects + 1 - defects)


def test_agreement_on_few_rare_images_is_no_certainty_about_them() -> None:
    """Nine good images distinguish two models in accuracy, but not in balanced accuracy."""
    label = np.repeat([0, 1, 2, 3, 4, 5], [44, 5, 4, 4, 4, 4])
    first, second = (np.where(np.arange(65) < count, 1.0, 0.0) for count in (41, 32))
    assert difference(first, second).p_value < 0.01
    found = difference(first, second, label=label)
    assert found.p_value > 0.3
    assert found.ci_low < 0


def test_the_added_variance_is_half_an_image_of_mean_weight_or_of_the_strata_that_agree() -> None:
    label = np.repeat([0, 1, 2], [44, 11, 11])
    of_image = 1 / 3 / np.array([44, 11, 11])
    agreeing = difference(right(0), right(13), label=label)
    assert agreeing.score.pseudo == pytest.approx(0.5 * 2 * of_image[1] ** 2)
    first, second = right(0), right(44, 66)
    first[:1] = second[1:2] = 0
    assert difference(first, second, label=label).score.pseudo == pytest.approx(
        0.5 * np.average(of_image**2, weights=[44, 11, 11])
    )


def test_a_margin_is_tested_on_one_side() -> None:
    images = 400
    equal = difference(right(20, images=images), right(10, 30, images=images))
    assert equal.is_below(0.05)
    assert equal.is_equivalent(0.05)
    assert not equal.is_below(0.01)
    worse = difference(1 - right(30, images=images), 1 - right(10, images=images))
    assert not worse.is_below(0.05)
    assert worse.mirrored().is_below(0.05)
    assert not worse.is_equivalent(0.05)
    few = difference(right(1, images=20), right(1, images=20))
    assert not few.is_equivalent(0.05)
    # The one-sided test at 5% agrees with the interval at 90%.
    for one in draw_pairs(100):
        limits = one.interval(0.9)
        assert limits is not None
        assert one.is_below(0.2) == (limits[1] < 0.2)


def test_a_scaled_difference_has_the_same_test_and_limits_in_its_unit() -> None:
    found = difference(right(4), right(14))
    scaled = found.scaled(3.0)
    assert scaled.value == pytest.approx(3 * found.value)
    assert (scaled.ci_low, scaled.ci_high) == pytest.approx((3 * found.ci_low, 3 * found.ci_high))
    assert scaled.interval(0.95) == pytest.approx((scaled.ci_low, scaled.ci_high))
    assert scaled.p_value == found.p_value
    assert scaled.is_below(0.3) == found.is_below(0.3)


def test_holm_is_as_by_hand_and_as_in_statsmodels() -> None:
    np.testing.assert_allclose(paired_tests.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    random = np.random.default_rng(0)
    for count in (1, 2, 28):
        p_values = random.random(count).round(1) * 0.1  # with ties
        expected = multipletests(p_values, method="holm")[1]
        assert paired_tests.holm(list(p_values)).tolist() == expected.tolist()
    assert paired_tests.holm([]).tolist() == []


def test_the_required_images_are_a_range_that_holds_what_the_true_discordance_needs() -> None:
    # Both are wrong in a tenth of the images, never in the same: the variance is .2.
    needed = math.ceil((norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * 0.2 / 0.05**2)
    ranges = []
    for images in (100, 1000):
        first, second = (
            right(images // 10, images=images),
            right(images // 10, images // 5, images=images),
        )
        ranges.append(paired_tests.required_sample_size(difference(first, second), 0.05))
    for low, high in ranges:
        assert low < needed < high
    assert ranges[1][0] > ranges[0][0]
    assert ranges[1][1] < ranges[0][1]
    stricter = paired_tests.required_sample_size(difference(first, second), 0.05, alpha=0.01)
    assert stricter[0] > ranges[1][0]
    plain = PairedDifference(0.1, 0.0, 0.2, 0.05, 66, "a bootstrap")
    assert paired_tests.required_sample_size(plain, 0.05) is None


def test_the_required_images_have_the_power_that_is_promised() -> None:
    random, found, studies = np.random.default_rng(5), 0, 300
    images = math.ceil((norm.ppf(0.975) + norm.ppf(0.8)) ** 2 * 0.25 / 0.1**2)
    for _ in range(studies):
        drawn = random.choice([1.0, -1.0, 0.0], images, p=[0.175, 0.075, 0.75])
        found += difference(np.maximum(drawn, 0), np.maximum(-drawn, 0)).p_value < 0.05
    assert 0.74 < found / studies < 0.86


def test_groups_of_images_need_more_images() -> None:
    first, second = right(10, images=120), right(5, 30, images=120)
    alone = paired_tests.required_sample_size(difference(first, second), 0.05)
    grouped = paired_tests.required_sample_size(
        difference(first, second, group=np.arange(120) // 5), 0.05
    )
    assert grouped[0] > alone[0]
    assert grouped[1] > 3 * alone[1]


def test_a_bootstrap_has_limits_and_p_value_that_agree() -> None:
    drawn = np.random.default_rng(0).normal(0.3, 0.1, 2000)
    found = paired_tests.bootstrap_difference(0.3, drawn, n=50, test="bootstrap", n_groups=25)
    assert found.ci_low == pytest.approx(0.104, abs=0.02)
    assert found.p_value < 0.05
    assert (found.n, found.n_groups) == (50, 25)
    low, high = found.interval(0.99)
    assert low < found.ci_low < found.ci_high < high
    alike = paired_tests.bootstrap_difference(0.0, np.zeros(9), n=50, test="bootstrap")
    assert (alike.p_value, alike.ci_low, alike.interval(0.9)) == (1.0, None, None)
    assert not alike.is_below(0.05)
    few = paired_tests.bootstrap_difference(0.5, np.full(9, 0.5), n=5, test="bootstrap")
    assert few.p_value is None


def test_the_corrected_t_test_is_as_by_hand_and_needs_spread() -> None:
    def t_of(differences: np.ndarray) -> PairedDifference:
        return paired_tests.corrected_resampled_t_test(
            differences, test_images=50, train_images=200
        )

    found = t_of(np.array([0.02, 0.04, 0.0, 0.06, 0.03]))
    # mean .03, variance .0005, (1/5 + 1/4) * .0005 = .000225, t = .03 / .015 = 2 with 4 degrees
    assert found.p_value == pytest.approx(0.11612, abs=1e-5)
    assert found.ci_low == pytest.approx(0.03 - 2.77645 * 0.015, abs=1e-5)
    assert t_of(np.zeros(5)).p_value == 1.0
    assert t_of(np.full(5, 0.25)).p_value is None
