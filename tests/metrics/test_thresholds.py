from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from capsule_inspection.metrics import thresholds
from capsule_inspection.metrics.thresholds import Threshold, exceeds

# --- conformal


def test_nineteen_good_scores_are_just_enough_for_five_percent() -> None:
    found = thresholds.conformal_threshold(np.arange(19.0), 0.05)

    assert found == Threshold(18.0, "conformal", 19, 0, 0.05, enough=True, needed=19)


def test_too_few_good_scores_give_the_largest_and_say_so() -> None:
    found = thresholds.conformal_threshold(np.arange(12.0)[::-1], 0.05)

    assert (found.value, found.enough, found.needed, found.good_images) == (11.0, False, 19, 12)


@pytest.mark.parametrize(
    ("count", "rate", "rank"), [(99, 0.1, 90), (9, 0.5, 5), (10, 0.5, 6), (49, 0.14, 43)]
)
def test_the_rank_of_the_threshold_is_as_by_hand(count: int, rate: float, rank: int) -> None:
    score = np.random.default_rng(0).permutation(count) + 1.0

    assert thresholds.conformal_threshold(score, rate).value == rank


@pytest.mark.parametrize("denominator", range(2, 60))
def test_the_number_needed_is_the_smallest_that_is_enough(denominator: int) -> None:
    rate = 1 / denominator
    needed = thresholds.conformal_threshold(np.zeros(1), rate).needed

    assert needed == denominator - 1
    assert thresholds.conformal_threshold(np.zeros(needed), rate).enough
    if needed > 1:
        assert not thresholds.conformal_threshold(np.zeros(needed - 1), rate).enough


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25, 0.3, 0.7])
@pytest.mark.parametrize("count", [20, 21, 33])
def test_each_image_left_out_in_turn_is_rejected_as_often_as_promised(
    count: int, rate: float
) -> None:
    """All orders of exchangeable scores come down to which of n + 1 is the new one."""
    score = np.random.default_rng(count).normal(size=count + 1)
    rejected = 0
    for new in range(count + 1):
        threshold = thresholds.conformal_threshold(np.delete(score, new), rate)
        rejected += bool(exceeds(score[[new]], threshold.value)[0])

    assert rejected == np.floor(rate * (count + 1) + 1e-9)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, np.nan])
def test_a_rate_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"within \(0, 1\)"):
        thresholds.conformal_threshold(np.zeros(30), rate)


def test_scores_that_are_missing_or_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 scores are needed"):
        thresholds.conformal_threshold(np.zeros(0), 0.1)
    with pytest.raises(ValueError, match="must be finite, found nan"):
        thresholds.conformal_threshold(np.array([1.0, np.nan]), 0.1)
    with pytest.raises(ValueError, match="must be finite, found inf"):
        thresholds.f1_threshold(np.array([True, False]), np.array([1.0, np.inf]))


# --- sigma


def test_sigma_is_the_mean_and_sample_deviations() -> None:
    found = thresholds.sigma_threshold(np.array([1.0, 2.0, 3.0]), 3)

    assert found == Threshold(5.0, "sigma", 3)


def test_one_score_has_no_deviation() -> None:
    with pytest.raises(ValueError, match="at least 2 scores are needed, found 1"):
        thresholds.sigma_threshold(np.ones(1), 3)


# --- F1


def test_the_best_f1_cuts_halfway_between_scores() -> None:
    is_defect = np.array([False, False, True, True])

    found = thresholds.f1_threshold(is_defect, np.array([0.0, 1.0, 2.0, 5.0]))

    assert found == Threshold(1.5, "f1", 2, 2)


def test_of_equally_good_thresholds_the_highest_is_taken() -> None:
    # One called after the other from the top: F1 of 2/3, 2/4, 2/5, 4/6.
    is_defect = np.array([True, False, False, True])

    found = thresholds.f1_threshold(is_defect, np.array([4.0, 3.0, 2.0, 1.0]))

    assert found.value == 3.5


def test_where_all_are_best_called_defects_even_the_lowest_is() -> None:
    is_defect, score = np.array([True, True, False]), np.array([1.0, 1.0, 1.0])

    found = thresholds.f1_threshold(is_defect, score)

    assert found.value == np.nextafter(1.0, 0.0)
    assert exceeds(score, found.value).all()


def test_scores_that_nothing_lies_between_are_parted() -> None:
    score = np.array([1.0, np.nextafter(1.0, 2.0)])

    found = thresholds.f1_threshold(np.array([False, True]), score)

    assert exceeds(score, found.value).tolist() == [False, True]
    narrow = score.astype(np.float32) * np.array([1, 1 + 2**-23], dtype=np.float32)
    found = thresholds.f1_threshold(np.array([False, True]), narrow)
    assert exceeds(narrow, found.value).tolist() == [False, True]


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_better_f1_by_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    is_defect = generator.random(40) < 0.4
    score = (generator.normal(size=40) + is_defect).round(1)

    found = thresholds.f1_threshold(is_defect, score)

    reached = f1_score(is_defect, exceeds(score, found.value))
    every = [f1_score(is_defect, score >= level) for level in score]
    assert reached == pytest.approx(max(every))


@pytest.mark.parametrize("is_defect", [np.zeros(3, dtype=bool), np.ones(3, dtype=bool)])
def test_f1_with_one_side_missing_is_refused(is_defect: np.ndarray) -> None:
    with pytest.raises(ValueError, match="both sides are needed"):
        thresholds.f1_threshold(is_defect, np.arange(3.0))


# --- the threshold itself


def test_a_score_at_the_threshold_does_not_exceed_it() -> None:
    assert exceeds(np.array([0.5, 0.500001, 0.4]), 0.5).tolist() == [False, True, False]


def test_narrow_scores_are_compared_without_rounding_the_threshold() -> None:
    score = np.array([0.1], dtype=np.float32)  # 0.10000000149

    assert exceeds(score, 0.1).tolist() == [True]


@pytest.mark.parametrize(
    "threshold",
    [
        thresholds.conformal_threshold(np.arange(12, dtype=np.float32), np.float64(0.05)),
        thresholds.sigma_threshold(np.arange(12, dtype=np.float32), 2),
        thresholds.f1_threshold(np.arange(12) > 6, np.arange(12, dtype=np.float32)),
    ],
    ids=lambda threshold: threshold.rule,
)
def test_a_threshold_survives_as_plain_values(threshold: Threshold) -> None:
    stored = threshold.as_dict()

    plain = {float, int, str, bool, type(None)}
    assert {type(value) for value in stored.values()} <= plain
    assert Threshold.from_dict(json.loads(json.dumps(stored))) == threshold
    assert threshold.rule in thresholds.RULES


def test_a_stored_name_that_is_unknown_is_refused() -> None:
    with pytest.raises(TypeError, match="margin"):
        Threshold.from_dict({"value": 1.0, "rule": "f1", "good_images": 1, "margin": 2})


def test_what_calibration_leaves_to_chance_is_no_broken_promise() -> None:
    found = thresholds.conformal_threshold(np.arange(20.0), 0.05)
    assert not thresholds.rejects_beyond_chance(found, 20, 200)  # Wilson's low end is .066
    assert thresholds.rejects_beyond_chance(found, 60, 200)
    with pytest.raises(ValueError, match="only a conformal threshold"):
        thresholds.rejects_beyond_chance(thresholds.sigma_threshold(np.arange(9.0), 3), 1, 9)


@pytest.mark.parametrize(("count", "images"), [(20, 200), (60, 44)])
def test_a_kept_promise_is_called_broken_as_seldom_as_it_says(count: int, images: int) -> None:
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(2000):
        found = thresholds.conformal_threshold(rng.random(count), 0.05)
        rejected = int((rng.random(images) > found.value).sum())
        called += thresholds.rejects_beyond_chance(found, rejected, images)
    assert called / 2000 < 0.035
