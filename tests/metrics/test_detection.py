from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.detection import (
    anomaly_metrics,
    detection_metrics,
    expected_cost,
)
from capsule_inspection.types import Costs, Estimate

NEW = ("f1", "f1_max", "tpr_at_fpr")


def draw(seed: int, good: int = 30, defects: tuple[int, ...] = (12, 8)):
    """Decisions at 1.0, scores with ties, and class names."""
    generator = np.random.default_rng(seed)
    class_name = np.repeat(["good", "crack", "poke"][: len(defects) + 1], [good, *defects])
    is_defect = class_name != "good"
    score = (generator.normal(size=len(class_name)) + 1.5 * is_defect).round(1)
    return is_defect, score > 1.0, score, class_name


def metrics_of(is_defect, predicted_defect, score, class_name, *, rate=0.1, seed=0):
    return anomaly_metrics(
        is_defect,
        predicted_defect,
        score,
        class_names=class_name,
        target_fpr=rate,
        seed=seed,
    )


def by_hand(rate: float) -> dict[str, Estimate]:
    """Ten good images that score 0 to 9 and four defects at 3.5, 8.5, 8.5 and 12; cut at 8."""
    score = np.array([*range(10), 3.5, 8.5, 8.5, 12.0])
    class_name = np.repeat(["good", "poke", "crack"], [10, 2, 2])
    return metrics_of(class_name != "good", score > 8, score, class_name, rate=rate)


def test_metrics_by_hand() -> None:
    value = {name: estimate.value for name, estimate in by_hand(0.1).items()}
    assert value["auroc"] == pytest.approx((4 + 9 + 9 + 10) / 40)
    assert (value["false_negative_rate"], value["false_positive_rate"]) == (1 / 4, 1 / 10)
    assert value["f1"] == value["f1_max"] == pytest.approx(2 * 3 / (4 + 4))
    assert (value["recall/good"], value["recall/poke"], value["recall/crack"]) == (0.9, 0.5, 1.0)


def test_recall_at_a_rate_rejects_at_most_that_fraction_and_spares_ties_at_the_cut() -> None:
    fractions = {0.05: 1 / 4, 0.1: 3 / 4, 0.19: 3 / 4, 0.5: 3 / 4, 0.6: 1.0, 0.99: 1.0}
    for rate, recall in fractions.items():
        assert by_hand(rate)["tpr_at_fpr"].value == recall
    # Five of twenty may be rejected, but the fifth and sixth score the same: four are.
    score = np.array([*range(14), 15, 15, 16, 17, 18, 19, 15, 15.5], dtype=float)
    is_defect = np.arange(22) >= 20
    found = metrics_of(is_defect, score > 20, score, is_defect.astype(str), rate=0.25)
    assert found["tpr_at_fpr"].value == 0.5


def test_metrics_equal_scikit_learn_and_lie_within_intervals_that_repeat_with_their_seed() -> None:
    is_defect, predicted, score, class_name = images = draw(0)
    found, again, other = (metrics_of(*images, seed=seed) for seed in (0, 0, 1))
    assert found == again != other
    plain = detection_metrics(is_defect, predicted, score)
    assert {name: found[name] for name in plain} == plain
    assert list(found) == [*plain, *NEW, "recall/good", "recall/crack", "recall/poke"]
    assert found["f1"].value == pytest.approx(reference.f1_score(is_defect, predicted))
    best = max(reference.f1_score(is_defect, score >= level) for level in score)
    assert found["f1_max"].value == pytest.approx(best)
    fpr, recall, _ = reference.roc_curve(is_defect, score, drop_intermediate=False)
    at_rate = recall[fpr <= 0.1 + 1e-9].max()
    assert found["tpr_at_fpr"].value == pytest.approx(at_rate)
    crack = class_name == "crack"
    assert found["recall/crack"] == intervals.proportion(
        int(predicted[crack].sum()), int(crack.sum())
    )
    for name, estimate in found.items():
        assert 0 <= estimate.ci_low <= estimate.value <= estimate.ci_high <= 1, name
        assert estimate.ci_low < estimate.ci_high, name


def test_perfect_decisions_leave_room_for_doubt() -> None:
    class_name = np.repeat(["good", "crack"], [20, 5])
    is_defect = class_name != "good"
    found = metrics_of(is_defect, is_defect, is_defect.astype(float), class_name)
    for name in NEW:
        assert found[name].value == found[name].ci_high == 1.0
        assert found[name].ci_low < 0.7, name
        assert found[name].n == 25


def test_recall_at_a_rate_doubts_at_least_as_much_as_its_proportion() -> None:
    found = metrics_of(*draw(1))["tpr_at_fpr"]
    wilson = intervals.proportion(round(found.value * 20), 20)
    assert found.ci_low <= wilson.ci_low
    assert found.ci_high >= wilson.ci_high
    assert found.ci_high - found.ci_low > wilson.ci_high - wilson.ci_low


def test_without_one_side_only_what_stands_on_the_other_is_given() -> None:
    assert set(metrics_of(*draw(0, defects=()))) == {"false_positive_rate", "recall/good"}
    assert set(metrics_of(*draw(0, good=0))) == {
        "false_negative_rate",
        "recall/crack",
        "recall/poke",
    }


def test_three_images_of_each_part_are_one_observation() -> None:
    images = draw(3)
    part = np.arange(len(images[0]))
    once, thrice = (
        anomaly_metrics(*arrays[:3], class_names=arrays[3], target_fpr=0.1, group=group)
        for arrays, group in (
            (images, part),
            (tuple(np.repeat(array, 3) for array in images), np.repeat(part, 3)),
        )
    )
    assert once == metrics_of(*images)
    for name, estimate in once.items():
        assert vars(thrice[name]) == pytest.approx(vars(estimate)), name


def test_expected_cost_weighs_the_rates_and_combines_their_intervals() -> None:
    missed, rejected = Estimate(0.1, 0.05, 0.2, 20), Estimate(0.04, 0.01, 0.1, 50)
    costs = Costs(false_negative=50.0, false_positive=2.0)
    found = expected_cost(missed, rejected, costs=costs, defect_rate=0.1)
    assert found.value == pytest.approx(50 * 0.1 * 0.1 + 2 * 0.9 * 0.04)
    below = np.hypot(50 * 0.1 * 0.05, 2 * 0.9 * 0.03)
    above = np.hypot(50 * 0.1 * 0.1, 2 * 0.9 * 0.06)
    assert found.ci_low == pytest.approx(found.value - below)
    assert found.ci_high == pytest.approx(found.value + above)
    assert found.n == 70
    of_missed = expected_cost(missed, rejected, costs=costs, defect_rate=1.0)
    assert (of_missed.ci_low, of_missed.ci_high) == pytest.approx((2.5, 10.0))


@pytest.mark.slow
@pytest.mark.parametrize("apart", [1.5, 3.0])
def test_intervals_cover_a_known_truth(apart: float) -> None:
    """Scores of normal distributions, so that what many images would show is known."""
    is_defect, _, _, class_name = draw(0, good=35, defects=(12, 8))
    generator = np.random.default_rng(0)
    many = generator.normal(size=(2, 200_000))
    recall, rejected = (many[0] + apart > 1.5).mean(), (many[1] > 1.5).mean()
    f1 = 2 * 20 * recall / (20 + 20 * recall + 35 * rejected)
    covered = 0
    for trial in range(200):
        score = generator.normal(size=55) + apart * is_defect
        found = metrics_of(is_defect, score > 1.5, score, class_name, seed=trial)["f1"]
        covered += found.ci_low <= f1 <= found.ci_high
    assert covered >= 184
