from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from statsmodels.stats.multitest import multipletests

from capsule_inspection.metrics import paired_tests

IMAGES = 66


def right(*wrong: int, images: int = IMAGES) -> np.ndarray:
    """Which images were named correctly: all but those in the ranges of `wrong` (first, last)."""
    found = np.ones(images)
    found[range(*wrong)] = 0
    return found


def test_newcombes_own_example_has_his_limits_and_agreement_has_width() -> None:
    low, high = paired_tests.paired_newcombe_interval(36, 12, 2, 0)
    assert (round(low, 4), round(high, 4)) == (0.0569, 0.3404)
    low, high = paired_tests.paired_newcombe_interval(66, 0, 0, 0)
    assert low < 0 < high
    assert low == pytest.approx(-high)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        (right(6), right(7), 1.0),
        (right(6), right(6, 13), 1.0),
        (right(6), right(19), 2 * 0.5**13),
        (right(6), right(13, 32), 0.014633),
        (right(6, 13), right(13, 32), 0.028959),
        (right(6), right(6), 1.0),
    ],
    ids=["one nested", "one disjoint", "13 nested", "6 and 19", "7 and 19", "equal"],
)
def test_p_values_are_those_of_the_exact_test(
    first: np.ndarray, second: np.ndarray, p_value: float
) -> None:
    found = paired_tests.proportion_difference(first, second)
    assert found.test == "exact McNemar"
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.p_value == pytest.approx(p_value, abs=1e-6)


def test_exchanging_the_two_mirrors_everything() -> None:
    first, second, label = right(4), right(2, 20), np.arange(IMAGES) % 3
    sides = (first, second), (second, first)
    for one, other in (
        [paired_tests.proportion_difference(*pair) for pair in sides],
        [paired_tests.balanced_accuracy_difference(*pair, label) for pair in sides],
    ):
        assert one.value == pytest.approx(-other.value)
        assert one.ci_low == pytest.approx(-other.ci_high)
        assert one.p_value == pytest.approx(other.p_value)


def test_limits_of_paired_proportions_hold_what_they_promise() -> None:
    fractions = (0.72, 0.2, 0.05, 0.03)
    truth, covered = fractions[1] - fractions[2], 0
    for counts in np.random.default_rng(0).multinomial(50, fractions, size=400):
        low, high = paired_tests.paired_newcombe_interval(*map(int, counts))
        covered += low <= truth <= high
    assert covered / 400 > 0.93


def test_fractions_of_seeds_are_judged_by_permutation() -> None:
    first, second = np.random.default_rng(0).integers(0, 4, (2, 60)) / 3
    found = paired_tests.proportion_difference(first, second)
    assert found.test == "paired permutation"
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.ci_low < found.value < found.ci_high
    # Where a single image differs, it may as well have fallen to the other.
    second = first.copy()
    second[0] += 1 / 3 if first[0] < 1 else -1 / 3
    assert paired_tests.proportion_difference(first, second).p_value == 1


def test_seeds_of_one_model_give_no_smaller_p_value_than_one_of_them() -> None:
    """Three seeds that agree are three times the same image, not three images."""
    first, second = right(4), right(14)
    seeds = np.mean([first] * 3, axis=0), np.mean([second] * 3, axis=0)
    assert paired_tests.proportion_difference(*seeds) == paired_tests.proportion_difference(
        first, second
    )


def test_the_difference_of_balanced_accuracies_is_that_of_scikit_learn() -> None:
    label = np.repeat([0, 1, 2], [40, 6, 4])
    predicted = np.random.default_rng(1).integers(0, 3, (2, 50))
    found = paired_tests.balanced_accuracy_difference(*(predicted == label).astype(float), label)
    expected = [balanced_accuracy_score(label, row) for row in predicted]
    assert found.value == pytest.approx(expected[0] - expected[1])


def test_agreement_on_few_rare_images_is_no_certainty_about_them() -> None:
    """Nine good images distinguish two models, but not their balanced accuracies."""
    label = np.repeat([0, 1, 2, 3, 4, 5], [44, 5, 4, 4, 4, 4])
    first, second = (np.where(np.arange(65) < count, 1.0, 0.0) for count in (41, 32))
    assert paired_tests.proportion_difference(first, second).p_value == pytest.approx(2 * 0.5**9)
    found = paired_tests.balanced_accuracy_difference(first, second, label)
    assert found.p_value > 0.3
    assert found.ci_low < 0


def test_the_p_value_of_balanced_accuracy_agrees_with_its_interval() -> None:
    generator = np.random.default_rng(6)
    label = np.repeat([0, 1, 2], [40, 20, 20])
    for gain in (0.0, 0.15, 0.3, 0.45):
        first = (generator.random(80) < 0.5 + gain).astype(float)
        second = (generator.random(80) < 0.5).astype(float)
        found = paired_tests.balanced_accuracy_difference(first, second, label)
        assert (found.p_value < 0.05) == (not found.ci_low <= 0 <= found.ci_high)


def test_holm_is_as_by_hand_and_as_in_statsmodels() -> None:
    np.testing.assert_allclose(paired_tests.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    generator = np.random.default_rng(0)
    for count in (1, 2, 28):
        p_values = generator.random(count).round(1) * 0.1  # with ties
        expected = multipletests(p_values, method="holm")[1]
        assert paired_tests.holm(list(p_values)).tolist() == expected.tolist()
    assert paired_tests.holm([]).tolist() == []


def test_a_difference_of_one_image_needs_hundreds_or_thousands() -> None:
    # By hand, with z of .975 and .8: (1.95996 sqrt(p) + .84162 sqrt(p - d^2))^2 / d^2.
    assert paired_tests.required_sample_size(right(6), right(7)) == 516
    assert paired_tests.required_sample_size(right(6), right(6, 13)) == 6732
    assert paired_tests.required_sample_size(right(6), right(6)) is None


def test_the_needed_images_have_the_power_that_was_promised() -> None:
    first, second = right(10, images=100), right(5, 30, images=100)
    needed, generator, found = (
        paired_tests.required_sample_size(first, second),
        np.random.default_rng(5),
        0,
    )
    for _ in range(200):
        rows = generator.integers(0, 100, needed)
        p_value = paired_tests.proportion_difference(first[rows], second[rows]).p_value
        found += p_value is not None and p_value < 0.05
    assert 0.7 < found / 200 < 0.92


def test_the_corrected_t_test_is_as_by_hand_and_needs_spread() -> None:
    def t_of(differences: np.ndarray) -> paired_tests.PairedDifference:
        return paired_tests.corrected_resampled_t_test(
            differences, test_images=50, train_images=200
        )

    found = t_of(np.array([0.02, 0.04, 0.0, 0.06, 0.03]))
    # mean .03, variance .0005, (1/5 + 1/4) * .0005 = .000225, t = .03 / .015 = 2 with 4 degrees
    assert found.p_value == pytest.approx(0.11612, abs=1e-5)
    assert found.ci_low == pytest.approx(0.03 - 2.77645 * 0.015, abs=1e-5)
    assert t_of(np.zeros(5)).p_value == 1.0
    assert t_of(np.full(5, 0.25)).p_value is None
