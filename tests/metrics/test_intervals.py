from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from capsule_inspection.metrics import intervals


def test_proportion_equals_the_published_wilson_intervals_of_60_and_59_in_66():
    sixty, fifty_nine = intervals.proportion(60, 66), intervals.proportion(59, 66)
    assert (sixty.low, sixty.high) == pytest.approx((0.816, 0.958), abs=5e-4)
    assert (fifty_nine.low, fifty_nine.high) == pytest.approx((0.797, 0.948), abs=5e-4)
    assert (sixty.value, sixty.n) == (60 / 66, 66)
    surer = intervals.proportion(60, 66, confidence=0.99)
    assert surer.low < sixty.low < sixty.high < surer.high


def test_proportion_of_three_in_three_does_not_claim_certainty():
    figure, none = intervals.proportion(3, 3), intervals.proportion(0, 3)
    assert figure.low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)  # Wilson, by hand
    assert (figure.value, figure.high, none.low) == (1.0, 1.0, 0.0)
    assert none.high == pytest.approx(1 - figure.low)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (4, 3), (-1, 3)])
def test_impossible_proportions_are_refused(successes, n):
    with pytest.raises(ValueError, match="successes must lie in"):
        intervals.proportion(successes, n)


def test_mean_of_proportions_has_the_exact_limits_of_scipy_and_combines_them_as_by_hand():
    figure, exact = intervals.mean_of_proportions([7], [10]), binomtest(7, 10).proportion_ci()
    assert (figure.low, figure.high) == pytest.approx((exact.low, exact.high))
    # Clopper-Pearson of 3 in 3 begins at 0.025 ** (1/3), of 0 in 2 ends at 1 - 0.025 ** (1/2).
    figure = intervals.mean_of_proportions([3, 0], [3, 2])
    assert (figure.value, figure.n) == (0.5, 5)
    assert figure.low == pytest.approx(0.5 - (1 - 0.025 ** (1 / 3)) / 2)
    assert figure.high == pytest.approx(0.5 + (1 - 0.025 ** (1 / 2)) / 2)
    perfect = intervals.mean_of_proportions([44, 3, 3], [44, 3, 3])
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low < 0.8


@pytest.mark.parametrize("recalls", [(0.9, 0.6, 0.3, 0.7), (0.98, 0.9, 0.8, 0.95)])
def test_mean_of_proportions_covers_a_known_truth(recalls):
    totals = np.array([44, 5, 4, 4])
    counts = np.random.default_rng(0).binomial(totals, recalls, size=(400, 4))
    figures = [intervals.mean_of_proportions(c, totals) for c in counts]
    assert np.mean([f.low <= np.mean(recalls) <= f.high for f in figures]) >= 0.93


def test_auroc_equals_scikit_learn_with_ties_and_mirrors():
    generator = np.random.default_rng(1)
    good, defect = generator.integers(0, 6, 40), generator.integers(2, 9, 13)
    figure, mirrored = intervals.auroc(good, defect), intervals.auroc(-good, -defect)
    label = np.r_[np.zeros(40), np.ones(13)]
    assert figure.value == pytest.approx(roc_auc_score(label, np.r_[good, defect]))
    assert figure.low < figure.value < figure.high
    assert figure.n == 53
    assert mirrored.value == pytest.approx(1 - figure.value)
    assert mirrored.low == pytest.approx(1 - figure.high)


def test_auroc_limits_solve_the_equation_of_newcombe():
    figure = intervals.auroc(np.arange(20.0), np.arange(8.0) + 9.5)
    for area in (figure.low, figure.high):
        star = (20 + 8) / 2 - 1
        variance = (
            area * (1 - area) / 160 * (1 + star * ((1 - area) / (2 - area) + area / (1 + area)))
        )
        assert abs(area - figure.value) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)


def test_perfect_auroc_has_width_that_shrinks_with_images():
    few = intervals.auroc(np.zeros(5), np.ones(3))
    many = intervals.auroc(np.zeros(200), np.ones(100))
    assert few.value == few.high == many.value == 1.0
    assert few.low < 0.7 < 0.97 < many.low < 1.0
    with pytest.raises(ValueError, match="both sides are needed"):
        intervals.auroc(np.zeros(4), np.zeros(0))


def test_average_precision_equals_scikit_learn_and_doubts_a_perfect_one():
    label = np.r_[np.zeros(30, bool), np.ones(9, bool)]
    score = np.random.default_rng(2).normal(size=39) + label
    figure = intervals.average_precision(label, score)
    perfect = intervals.average_precision(label, label.astype(float))
    assert figure.value == pytest.approx(average_precision_score(label, score))
    assert figure.low < figure.value < figure.high
    assert perfect.value == perfect.high == 1.0
    assert perfect.low == pytest.approx(intervals.proportion(9, 9).low)


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval_and_repeats_with_its_seed():
    values = np.random.default_rng(3).normal(size=200)
    figure, again, other = (intervals.bootstrap(np.mean, [values], seed=s) for s in (1, 1, 2))
    half = 1.96 * values.std() / np.sqrt(200)
    assert figure.value == values.mean()
    assert figure.low == pytest.approx(values.mean() - half, abs=0.02)
    assert figure.high == pytest.approx(values.mean() + half, abs=0.02)
    assert figure == again != other


def test_bootstrap_draws_the_rows_of_all_arrays_together_and_keeps_the_size_of_each_group():
    group, seen, sizes = np.array([0, 0, 0, 0, 1, 1, 2]), [], set()

    def record(a, b):
        seen.append(np.array_equal(a * 2, b))
        sizes.add(tuple(np.bincount(a, minlength=3)))
        return 0.0

    intervals.bootstrap(record, [group, group * 2], stratify=group, resamples=50)
    assert all(seen)
    assert sizes == {(4, 2, 1)}


def test_bootstrap_without_spread_has_no_interval():
    same = intervals.bootstrap(np.mean, [np.ones(5)])
    single = intervals.bootstrap(np.mean, [np.array([2.0])])
    all_single = intervals.bootstrap(np.mean, [np.arange(3.0)], stratify=np.arange(3))
    assert [(f.low, f.high) for f in (same, single, all_single)] == [(None, None)] * 3
    assert (single.value, single.n) == (2.0, 1)


@pytest.mark.parametrize(("period", "has_limits"), [(50, True), (2, False)])
def test_bootstrap_leaves_out_few_undefined_resamples_but_not_many(period, has_limits):
    calls = []

    def statistic(drawn):
        calls.append(1)
        return float("nan") if len(calls) % period == 0 else drawn.mean()

    figure = intervals.bootstrap(statistic, [np.arange(8.0)], resamples=500)
    if has_limits:
        assert figure.low < figure.value < figure.high
    else:
        assert (figure.low, figure.high) == (None, None)


@pytest.mark.parametrize("arrays", [[np.zeros(3), np.zeros(4)], [np.zeros(0)]])
def test_bootstrap_refuses_arrays_of_no_common_length(arrays):
    with pytest.raises(ValueError, match="arrays must have one length"):
        intervals.bootstrap(np.mean, arrays)
