from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.bootstrap import percentile_bootstrap, stratified_weights


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
