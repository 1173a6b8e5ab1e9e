from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.detection import (
    FoldPredictions,
    anomaly_metrics,
    mean_anomaly_metrics,
)

CLASSES = ("crack", "poke", "scratch")
RATE = 0.1


def draw(seed: int, *, good: int = 35, defects: int = 87) -> FoldPredictions:
    """A fold with good images of its own and the defects that every fold tests."""
    generator = np.random.default_rng(seed)
    is_defect = np.arange(good + defects) >= good
    score = (generator.normal(size=good + defects) + 2.0 * is_defect).round(2)
    defect_types = [CLASSES[number % 3] for number in range(defects)]
    identity = [f"good {seed} {i}" for i in range(good)] + [f"defect {i}" for i in range(defects)]
    class_name = np.array(["good"] * good + defect_types)
    return FoldPredictions(is_defect, score > 1.3, score, class_name, np.array(identity))


def alone(run: FoldPredictions):
    return anomaly_metrics(
        run.is_defect,
        run.predicted_defect,
        run.score,
        class_names=run.class_name,
        target_fpr=RATE,
    )


def mean_of(runs: list[FoldPredictions], *, seed: int = 0):
    return mean_anomaly_metrics(runs, target_fpr=RATE, seed=seed)


def width(estimate) -> float:
    return estimate.ci_high - estimate.ci_low


def test_the_mean_of_the_folds_metrics_stands_on_their_distinct_images() -> None:
    runs = [draw(seed) for seed in range(5)]
    found, each = mean_of(runs), [alone(run) for run in runs]
    assert set(found) == set(each[0])
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(np.mean([fold[name].value for fold in each])), name
        assert 0 <= estimate.ci_low < estimate.value < estimate.ci_high <= 1, name
    n = {name: estimate.n for name, estimate in found.items()}
    assert n["auroc"] == n["f1"] == n["average_precision"] == 5 * 35 + 87
    assert (n["false_positive_rate"], n["recall/good"]) == (175, 175)
    assert (n["false_negative_rate"], n["recall/poke"]) == (87, 29)


def test_scores_of_other_models_are_not_pooled_and_intervals_repeat_with_their_seed() -> None:
    runs = [draw(0), draw(1)]
    scaled = replace(runs[1], score=runs[1].score * 100)
    assert mean_of([runs[0], scaled]) == mean_of(runs)
    assert mean_of(runs, seed=1) != mean_of(runs)


def test_an_image_in_five_folds_is_one_image() -> None:
    run = draw(0)
    once, five_times = mean_of([run]), mean_of([run] * 5)
    assert list(once) == list(five_times)
    for name in once:
        (low, high), n = ((once[name].ci_low, once[name].ci_high), once[name].n)
        assert (five_times[name].ci_low, five_times[name].ci_high) == pytest.approx((low, high)), (
            name
        )
        assert five_times[name].n == n


def test_other_good_images_in_each_fold_narrow_what_stands_on_them() -> None:
    run = draw(0)
    own = [np.char.add(run.group, f" {fold}") for fold in range(5)]
    others = [replace(run, group=np.where(run.is_defect, run.group, names)) for names in own]
    same, other = mean_of([run] * 5), mean_of(others)
    assert width(other["false_positive_rate"]) < 0.6 * width(same["false_positive_rate"])
    assert width(other["false_negative_rate"]) == pytest.approx(
        width(same["false_negative_rate"]), rel=0.15
    )


def test_one_fold_has_about_the_intervals_of_its_own_metrics() -> None:
    run = draw(2)
    found, expected = mean_of([run]), alone(run)
    for name, estimate in found.items():
        assert (estimate.value, estimate.n) == pytest.approx(
            (expected[name].value, expected[name].n)
        )
        assert width(estimate) == pytest.approx(width(expected[name]), rel=0.5), name


def test_perfect_folds_leave_as_much_doubt_as_their_distinct_images() -> None:
    runs = []
    for fold in range(5):
        run = draw(fold)
        right = run.is_defect
        runs.append(replace(run, predicted_defect=right.copy(), score=right.astype(float)))
    found = mean_of(runs)
    assert found["false_negative_rate"].value == found["false_negative_rate"].ci_low == 0.0
    assert found["false_negative_rate"].ci_high == pytest.approx(
        intervals.proportion(0, 87).ci_high
    )
    assert found["false_positive_rate"].ci_high == pytest.approx(
        intervals.proportion(0, 175).ci_high
    )
    assert found["auroc"].ci_low == intervals.auroc(np.zeros(175), np.ones(87)).ci_low
    assert all(estimate.ci_low < estimate.ci_high for estimate in found.values())
    # One defect that one fold missed does not narrow the interval.
    runs[0].predicted_defect[38] = False
    one = mean_of(runs)["false_negative_rate"]
    assert one.value == pytest.approx(1 / (5 * 87))
    assert one.ci_high > found["false_negative_rate"].ci_high


def test_a_fold_without_one_side_counts_only_for_the_other() -> None:
    run, bare = draw(0), draw(1, defects=0)
    found = mean_of([run, bare])
    assert found["auroc"].value == pytest.approx(alone(run)["auroc"].value)
    expected = np.mean([alone(fold)["false_positive_rate"].value for fold in (run, bare)])
    assert found["false_positive_rate"].value == pytest.approx(expected)
    assert set(mean_of([bare])) == {"false_positive_rate", "recall/good"}
    of_defects = {"false_negative_rate", *(f"recall/{name}" for name in CLASSES)}
    assert set(mean_of([draw(0, good=0)])) == of_defects
    assert mean_of([]) == {}


def test_images_of_one_group_are_one_observation_in_all_folds() -> None:
    runs = [draw(0), draw(1)]
    views = np.repeat(np.arange(len(runs[0].score)), 3)
    thrice = [replace(run, **{key: of[views] for key, of in vars(run).items()}) for run in runs]
    once, grouped = mean_of(runs), mean_of(thrice)
    for name, estimate in once.items():
        assert vars(grouped[name]) == pytest.approx(vars(estimate)), name
