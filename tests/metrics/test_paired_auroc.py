from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from capsule_inspection.metrics.paired_auroc import (
    PairedScores,
    auroc_difference,
    mean_auroc_difference,
)


def draw(fold: int, *, good: int = 20, defects: int = 15, gap: float = 1.0) -> PairedScores:
    """Good images of the fold's own, the defects of all folds; the first model is better."""
    generator = np.random.default_rng(fold)
    is_defect = np.arange(good + defects) >= good
    first, second = (
        generator.normal(size=(1, good + defects)) + skill * is_defect for skill in (1 + gap, 1.0)
    )
    identity = [f"good {fold} {i}" for i in range(good)] + [f"defect {i}" for i in range(defects)]
    return PairedScores(first, second, is_defect, np.array(identity))


def test_the_value_is_the_mean_of_the_folds_differences_whatever_their_scales() -> None:
    folds = [draw(fold) for fold in range(5)]
    each = [auroc_difference(fold.first, fold.second, fold.is_defect).value for fold in folds]
    found = mean_auroc_difference(folds)
    assert found.value == pytest.approx(np.mean(each))
    assert found.n == 5 * 20 + 15
    moved = [folds[0], replace(folds[1], first=folds[1].first * 10 + 500), *folds[2:]]
    assert mean_auroc_difference(moved) == found


def test_one_fold_agrees_with_pooled_scores_and_makes_nothing_narrower_if_repeated() -> None:
    fold = draw(0)
    pooled = auroc_difference(fold.first, fold.second, fold.is_defect)
    once, often = mean_auroc_difference([fold]), mean_auroc_difference([fold] * 5)
    assert once.value == pytest.approx(pooled.value)
    assert (once.ci_low, once.ci_high) == pytest.approx((pooled.ci_low, pooled.ci_high), abs=0.03)
    assert once.p_value == pytest.approx(pooled.p_value, abs=0.03)
    assert (often.ci_low, often.ci_high, often.n) == pytest.approx(
        (once.ci_low, once.ci_high, once.n)
    )


def test_seeds_are_averaged_within_a_fold() -> None:
    one, other = draw(0), draw(1)
    both = mean_auroc_difference([replace(one, first=np.concatenate([one.first, other.first]))])
    apart = [mean_auroc_difference([replace(one, first=of.first)]).value for of in (one, other)]
    assert both.value == pytest.approx(np.mean(apart))


def test_equal_models_do_not_differ_and_a_clear_difference_survives_28_corrections() -> None:
    fold = draw(0)
    equal = mean_auroc_difference([replace(fold, second=3 * fold.first + 1)])
    assert (equal.value, equal.ci_low, equal.p_value) == (0, None, 1)
    clear = mean_auroc_difference([draw(fold, gap=3.0) for fold in range(5)])
    assert 28 * clear.p_value < 0.05


def test_the_difference_of_areas_is_that_of_scikit_learn() -> None:
    is_defect = np.arange(80) < 25
    scores = np.random.default_rng(2).normal(size=(2, 3, 80)).round(1) + is_defect
    found = auroc_difference(*scores, is_defect)
    areas = [[roc_auc_score(is_defect, row) for row in of_one] for of_one in scores]
    assert found.value == pytest.approx(np.mean(areas[0]) - np.mean(areas[1]))
    assert found.ci_low < found.value < found.ci_high
    same = auroc_difference(scores[0], scores[0], is_defect)
    assert (same.value, same.p_value, same.ci_low) == (0.0, 1.0, None)


def test_a_clear_gain_in_area_is_found_and_chance_is_not() -> None:
    generator = np.random.default_rng(4)
    is_defect = np.arange(200) < 60
    noise = generator.normal(size=(2, 1, 200))
    found = auroc_difference(noise[0] + 3 * is_defect, noise[1], is_defect)
    assert found.p_value < 0.01
    rejected = 0
    for _ in range(40):
        noise = generator.normal(size=(2, 1, 80)) + is_defect[:80]
        p_value = auroc_difference(*noise, is_defect[:80]).p_value
        rejected += p_value is not None and p_value < 0.05
    assert rejected <= 6


def test_a_perfect_order_against_none_is_no_chance_where_images_are_many() -> None:
    is_defect = np.arange(60) < 20
    found = auroc_difference(is_defect[None].astype(float), np.zeros((1, 60)), is_defect)
    assert found.value == pytest.approx(0.5)
    assert found.p_value < 0.001
    few = auroc_difference(is_defect[None, 18:22].astype(float), np.zeros((1, 4)), is_defect[18:22])
    assert few.p_value is None
