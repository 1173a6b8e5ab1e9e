from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from capsule_inspection.metrics.bootstrap import (
    clustered_weights,
    percentile_bootstrap,
    stratified_weights,
    widen,
)
from capsule_inspection.metrics.intervals import effective_size


def test_rescaled_weights_give_means_of_few_images_the_spread_that_they_have() -> None:
    stratum = np.repeat([0, 1, 2], [4, 3, 1])
    values = np.array([1.0, 4.0, 2.0, 9.0, 3.0, 5.0, 1.0, 7.0])
    weights = stratified_weights(stratum, seed=0, resamples=20_000, rescaled=True)
    for rows in (stratum == 0, stratum == 1):
        assert weights[:, rows].sum(axis=1) == pytest.approx(rows.sum())
        drawn = weights[:, rows] @ values[rows] / rows.sum()
        assert drawn.var() == pytest.approx(values[rows].var(ddof=1) / rows.sum(), rel=0.05)
    assert (weights[:, stratum == 2] == 1).all()


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval_and_repeats_with_its_seed():
    values = np.random.default_rng(3).normal(size=200)
    limits, again, other = (percentile_bootstrap(np.mean, [values], seed=s) for s in (1, 1, 2))
    half = 1.96 * values.std() / np.sqrt(200)
    assert limits == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert limits == again != other


def test_bootstrap_draws_the_rows_of_all_arrays_together_and_keeps_the_size_of_each_group():
    group, same_rows, sizes = np.array([0, 0, 0, 0, 1, 1, 2]), [], set()

    def record(a, b):
        same_rows.append(np.array_equal(a * 2, b))
        sizes.add(tuple(np.bincount(a, minlength=3)))
        return 0.0

    percentile_bootstrap(record, [group, group * 2], stratify=group, resamples=50)
    assert all(same_rows)
    assert sizes == {(4, 2, 1)}


def test_bootstrap_without_spread_has_no_interval():
    assert percentile_bootstrap(np.mean, [np.ones(5)]) is None
    assert percentile_bootstrap(np.mean, [np.array([2.0])]) is None
    assert percentile_bootstrap(np.mean, [np.arange(3.0)], stratify=np.arange(3)) is None


@pytest.mark.parametrize(("period", "has_limits"), [(50, True), (2, False)])
def test_bootstrap_leaves_out_few_undefined_resamples_but_not_many(period, has_limits):
    calls = []

    def statistic(drawn):
        calls.append(1)
        return float("nan") if len(calls) % period == 0 else drawn.mean()

    limits = percentile_bootstrap(statistic, [np.arange(8.0)], resamples=500)
    if has_limits:
        assert limits[0] < 3.5 < limits[1]
    else:
        assert limits is None


def test_images_of_one_group_and_stratum_are_drawn_together():
    stratum, group = np.array([0, 0, 0, 0, 1, 1, 1]), np.array(list("aabcadd"))
    weights = stratified_weights(stratum, seed=0, group=group, resamples=500)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 5] == weights[:, 6]).all()
    # Three groups of the first stratum are drawn, two of the second; "a" in each for itself.
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert (weights[:, [4, 5]].sum(axis=1) == 2).all()
    assert (weights[:, 0] != weights[:, 4]).any()


def test_weights_of_images_that_stand_alone_are_those_without_groups():
    stratum, names = np.array([1, 0, 0, 1, 0, 2]), np.array(list("zyxwvu"))
    for rescaled in (False, True):
        alone, grouped = (
            stratified_weights(stratum, seed=3, group=group, rescaled=rescaled)
            for group in (None, names)
        )
        assert np.array_equal(alone, grouped)


def test_an_image_weighs_alike_in_all_folds_in_any_order():
    names, stratum = [np.array(list("abcd")), np.array(list("dbe"))], [[0, 0, 1, 1], [1, 0, 1]]
    first, second = clustered_weights(names, [np.array(of) for of in stratum], seed=0)
    assert np.array_equal(first[:, [3, 1]], second[:, :2])
    assert (first[:, 2] + first[:, 3] + second[:, 2] == 3).all()
    turned = clustered_weights(
        [names[1][::-1], names[0]], [np.array(stratum[1][::-1]), np.array(stratum[0])], seed=0
    )
    assert np.array_equal(turned[1], first)
    assert np.array_equal(turned[0][:, ::-1], second)


def test_bootstrap_draws_the_images_of_a_group_together():
    values = np.array([1.0, 1.0, 1.0, 5.0, 9.0])
    sizes = set()

    def record(drawn):
        sizes.add(((drawn == 1).sum() % 3, len(drawn) - 2 * (drawn == 1).sum() // 3))
        return drawn.mean()

    assert percentile_bootstrap(record, [values], group=np.array(list("aaabc")), resamples=200)
    assert sizes == {(0, 3)}


def test_limits_move_away_where_groups_differ_in_size_and_only_there():
    alike, unlike = np.repeat(np.arange(8), 3), np.repeat(np.arange(8), [1] * 7 + [10])
    assert widen((0.4, 0.7), 0.5, alike) == (0.4, 0.7)
    assert widen(None, 0.5, unlike) is None
    size = effective_size(unlike)
    factor = t.ppf(0.975, size - 1) / t.ppf(0.975, 7) * np.sqrt(size / (size - 1) * 7 / 8)
    assert widen((0.4, 0.7), 0.5, unlike) == pytest.approx((0.5 - 0.1 * factor, 0.5 + 0.2 * factor))
    assert widen((0.4, 0.7), 0.5, alike, unlike) == widen((0.4, 0.7), 0.5, unlike)
