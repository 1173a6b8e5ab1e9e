from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from capsule_inspection.metrics import thresholds
from capsule_inspection.metrics.intervals import proportion
from capsule_inspection.metrics.thresholds import (
    Threshold,
    conformal_threshold,
    exceeds,
    f1_threshold,
    operating_points,
    sigma_threshold,
)


def test_nineteen_good_scores_are_just_enough_for_five_percent_and_fewer_give_the_largest() -> None:
    found = conformal_threshold(np.arange(19.0), 0.05)
    assert found == Threshold(18.0, "conformal", 19, 0, 0.05, enough=True, required_images=19)
    few = conformal_threshold(np.arange(12.0)[::-1], 0.05)
    assert few == Threshold(11.0, "conformal", 12, 0, 0.05, enough=False, required_images=19)


def test_the_number_needed_is_the_smallest_that_is_enough() -> None:
    for denominator in range(2, 60):
        rate, needed = 1 / denominator, denominator - 1
        assert conformal_threshold(np.zeros(1), rate).required_images == needed
        assert conformal_threshold(np.zeros(needed), rate).enough
        if needed > 1:
            assert not conformal_threshold(np.zeros(needed - 1), rate).enough


@pytest.mark.parametrize("count", [20, 21, 33])
def test_each_image_left_out_in_turn_is_rejected_as_often_as_promised(count: int) -> None:
    """All orders of exchangeable scores come down to which of n + 1 is the new one."""
    score = np.random.default_rng(count).normal(size=count + 1)
    for rate in (0.05, 0.1, 0.25, 0.3, 0.7):
        rejected = 0
        for new in range(count + 1):
            threshold = conformal_threshold(np.delete(score, new), rate)
            rejected += bool(exceeds(score[[new]], threshold.value)[0])
        assert rejected == np.floor(rate * (count + 1) + 1e-9), rate


def test_images_of_a_group_count_once_and_keep_the_promised_rate_of_parts() -> None:
    score = np.arange(38.0)
    found = conformal_threshold(score, 0.05, group=np.arange(38) // 2)
    assert found == Threshold(37.0, "conformal", 19, 0, 0.05, enough=True, required_images=19)
    assert conformal_threshold(score, 0.05, group=np.arange(38)) == conformal_threshold(score, 0.05)
    generator, rejected, naive = np.random.default_rng(0), 0, 0
    group = np.arange(80) // 4
    for _ in range(400):
        score = np.repeat(generator.normal(size=21), 4) + 0.1 * generator.normal(size=84)
        threshold = conformal_threshold(score[:80], 0.1, group=group).value
        rejected += bool(exceeds(score[80:], threshold).any())
        naive += bool(exceeds(score[80:], conformal_threshold(score[:80], 0.1).value).any())
    assert rejected < naive
    assert rejected <= 55


def test_sigma_is_the_mean_and_sample_deviations() -> None:
    assert sigma_threshold(np.array([1.0, 2.0, 3.0]), 3) == Threshold(5.0, "sigma", 3)


def test_the_best_f1_cuts_halfway_between_scores_and_as_high_as_it_can() -> None:
    is_defect = np.array([False, False, True, True])
    found = f1_threshold(is_defect, np.array([0.0, 1.0, 2.0, 5.0]))
    assert found == Threshold(1.5, "f1", 2, 2)
    # Scores from the top: F1 of 2/3, 2/4, 2/5, 4/6.
    is_defect = np.array([True, False, False, True])
    assert f1_threshold(is_defect, np.array([4.0, 3.0, 2.0, 1.0])).value == 3.5
    # Where all are best predicted as defects, so is the lowest.
    score = np.ones(3)
    lowest = f1_threshold(np.array([True, True, False]), score).value
    assert lowest == np.nextafter(1.0, 0.0)
    assert exceeds(score, lowest).all()


def test_scores_that_nothing_lies_between_are_parted() -> None:
    wide = np.array([1.0, np.nextafter(1.0, 2.0)])
    narrow = np.array([1, 1 + 2**-23], dtype=np.float32)
    for score in (wide, narrow):
        found = f1_threshold(np.array([False, True]), score)
        assert exceeds(score, found.value).tolist() == [False, True]


@pytest.mark.parametrize("seed", range(2))
def test_no_threshold_has_a_better_f1_by_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    is_defect = generator.random(40) < 0.4
    score = (generator.normal(size=40) + is_defect).round(1)
    reached = f1_score(is_defect, exceeds(score, f1_threshold(is_defect, score).value))
    assert reached == pytest.approx(max(f1_score(is_defect, score >= level) for level in score))


def test_too_few_scores_and_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 scores are needed"):
        conformal_threshold(np.zeros(0), 0.1)
    with pytest.raises(ValueError, match="must be finite, found nan"):
        conformal_threshold(np.array([1.0, np.nan]), 0.1)
    with pytest.raises(ValueError, match="must be finite, found inf"):
        f1_threshold(np.array([True, False]), np.array([1.0, np.inf]))
    with pytest.raises(ValueError, match="at least 2 scores are needed, found 1"):
        sigma_threshold(np.ones(1), 3)
    for is_defect in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        with pytest.raises(ValueError, match="both sides are needed"):
            f1_threshold(is_defect, np.arange(3.0))


def test_a_score_at_the_threshold_does_not_exceed_it_and_the_threshold_is_not_rounded() -> None:
    assert exceeds(np.array([0.5, 0.500001, 0.4]), 0.5).tolist() == [False, True, False]
    assert exceeds(np.array([0.1], dtype=np.float32), 0.1).tolist() == [True]  # 0.10000000149


def test_a_threshold_survives_as_plain_values_and_unknown_names_are_refused() -> None:
    score = np.arange(12, dtype=np.float32)
    found = (
        conformal_threshold(score, np.float64(0.05)),
        sigma_threshold(score, 2),
        f1_threshold(np.arange(12) > 6, score),
    )
    assert [threshold.rule for threshold in found] == ["conformal", "sigma", "f1"]
    for threshold in found:
        stored = threshold.state_dict()
        assert {type(value) for value in stored.values()} <= {float, int, str, bool, type(None)}
        assert Threshold.from_state_dict(json.loads(json.dumps(stored))) == threshold
    with pytest.raises(TypeError, match="margin"):
        Threshold.from_state_dict({"value": 1.0, "rule": "f1", "good_images": 1, "margin": 2})


def test_a_rate_that_chance_explains_does_not_exceed_the_target() -> None:
    found = conformal_threshold(np.arange(20.0), 0.05)
    assert not thresholds.exceeds_target_fpr(found, 20, 200)  # Wilson's low end is .066
    assert thresholds.exceeds_target_fpr(found, 60, 200)


@pytest.mark.parametrize(("count", "images"), [(20, 200), (60, 44)])
def test_a_valid_threshold_seldom_exceeds_its_target(count: int, images: int) -> None:
    rng = np.random.default_rng(0)
    exceeding = 0
    for _ in range(2000):
        found = conformal_threshold(rng.random(count), 0.05)
        rejected = int((rng.random(images) > found.value).sum())
        exceeding += thresholds.exceeds_target_fpr(found, rejected, images)
    assert exceeding / 2000 < 0.035


IS_DEFECT = np.arange(60) >= 40
SCORE = np.concatenate([np.linspace(0.01, 0.40, 40), np.linspace(0.30, 0.95, 20)])


def test_the_table_has_the_chosen_point_a_half_argmax_and_the_rates() -> None:
    argmax_defect = SCORE > 0.8
    chosen, half, argmax, *rates = operating_points(
        IS_DEFECT, SCORE, chosen=0.355, argmax_defect=argmax_defect
    )
    assert (chosen.threshold, chosen.is_chosen) == (0.355, True)
    assert chosen.missed == proportion(2, 20)
    assert chosen.rejected == proportion(5, 40)
    assert (half.threshold, half.rejected.value, half.is_chosen) == (0.5, 0, False)
    assert argmax.threshold is None
    assert argmax.missed.value == pytest.approx(np.mean(SCORE[IS_DEFECT] <= 0.8))
    # 1% and 2% of 40 images reject none, as 0% does.
    assert [point.target_fpr for point in rates] == [0.0, 0.05, 0.10]
    assert [round(40 * point.rejected.value) for point in rates] == [0, 2, 4]
    assert not any(point.is_chosen for point in (half, argmax, *rates))


def test_thresholds_of_rates_lose_no_defect_that_they_could_find() -> None:
    for point in operating_points(IS_DEFECT, SCORE, chosen=0.5)[1:]:
        allowed = [
            level
            for level in np.unique(SCORE)
            if np.mean(SCORE[~IS_DEFECT] > level) <= point.target_fpr
        ]
        fewest = min(np.mean(SCORE[IS_DEFECT] <= level) for level in allowed)
        assert point.missed.value == pytest.approx(fewest)
        assert point.threshold not in SCORE


def test_without_classes_only_thresholds_are_in_the_table() -> None:
    points = operating_points(IS_DEFECT, 7 * SCORE, chosen=2.5)
    assert points[0].threshold == 2.5
    assert all(point.threshold is not None for point in points)
    assert 0.5 not in [point.threshold for point in points]
    with pytest.raises(ValueError, match="argmax_defect is needed"):
        operating_points(IS_DEFECT, SCORE, chosen=None)


def test_a_run_that_decides_by_argmax_has_it_as_its_chosen_point() -> None:
    first, second, *_ = operating_points(IS_DEFECT, SCORE, chosen=None, argmax_defect=SCORE > 0.6)
    assert (first.threshold, first.is_chosen) == (None, True)
    assert (second.threshold, second.is_chosen) == (0.5, False)


def test_images_of_one_group_widen_the_intervals_of_the_table() -> None:
    groups = (np.arange(60) // 4).astype(str)
    alone, grouped = (operating_points(IS_DEFECT, SCORE, g, chosen=0.35)[0] for g in (None, groups))
    assert grouped.missed.value == alone.missed.value
    assert grouped.missed.ci_high > alone.missed.ci_high
    assert (alone.missed.n, grouped.missed.n) == (20, 5)


def test_a_side_without_images_has_no_rate() -> None:
    only_good = operating_points(np.zeros(4, bool), np.arange(4.0), chosen=1.5)
    assert {point.missed for point in only_good} == {None}
    (only_defects,) = operating_points(np.ones(4, bool), np.arange(4.0), chosen=1.5)
    assert (only_defects.missed.value, only_defects.rejected) == (0.5, None)
