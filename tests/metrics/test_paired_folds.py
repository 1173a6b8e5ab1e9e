from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from capsule_inspection.metrics.paired import auroc_difference
from capsule_inspection.metrics.paired_folds import PairedScores, mean_auroc_difference


def drawn(fold: int, *, good: int = 20, defects: int = 15, gap: float = 1.0) -> PairedScores:
    """Good images of the fold's own, the defects of all folds; the first model is better."""
    generator = np.random.default_rng(fold)
    is_defect = np.arange(good + defects) >= good
    first, second = (
        generator.normal(size=(1, good + defects)) + skill * is_defect for skill in (1 + gap, 1.0)
    )
    identity = [f"good {fold} {i}" for i in range(good)] + [f"defect {i}" for i in range(defects)]
    return PairedScores(first, second, is_defect, np.array(identity))


def test_the_value_is_the_mean_of_the_folds_differences() -> None:
    folds = [drawn(fold) for fold in range(5)]
    each = [auroc_difference(fold.first, fold.second, fold.is_defect).value for fold in folds]

    found = mean_auroc_difference(folds)

    assert found.value == pytest.approx(np.mean(each))
    assert found.n == 5 * 20 + 15


def test_one_fold_agrees_with_the_difference_of_pooled_scores() -> None:
    fold = drawn(0)
    pooled = auroc_difference(fold.first, fold.second, fold.is_defect)

    found = mean_auroc_difference([fold])

    assert found.value == pytest.approx(pooled.value)
    assert (found.low, found.high) == pytest.approx((pooled.low, pooled.high), abs=0.03)
    assert found.p_value == pytest.approx(pooled.p_value, abs=0.03)


def test_the_scale_of_a_fold_does_not_matter() -> None:
    folds = [drawn(fold) for fold in range(3)]
    moved = [folds[0], replace(folds[1], first=folds[1].first * 10 + 500), folds[2]]

    assert mean_auroc_difference(moved) == mean_auroc_difference(folds)


def test_the_same_photographs_in_five_folds_make_no_narrower_interval() -> None:
    once, often = mean_auroc_difference([drawn(0)]), mean_auroc_difference([drawn(0)] * 5)

    assert (often.low, often.high, often.n) == pytest.approx((once.low, once.high, once.n))


def test_seeds_are_averaged_within_a_fold() -> None:
    one, other = drawn(0), drawn(1)
    both = replace(one, first=np.concatenate([one.first, other.first]))
    apart = [
        mean_auroc_difference([replace(one, first=row[np.newaxis])]).value for row in both.first
    ]

    assert mean_auroc_difference([both]).value == pytest.approx(np.mean(apart))


def test_equal_models_are_certainly_no_different() -> None:
    fold = drawn(0)

    found = mean_auroc_difference([replace(fold, second=3 * fold.first + 1)])

    assert (found.value, found.low, found.p_value) == (0, None, 1)


def test_a_clear_difference_survives_the_correction_for_28_pairs() -> None:
    found = mean_auroc_difference([drawn(fold, gap=3.0) for fold in range(5)])

    assert found.p_value is not None
    assert 28 * found.p_value < 0.05


def test_a_fold_of_good_images_only_is_refused() -> None:
    fold = drawn(0)
    with pytest.raises(ValueError, match="good images and defects are needed"):
        mean_auroc_difference([replace(fold, is_defect=np.zeros(35, dtype=bool))])
