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


def test_the_value_is_the_mean_of_the_folds_differences_whatever_their_scales() -> None:
    folds = [drawn(fold) for fold in range(5)]
    each = [auroc_difference(fold.first, fold.second, fold.is_defect).value for fold in folds]
    found = mean_auroc_difference(folds)
    assert found.value == pytest.approx(np.mean(each))
    assert found.n == 5 * 20 + 15
    moved = [folds[0], replace(folds[1], first=folds[1].first * 10 + 500), *folds[2:]]
    assert mean_auroc_difference(moved) == found


def test_one_fold_agrees_with_pooled_scores_and_makes_nothing_narrower_if_repeated() -> None:
    fold = drawn(0)
    pooled = auroc_difference(fold.first, fold.second, fold.is_defect)
    once, often = mean_auroc_difference([fold]), mean_auroc_difference([fold] * 5)
    assert once.value == pytest.approx(pooled.value)
    assert (once.low, once.high) == pytest.approx((pooled.low, pooled.high), abs=0.03)
    assert once.p_value == pytest.approx(pooled.p_value, abs=0.03)
    assert (often.low, often.high, often.n) == pytest.approx((once.low, once.high, once.n))


def test_seeds_are_averaged_within_a_fold() -> None:
    one, other = drawn(0), drawn(1)
    both = mean_auroc_difference([replace(one, first=np.concatenate([one.first, other.first]))])
    apart = [mean_auroc_difference([replace(one, first=of.first)]).value for of in (one, other)]
    assert both.value == pytest.approx(np.mean(apart))


def test_equal_models_do_not_differ_and_a_clear_difference_survives_28_corrections() -> None:
    fold = drawn(0)
    equal = mean_auroc_difference([replace(fold, second=3 * fold.first + 1)])
    assert (equal.value, equal.low, equal.p_value) == (0, None, 1)
    clear = mean_auroc_difference([drawn(fold, gap=3.0) for fold in range(5)])
    assert 28 * clear.p_value < 0.05


def test_a_fold_of_good_images_only_is_refused() -> None:
    with pytest.raises(ValueError, match="good images and defects are needed"):
        mean_auroc_difference([replace(drawn(0), is_defect=np.zeros(35, dtype=bool))])
