import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from capsule_inspection.metrics import intervals

# --- one proportion


def test_proportion_equals_the_published_wilson_intervals_of_60_and_59_in_66():
    sixty, fifty_nine = intervals.proportion(60, 66), intervals.proportion(59, 66)

    assert (sixty.low, sixty.high) == pytest.approx((0.816, 0.958), abs=5e-4)
    assert (fifty_nine.low, fifty_nine.high) == pytest.approx((0.797, 0.948), abs=5e-4)
    assert sixty.value == 60 / 66
    assert sixty.n == 66


def test_proportion_of_three_in_three_does_not_claim_certainty():
    figure = intervals.proportion(3, 3)

    z_squared = 1.959964**2
    assert figure.low == pytest.approx(3 / (3 + z_squared), abs=1e-6)  # Wilson, by hand
    assert (figure.value, figure.high) == (1.0, 1.0)


def test_proportion_of_none_mirrors_that_of_all():
    none, all_of_them = intervals.proportion(0, 5), intervals.proportion(5, 5)

    assert none.high == pytest.approx(1 - all_of_them.low)
    assert none.low == 0.0


def test_higher_confidence_widens_the_interval():
    usual, surer = intervals.proportion(7, 10), intervals.proportion(7, 10, confidence=0.99)

    assert surer.low < usual.low < usual.high < surer.high


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (4, 3), (-1, 3)])
def test_impossible_proportions_are_refused(successes, n):
    with pytest.raises(ValueError, match="successes must lie in"):
        intervals.proportion(successes, n)


# --- mean of proportions


def test_mean_of_one_proportion_has_the_exact_limits_of_scipy():
    from scipy.stats import binomtest

    figure = intervals.mean_of_proportions([7], [10])

    exact = binomtest(7, 10).proportion_ci(method="exact")
    assert (figure.low, figure.high) == pytest.approx((exact.low, exact.high))


def test_mean_of_proportions_by_hand():
    # Clopper-Pearson of 3 in 3 begins at 0.025 ** (1/3), of 0 in 2 ends at 1 - 0.025 ** (1/2).
    figure = intervals.mean_of_proportions([3, 0], [3, 2])

    assert figure.value == 0.5
    assert figure.low == pytest.approx(0.5 - (1 - 0.025 ** (1 / 3)) / 2)
    assert figure.high == pytest.approx(0.5 + (1 - 0.025 ** (1 / 2)) / 2)
    assert figure.n == 5


def test_perfect_recall_on_three_images_a_class_leaves_room_for_doubt():
    figure = intervals.mean_of_proportions([44, 3, 3], [44, 3, 3])

    assert (figure.value, figure.high) == (1.0, 1.0)
    assert figure.low < 0.8


@pytest.mark.parametrize("recalls", [(0.9, 0.6, 0.3, 0.7), (0.98, 0.9, 0.8, 0.95)])
def test_mean_of_proportions_covers_a_known_truth(recalls):
    generator = np.random.default_rng(0)
    totals = np.array([44, 5, 4, 4])

    counts = generator.binomial(totals, recalls, size=(400, 4))
    figures = [intervals.mean_of_proportions(c, totals) for c in counts]
    covered = np.mean([f.low <= np.mean(recalls) <= f.high for f in figures])

    assert covered >= 0.93


# --- AUROC and average precision


def test_auroc_equals_scikit_learn_with_ties():
    generator = np.random.default_rng(1)
    good, defect = generator.integers(0, 6, 40), generator.integers(2, 9, 13)

    figure = intervals.auroc(good, defect)

    label = np.r_[np.zeros(40), np.ones(13)]
    assert figure.value == pytest.approx(roc_auc_score(label, np.r_[good, defect]))
    assert figure.low < figure.value < figure.high
    assert figure.n == 53


def test_auroc_limits_solve_the_equation_of_newcombe():
    good, defect = np.arange(20.0), np.arange(8.0) + 9.5
    figure = intervals.auroc(good, defect)

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


def test_auroc_of_inverted_scores_mirrors():
    good, defect = np.arange(12.0), np.arange(5.0) + 8.2
    figure, mirrored = intervals.auroc(good, defect), intervals.auroc(-good, -defect)

    assert mirrored.value == pytest.approx(1 - figure.value)
    assert mirrored.low == pytest.approx(1 - figure.high)


def test_auroc_with_one_side_missing_is_refused():
    with pytest.raises(ValueError, match="both sides are needed"):
        intervals.auroc(np.zeros(4), np.zeros(0))


def test_average_precision_equals_scikit_learn_and_doubts_a_perfect_one():
    generator = np.random.default_rng(2)
    label = np.r_[np.zeros(30, bool), np.ones(9, bool)]
    score = generator.normal(size=39) + label

    figure = intervals.average_precision(label, score)
    perfect = intervals.average_precision(label, label.astype(float))

    assert figure.value == pytest.approx(average_precision_score(label, score))
    assert figure.low < figure.value < figure.high
    assert perfect.value == perfect.high == 1.0
    assert perfect.low == pytest.approx(intervals.proportion(9, 9).low)


# --- bootstrap


def mean(values):
    return values.mean()


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(3).normal(size=200)

    figure = intervals.bootstrap(mean, [values], seed=1)

    half = 1.96 * values.std() / np.sqrt(200)
    assert figure.value == values.mean()
    assert figure.low == pytest.approx(values.mean() - half, abs=0.02)
    assert figure.high == pytest.approx(values.mean() + half, abs=0.02)


def test_bootstrap_repeats_with_its_seed():
    values = np.random.default_rng(3).normal(size=20)

    first, again = (intervals.bootstrap(mean, [values], seed=5) for _ in range(2))

    assert first == again != intervals.bootstrap(mean, [values], seed=6)


def test_bootstrap_draws_the_rows_of_all_arrays_together():
    values = np.arange(10.0)
    seen = []
    intervals.bootstrap(
        lambda a, b: seen.append(np.array_equal(a * 2, b)) or 0.0,
        [values, values * 2],
        resamples=50,
    )

    assert all(seen)


def test_stratified_bootstrap_keeps_the_size_of_each_group_even_of_one():
    group = np.array([0, 0, 0, 0, 1, 1, 2])
    sizes = set()

    def record(drawn):
        sizes.add(tuple(np.bincount(drawn, minlength=3)))
        return float(len(sizes))

    intervals.bootstrap(record, [group], stratify=group, resamples=50)

    assert sizes == {(4, 2, 1)}


def test_bootstrap_without_spread_has_no_interval():
    same = intervals.bootstrap(mean, [np.ones(5)])
    single = intervals.bootstrap(mean, [np.array([2.0])])
    all_single = intervals.bootstrap(mean, [np.arange(3.0)], stratify=np.arange(3))

    assert [(f.low, f.high) for f in (same, single, all_single)] == [(None, None)] * 3
    assert (single.value, single.n) == (2.0, 1)


def test_bootstrap_leaves_out_few_undefined_resamples_but_not_many():
    values = np.arange(8.0)
    calls = []

    def undefined_every(period):
        calls.clear()

        def statistic(drawn):
            calls.append(1)
            return float("nan") if len(calls) % period == 0 else drawn.mean()

        return statistic

    seldom = intervals.bootstrap(undefined_every(50), [values], resamples=500)
    often = intervals.bootstrap(undefined_every(2), [values], resamples=500)

    assert seldom.low < seldom.value < seldom.high
    assert (often.low, often.high) == (None, None)


@pytest.mark.parametrize("arrays", [[np.zeros(3), np.zeros(4)], [np.zeros(0)]])
def test_bootstrap_refuses_arrays_of_no_common_length(arrays):
    with pytest.raises(ValueError, match="arrays must have one length"):
        intervals.bootstrap(mean, arrays)
