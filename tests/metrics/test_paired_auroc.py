from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from capsule_inspection.metrics.paired_auroc import PairedScores, auroc_difference
from capsule_inspection.metrics.paired_tests import required_sample_size


def draw(fold: int, *, good: int = 20, defects: int = 15, gap: float = 1.0) -> PairedScores:
    """Good images of the fold's own, the defects of all folds; the first model is better."""
    random = np.random.default_rng(fold)
    is_defect = np.arange(good + defects) >= good
    first, second = (
        random.normal(size=(1, good + defects)) + skill * is_defect for skill in (1 + gap, 1.0)
    )
    image = [f"good {fold} {i}" for i in range(good)] + [f"defect {i}" for i in range(defects)]
    return PairedScores(first, second, is_defect, np.array(image), np.array(image))


def of_scores(
    first: np.ndarray, second: np.ndarray, is_defect: np.ndarray, group: np.ndarray | None = None
) -> PairedScores:
    image = np.arange(len(is_defect))
    return PairedScores(first, second, is_defect, image, image if group is None else group)


def test_the_difference_of_areas_is_that_of_scikit_learn() -> None:
    is_defect = np.arange(80) < 25
    scores = np.random.default_rng(2).normal(size=(2, 3, 80)).round(1) + is_defect
    found = auroc_difference([of_scores(*scores, is_defect)])
    areas = [[roc_auc_score(is_defect, row) for row in of_one] for of_one in scores]
    assert found.value == pytest.approx(np.mean(areas[0]) - np.mean(areas[1]))
    assert found.ci_low < found.value < found.ci_high
    assert (found.n, found.n_groups) == (80, 80)


def test_variance_and_p_value_are_those_of_delong() -> None:
    fold = draw(0, good=60, defects=40, gap=0.4)
    good, defect = np.flatnonzero(~fold.is_defect), np.flatnonzero(fold.is_defect)
    wins = [row[0][defect][:, None] > row[0][good][None] for row in (fold.first, fold.second)]
    difference = wins[0].astype(float) - wins[1]
    # DeLong et al. 1988, from the structural components; the factor is that of 40 defects.
    variance = np.var(difference.mean(axis=1)) / 40 + np.var(difference.mean(axis=0)) / 60
    expected = difference.mean() / np.sqrt(variance * 40 / 39)
    found = auroc_difference([fold])
    assert found.p_value == pytest.approx(2 * norm.sf(abs(expected)))


def test_the_value_is_the_mean_of_the_folds_differences_whatever_their_scales() -> None:
    folds = [draw(fold) for fold in range(5)]
    found = auroc_difference(folds)
    assert found.value == pytest.approx(np.mean([auroc_difference([of]).value for of in folds]))
    assert found.n == 5 * 20 + 15
    moved = [folds[0], replace(folds[1], first=folds[1].first * 10 + 500), *folds[2:]]
    assert auroc_difference(moved) == found


def test_a_repeated_fold_makes_no_narrower_interval() -> None:
    once, often = auroc_difference([draw(0)]), auroc_difference([draw(0)] * 5)
    assert (often.ci_low, often.ci_high, often.p_value, often.n) == pytest.approx(
        (once.ci_low, once.ci_high, once.p_value, once.n)
    )


def test_images_of_one_group_are_one_observation() -> None:
    fold = draw(0)
    four = [np.repeat(of, 4, axis=1) for of in (fold.first, fold.second)]
    label, group = np.repeat(fold.is_defect, 4), np.repeat(np.arange(35), 4)
    once, grouped = auroc_difference([fold]), auroc_difference([of_scores(*four, label, group)])
    assert (grouped.value, grouped.p_value) == pytest.approx((once.value, once.p_value))
    assert (grouped.n, grouped.n_groups) == (140, 35)
    ignored = auroc_difference([of_scores(*four, label)])
    assert ignored.p_value < 0.1 * once.p_value


def test_seeds_are_averaged_within_a_fold() -> None:
    one, other = draw(0), draw(1)
    both = auroc_difference([replace(one, first=np.concatenate([one.first, other.first]))])
    apart = [auroc_difference([replace(one, first=of.first)]).value for of in (one, other)]
    assert both.value == pytest.approx(np.mean(apart))
    again = auroc_difference([replace(one, first=np.repeat(one.first, 3, axis=0))])
    assert again.p_value == pytest.approx(auroc_difference([one]).p_value)


def test_interval_and_test_agree() -> None:
    found = [auroc_difference([draw(chance, gap=0.1 * (chance % 12))]) for chance in range(120)]
    rejected = [one.p_value < 0.05 for one in found]
    assert rejected == [not one.ci_low <= 0 <= one.ci_high for one in found]
    assert 20 < sum(rejected) < 110


def test_models_of_one_order_do_not_differ_but_have_an_interval() -> None:
    fold = draw(0)
    equal = auroc_difference([replace(fold, second=3 * fold.first + 1)])
    assert (equal.value, equal.p_value) == (0, 1)
    assert equal.ci_low == pytest.approx(-equal.ci_high)
    assert equal.ci_high > 0
    many = draw(0, good=400, defects=300)
    narrow = auroc_difference([replace(many, second=many.first)])
    assert narrow.ci_high < equal.ci_high / 10


def test_a_perfect_order_against_none_is_no_chance_where_images_are_many() -> None:
    def found(images: int) -> float | None:
        is_defect = np.arange(images) < images // 3
        perfect = is_defect[None].astype(float)
        return auroc_difference([of_scores(perfect, np.zeros((1, images)), is_defect)]).p_value

    assert found(60) < 0.001
    assert found(3) > 0.05


def test_a_clear_difference_survives_the_correction_for_28_pairs() -> None:
    clear = auroc_difference([draw(fold, gap=3.0) for fold in range(5)])
    assert 28 * clear.p_value < 0.05


def test_models_of_equal_skill_are_seldom_distinguished() -> None:
    rejected, studies = 0, 400
    for chance in range(studies):
        random = np.random.default_rng(chance)
        folds = []
        for fold in range(3):
            drawn = draw(1000 * chance + fold, gap=0.0)
            common = random.normal(size=(1, 35))
            folds.append(replace(drawn, first=drawn.first + common, second=drawn.second + common))
        rejected += auroc_difference(folds).p_value < 0.05
    assert rejected / studies < 0.08


def test_the_required_images_shrink_with_the_margin() -> None:
    found = auroc_difference([draw(0, good=100, defects=80)])
    low, high = required_sample_size(found, 0.05)
    assert 0 < low < high
    fewer = required_sample_size(found, 0.1)
    assert fewer[0] == pytest.approx(low / 4, abs=1)


def test_two_defects_do_not_say_how_many_images_are_required() -> None:
    assert required_sample_size(auroc_difference([draw(0, defects=2)]), 0.05) is None
    assert required_sample_size(auroc_difference([draw(0, defects=3)]), 0.05) is not None


@pytest.mark.parametrize("defects", [1, 2, 3])
def test_folds_of_few_defects_do_not_distinguish_models_of_equal_skill(defects: int) -> None:
    rejected, studies, label = 0, 300, np.arange(35 + defects) >= 35
    for chance in range(studies):
        random = np.random.default_rng(chance)
        folds = []
        for fold in range(5):
            common = 0.7 * random.normal(size=len(label)) + 1.5 * label
            scores = common + 0.7 * random.normal(size=(2, 1, len(label)))
            image = 100 * fold + np.arange(len(label))
            folds.append(PairedScores(*scores, label, image, image))
        rejected += auroc_difference(folds).p_value < 0.05
    assert rejected / studies < 0.08


def test_a_single_defect_shows_no_difference() -> None:
    is_defect = np.arange(61) == 60
    perfect, wrong = is_defect[None].astype(float), -is_defect[None].astype(float)
    found = auroc_difference([of_scores(perfect, wrong, is_defect)])
    assert found.value == 1
    assert found.p_value > 0.05
    assert found.ci_low < 0


def test_groups_whose_contributions_cancel_have_an_interval() -> None:
    """A part with both good and defect images, in which one makes up for the other."""
    is_defect = np.array([False, False, True, True])
    first, second = np.array([[0.0, 2.0, 1.0, 3.0]]), np.array([[2.0, 0.0, 1.0, 3.0]])
    found = auroc_difference([of_scores(first, second, is_defect, np.zeros(4))])
    assert (found.value, found.p_value) == (0, 1)
    assert found.ci_low < 0 < found.ci_high
