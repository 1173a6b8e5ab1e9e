from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from capsule_inspection.metrics import intervals


def test_proportion_equals_the_published_wilson_intervals_of_60_and_59_in_66():
    sixty, fifty_nine = intervals.proportion(60, 66), intervals.proportion(59, 66)
    assert (sixty.ci_low, sixty.ci_high) == pytest.approx((0.816, 0.958), abs=5e-4)
    assert (fifty_nine.ci_low, fifty_nine.ci_high) == pytest.approx((0.797, 0.948), abs=5e-4)
    assert (sixty.value, sixty.n) == (60 / 66, 66)
    low, high = intervals.wilson_limits(60, 66, confidence=0.99)
    assert low < sixty.ci_low < sixty.ci_high < high


def test_proportion_of_three_in_three_does_not_claim_certainty():
    estimate, none = intervals.proportion(3, 3), intervals.proportion(0, 3)
    assert estimate.ci_low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)  # Wilson, by hand
    assert (estimate.value, estimate.ci_high, none.ci_low) == (1.0, 1.0, 0.0)
    assert none.ci_high == pytest.approx(1 - estimate.ci_low)


def test_mean_of_proportions_has_the_exact_limits_of_scipy_and_combines_them_as_by_hand():
    estimate, exact = (
        intervals.mean_of_proportions(np.array([7]), np.array([10])),
        binomtest(7, 10).proportion_ci(),
    )
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((exact.low, exact.high))
    # Clopper-Pearson of 3 in 3 begins at 0.025 ** (1/3), of 0 in 2 ends at 1 - 0.025 ** (1/2).
    estimate = intervals.mean_of_proportions(np.array([3, 0]), np.array([3, 2]))
    assert (estimate.value, estimate.n) == (0.5, 5)
    assert estimate.ci_low == pytest.approx(0.5 - (1 - 0.025 ** (1 / 3)) / 2)
    assert estimate.ci_high == pytest.approx(0.5 + (1 - 0.025 ** (1 / 2)) / 2)
    perfect = intervals.mean_of_proportions(np.array([44, 3, 3]), np.array([44, 3, 3]))
    assert (perfect.value, perfect.ci_high) == (1.0, 1.0)
    assert perfect.ci_low < 0.8


@pytest.mark.parametrize("recalls", [(0.9, 0.6, 0.3, 0.7), (0.98, 0.9, 0.8, 0.95)])
def test_mean_of_proportions_covers_a_known_truth(recalls):
    totals = np.array([44, 5, 4, 4])
    counts = np.random.default_rng(0).binomial(totals, recalls, size=(400, 4))
    metrics = [intervals.mean_of_proportions(c, totals) for c in counts]
    assert np.mean([f.ci_low <= np.mean(recalls) <= f.ci_high for f in metrics]) >= 0.93


def test_auroc_equals_scikit_learn_with_ties_and_mirrors():
    generator = np.random.default_rng(1)
    good, defect = generator.integers(0, 6, 40), generator.integers(2, 9, 13)
    estimate, mirrored = intervals.auroc(good, defect), intervals.auroc(-good, -defect)
    label = np.r_[np.zeros(40), np.ones(13)]
    assert estimate.value == pytest.approx(roc_auc_score(label, np.r_[good, defect]))
    assert estimate.ci_low < estimate.value < estimate.ci_high
    assert estimate.n == 53
    assert mirrored.value == pytest.approx(1 - estimate.value)
    assert mirrored.ci_low == pytest.approx(1 - estimate.ci_high)


def test_auroc_limits_solve_the_equation_of_newcombe():
    estimate = intervals.auroc(np.arange(20.0), np.arange(8.0) + 9.5)
    for area in (estimate.ci_low, estimate.ci_high):
        star = (20 + 8) / 2 - 1
        variance = (
            area * (1 - area) / 160 * (1 + star * ((1 - area) / (2 - area) + area / (1 + area)))
        )
        assert abs(area - estimate.value) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)


def test_perfect_auroc_has_width_that_shrinks_with_images():
    few = intervals.auroc(np.zeros(5), np.ones(3))
    many = intervals.auroc(np.zeros(200), np.ones(100))
    assert few.value == few.ci_high == many.value == 1.0
    assert few.ci_low < 0.7 < 0.97 < many.ci_low < 1.0


def test_average_precision_equals_scikit_learn_and_doubts_a_perfect_one():
    label = np.r_[np.zeros(30, bool), np.ones(9, bool)]
    score = np.random.default_rng(2).normal(size=39) + label
    estimate = intervals.average_precision(label, score)
    perfect = intervals.average_precision(label, label.astype(float))
    assert estimate.value == pytest.approx(average_precision_score(label, score))
    assert estimate.ci_low < estimate.value < estimate.ci_high
    assert perfect.value == perfect.ci_high == 1.0
    assert perfect.ci_low == pytest.approx(intervals.proportion(9, 9).ci_low)


def test_effective_size_is_kishs_and_the_number_of_images_where_each_stands_alone():
    assert intervals.effective_size(np.array(["a", "b", "b", "b"])) == 16 / 10
    assert intervals.effective_size(np.repeat(np.arange(6), 4)) == 6
    for images in (1, 3, 7, 1000):
        assert intervals.effective_size(np.arange(images)) == images


def test_groups_are_numbered_in_order_of_appearance():
    assert intervals.group_numbers(np.array(["b", "a", "b", "c"]), 4).tolist() == [0, 1, 0, 2]
    assert intervals.group_numbers(None, 3).tolist() == [0, 1, 2]


def test_images_of_one_group_are_one_observation_of_a_proportion():
    group = np.repeat(np.arange(10), 4)
    once, four_times = intervals.proportion(9, 10), intervals.proportion(36, 40, group=group)
    assert vars(four_times) == pytest.approx(vars(once))
    perfect = intervals.proportion(7, 7, group=np.array([0, 0, 0, 1, 1, 2, 3]))
    assert perfect.ci_high == 1.0
    assert perfect.ci_low == pytest.approx(intervals.wilson_limits(49 / 15, 49 / 15)[0])


def test_images_of_one_group_are_one_observation_of_every_closed_form():
    successes, n, group = np.array([9, 3]), np.array([10, 3]), np.arange(13)
    means = [
        intervals.mean_of_proportions(successes, n),
        intervals.mean_of_proportions(4 * successes, 4 * n, np.split(np.repeat(group, 4), [40])),
    ]
    good, defect = np.arange(9.0), np.arange(6.0) + 4.5
    is_defect, score = np.arange(15) >= 9, np.r_[good, defect]
    groups = np.repeat(np.arange(9), 2), np.repeat(np.arange(9, 15), 2)
    areas = [
        intervals.auroc(good, defect),
        intervals.auroc(np.repeat(good, 2), np.repeat(defect, 2), groups=groups),
    ]
    precisions = [
        intervals.average_precision(is_defect, score),
        intervals.average_precision(
            np.repeat(is_defect, 2), np.repeat(score, 2), group=np.repeat(np.arange(15), 2)
        ),
    ]
    for once, repeated in (means, areas):
        assert vars(repeated) == pytest.approx(vars(once))
    assert precisions[0].n == precisions[1].n == 15
    assert precisions[1].ci_low == pytest.approx(
        intervals.wilson_limits(precisions[1].value * 6, 6)[0]
    )
