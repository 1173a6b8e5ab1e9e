from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.detection import anomaly_figures, detection_figures
from capsule_inspection.types import Figure

NEW = ("f1", "f1_best", "recall_at_false_alarm_rate")


def drawn(seed: int, good: int = 30, defects: tuple[int, ...] = (12, 8)):
    """Decisions at 1.0, scores with ties, and class names."""
    generator = np.random.default_rng(seed)
    class_name = np.repeat(["good", "crack", "poke"][: len(defects) + 1], [good, *defects])
    is_defect = class_name != "good"
    score = (generator.normal(size=len(class_name)) + 1.5 * is_defect).round(1)
    return is_defect, score > 1.0, score, class_name


def figures_of(is_defect, called_defect, score, class_name, *, rate=0.1, seed=0):
    return anomaly_figures(
        is_defect,
        called_defect,
        score,
        class_names_of_images=class_name,
        false_alarm_rate=rate,
        seed=seed,
    )


def by_hand(rate: float) -> dict[str, Figure]:
    """Ten good images that score 0 to 9 and four defects at 3.5, 8.5, 8.5 and 12; cut at 8."""
    score = np.array([*range(10), 3.5, 8.5, 8.5, 12.0])
    class_name = np.repeat(["good", "poke", "crack"], [10, 2, 2])
    return figures_of(class_name != "good", score > 8, score, class_name, rate=rate)


def test_figures_by_hand() -> None:
    value = {name: figure.value for name, figure in by_hand(0.1).items()}
    assert value["auroc"] == pytest.approx((4 + 9 + 9 + 10) / 40)
    assert (value["defects_missed"], value["good_rejected"]) == (1 / 4, 1 / 10)
    assert value["f1"] == value["f1_best"] == pytest.approx(2 * 3 / (4 + 4))
    assert (value["recall/good"], value["recall/poke"], value["recall/crack"]) == (0.9, 0.5, 1.0)


def test_recall_at_a_rate_rejects_at_most_that_share_and_spares_ties_at_the_cut() -> None:
    shares = {0.05: 1 / 4, 0.1: 3 / 4, 0.19: 3 / 4, 0.5: 3 / 4, 0.6: 1.0, 0.99: 1.0}
    for rate, recall in shares.items():
        assert by_hand(rate)["recall_at_false_alarm_rate"].value == recall
    # Five of twenty may be rejected, but the fifth and sixth score the same: four are.
    score = np.array([*range(14), 15, 15, 16, 17, 18, 19, 15, 15.5], dtype=float)
    is_defect = np.arange(22) >= 20
    found = figures_of(is_defect, score > 20, score, is_defect.astype(str), rate=0.25)
    assert found["recall_at_false_alarm_rate"].value == 0.5


def test_figures_equal_scikit_learn_and_lie_within_intervals_that_repeat_with_their_seed() -> None:
    is_defect, called, score, class_name = images = drawn(0)
    found, again, other = (figures_of(*images, seed=seed) for seed in (0, 0, 1))
    assert found == again != other
    plain = detection_figures(is_defect, called, score)
    assert {name: found[name] for name in plain} == plain
    assert list(found) == [*plain, *NEW, "recall/good", "recall/crack", "recall/poke"]
    assert found["f1"].value == pytest.approx(reference.f1_score(is_defect, called))
    best = max(reference.f1_score(is_defect, score >= level) for level in score)
    assert found["f1_best"].value == pytest.approx(best)
    false_alarms, recall, _ = reference.roc_curve(is_defect, score, drop_intermediate=False)
    at_rate = recall[false_alarms <= 0.1 + 1e-9].max()
    assert found["recall_at_false_alarm_rate"].value == pytest.approx(at_rate)
    crack = class_name == "crack"
    assert found["recall/crack"] == intervals.proportion(int(called[crack].sum()), int(crack.sum()))
    for name, figure in found.items():
        assert 0 <= figure.low <= figure.value <= figure.high <= 1, name
        assert figure.low < figure.high, name


def test_perfect_decisions_leave_room_for_doubt() -> None:
    class_name = np.repeat(["good", "crack"], [20, 5])
    is_defect = class_name != "good"
    found = figures_of(is_defect, is_defect, is_defect.astype(float), class_name)
    for name in NEW:
        assert found[name].value == found[name].high == 1.0
        assert found[name].low < 0.7, name
        assert found[name].n == 25


def test_recall_at_a_rate_doubts_at_least_as_much_as_its_proportion() -> None:
    found = figures_of(*drawn(1))["recall_at_false_alarm_rate"]
    wilson = intervals.proportion(round(found.value * 20), 20)
    assert found.low <= wilson.low
    assert found.high >= wilson.high
    assert found.high - found.low > wilson.high - wilson.low


def test_without_one_side_only_what_stands_on_the_other_is_given() -> None:
    assert set(figures_of(*drawn(0, defects=()))) == {"good_rejected", "recall/good"}
    assert set(figures_of(*drawn(0, good=0))) == {"defects_missed", "recall/crack", "recall/poke"}


@pytest.mark.slow
@pytest.mark.parametrize("apart", [1.5, 3.0])
def test_intervals_cover_a_known_truth(apart: float) -> None:
    """Scores of normal distributions, so that what many images would show is known."""
    is_defect, _, _, class_name = drawn(0, good=35, defects=(12, 8))
    generator = np.random.default_rng(0)
    many = generator.normal(size=(2, 200_000))
    recall, rejected = (many[0] + apart > 1.5).mean(), (many[1] > 1.5).mean()
    f1 = 2 * 20 * recall / (20 + 20 * recall + 35 * rejected)
    covered = 0
    for trial in range(200):
        score = generator.normal(size=55) + apart * is_defect
        found = figures_of(is_defect, score > 1.5, score, class_name, seed=trial)["f1"]
        covered += found.low <= f1 <= found.high
    assert covered >= 184
