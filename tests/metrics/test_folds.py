from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.detection import anomaly_figures
from capsule_inspection.metrics.folds import AnomalyRun, mean_anomaly_figures

CLASSES = ("crack", "poke", "scratch")
RATE = 0.1


def drawn(seed: int, *, good: int = 35, defects: int = 87) -> AnomalyRun:
    """A fold with good images of its own and the defects that every fold tests."""
    generator = np.random.default_rng(seed)
    is_defect = np.arange(good + defects) >= good
    score = (generator.normal(size=good + defects) + 2.0 * is_defect).round(2)
    kinds = [CLASSES[number % 3] for number in range(defects)]
    identity = [f"good {seed} {i}" for i in range(good)] + [f"defect {i}" for i in range(defects)]
    class_name = np.array(["good"] * good + kinds)
    return AnomalyRun(is_defect, score > 1.3, score, class_name, np.array(identity))


def alone(run: AnomalyRun):
    return anomaly_figures(
        run.is_defect,
        run.called_defect,
        run.score,
        class_names_of_images=run.class_name,
        false_alarm_rate=RATE,
    )


def mean_of(runs: list[AnomalyRun], *, seed: int = 0):
    return mean_anomaly_figures(runs, false_alarm_rate=RATE, seed=seed)


def width(figure) -> float:
    return figure.high - figure.low


def test_the_mean_of_the_folds_figures_stands_on_their_distinct_images() -> None:
    runs = [drawn(seed) for seed in range(5)]
    found, each = mean_of(runs), [alone(run) for run in runs]
    assert set(found) == set(each[0])
    for name, figure in found.items():
        assert figure.value == pytest.approx(np.mean([fold[name].value for fold in each])), name
        assert 0 <= figure.low < figure.value < figure.high <= 1, name
    n = {name: figure.n for name, figure in found.items()}
    assert n["auroc"] == n["f1"] == n["average_precision"] == 5 * 35 + 87
    assert (n["good_rejected"], n["recall/good"]) == (175, 175)
    assert (n["defects_missed"], n["recall/poke"]) == (87, 29)


def test_scores_of_other_models_are_not_pooled_and_intervals_repeat_with_their_seed() -> None:
    runs = [drawn(0), drawn(1)]
    scaled = replace(runs[1], score=runs[1].score * 100)
    assert mean_of([runs[0], scaled]) == mean_of(runs)
    assert mean_of(runs, seed=1) != mean_of(runs)


def test_an_image_in_five_folds_is_one_image() -> None:
    run = drawn(0)
    once, five_times = mean_of([run]), mean_of([run] * 5)
    assert list(once) == list(five_times)
    for name in once:
        (low, high), n = ((once[name].low, once[name].high), once[name].n)
        assert (five_times[name].low, five_times[name].high) == pytest.approx((low, high)), name
        assert five_times[name].n == n


def test_other_good_images_in_each_fold_narrow_what_stands_on_them() -> None:
    run = drawn(0)
    own = [np.char.add(run.identity, f" {fold}") for fold in range(5)]
    others = [replace(run, identity=np.where(run.is_defect, run.identity, names)) for names in own]
    same, other = mean_of([run] * 5), mean_of(others)
    assert width(other["good_rejected"]) < 0.6 * width(same["good_rejected"])
    assert width(other["defects_missed"]) == pytest.approx(width(same["defects_missed"]), rel=0.15)


def test_one_fold_has_about_the_intervals_of_its_own_figures() -> None:
    run = drawn(2)
    found, expected = mean_of([run]), alone(run)
    for name, figure in found.items():
        assert (figure.value, figure.n) == pytest.approx((expected[name].value, expected[name].n))
        assert width(figure) == pytest.approx(width(expected[name]), rel=0.5), name


def test_perfect_folds_leave_as_much_doubt_as_their_distinct_images() -> None:
    runs = []
    for fold in range(5):
        run = drawn(fold)
        right = run.is_defect
        runs.append(replace(run, called_defect=right.copy(), score=right.astype(float)))
    found = mean_of(runs)
    assert found["defects_missed"].value == found["defects_missed"].low == 0.0
    assert found["defects_missed"].high == pytest.approx(intervals.proportion(0, 87).high)
    assert found["good_rejected"].high == pytest.approx(intervals.proportion(0, 175).high)
    assert found["auroc"].low == intervals.auroc(np.zeros(175), np.ones(87)).low
    assert all(figure.low < figure.high for figure in found.values())
    # One defect that one fold missed does not narrow the interval.
    runs[0].called_defect[38] = False
    one = mean_of(runs)["defects_missed"]
    assert one.value == pytest.approx(1 / (5 * 87))
    assert one.high > found["defects_missed"].high


def test_a_fold_without_one_side_counts_only_for_the_other() -> None:
    run, bare = drawn(0), drawn(1, defects=0)
    found = mean_of([run, bare])
    assert found["auroc"].value == pytest.approx(alone(run)["auroc"].value)
    expected = np.mean([alone(fold)["good_rejected"].value for fold in (run, bare)])
    assert found["good_rejected"].value == pytest.approx(expected)
    assert set(mean_of([bare])) == {"good_rejected", "recall/good"}
    of_defects = {"defects_missed", *(f"recall/{name}" for name in CLASSES)}
    assert set(mean_of([drawn(0, good=0)])) == of_defects
    assert mean_of([]) == {}
