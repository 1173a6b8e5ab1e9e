from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.resampling import rescaled_weights


def test_rescaled_weights_give_means_of_few_images_the_spread_that_they_have() -> None:
    stratum = np.repeat([0, 1, 2], [4, 3, 1])
    values = np.array([1.0, 4.0, 2.0, 9.0, 3.0, 5.0, 1.0, 7.0])
    weights = rescaled_weights(stratum, seed=0, resamples=20_000)
    for rows in (stratum == 0, stratum == 1):
        assert weights[:, rows].sum(axis=1) == pytest.approx(rows.sum())
        drawn = weights[:, rows] @ values[rows] / rows.sum()
        assert drawn.var() == pytest.approx(values[rows].var(ddof=1) / rows.sum(), rel=0.05)
    assert (weights[:, stratum == 2] == 1).all()
