from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from capsule_inspection.metrics.classification import classification_metrics, macro_f1

CLASSES = ("good", "crack", "poke", "scratch")


def metrics_of(label, prediction):
    """Metrics of predictions without doubt."""
    certain = np.eye(len(CLASSES))[np.asarray(prediction)]
    return classification_metrics(np.asarray(label), certain, classes=CLASSES)


def draw(seed, counts=(30, 5, 4, 6)):
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts)), counts)
    logits = generator.normal(size=(len(label), len(counts)))
    logits[np.arange(len(label)), label] += 1.2
    probabilities = np.exp(logits)
    return label, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_metrics_and_their_numbers_of_images_by_hand():
    metrics = metrics_of([0, 0, 0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, 0, 3, 3])
    expected = {
        "accuracy": (5 / 8, 8),
        "balanced_accuracy": ((3 / 4 + 1 / 2 + 0 + 1) / 4, 8),
        "macro_f1": ((6 / 8 + 2 / 4 + 0 + 2 / 3) / 4, 8),
        "auroc": ((3 * 3.5 + 1 * 1.5) / 16, 8),
        "false_negative_rate": (1 / 4, 4),
        "false_positive_rate": (1 / 4, 4),
        "recall/crack": (1 / 2, 2),
        "precision/crack": (1 / 2, 2),
        "precision/scratch": (1 / 2, 2),
        "precision/good": (3 / 4, 4),
    }
    for key, estimate in expected.items():
        assert (metrics[key].value, metrics[key].n) == pytest.approx(estimate), key
    assert "precision/poke" not in metrics  # never predicted


@pytest.mark.parametrize("seed", range(2))
def test_metrics_equal_scikit_learn_also_of_another_decision_and_score(seed):
    label, probabilities = draw(seed)
    other, _ = draw(seed, counts=(20, 10, 10, 5))
    usual = probabilities.argmax(axis=1), 1 - probabilities[:, 0]
    for given, (predicted, score) in (
        ({}, usual),
        ({"predicted_label": other, "score": probabilities[:, 1]}, (other, probabilities[:, 1])),
    ):
        metrics = classification_metrics(label, probabilities, classes=CLASSES, **given)
        expected = {
            "accuracy": reference.accuracy_score(label, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(label, predicted),
            "macro_f1": reference.f1_score(label, predicted, average="macro"),
            "auroc": reference.roc_auc_score(label != 0, score),
            "average_precision": reference.average_precision_score(label != 0, score),
            "false_negative_rate": (predicted[label != 0] == 0).mean(),
            "false_positive_rate": (predicted[label == 0] != 0).mean(),
        }
        recall = reference.recall_score(label, predicted, average=None)
        precision = reference.precision_score(label, predicted, average=None)
        expected |= {f"recall/{name}": recall[row] for row, name in enumerate(CLASSES)}
        expected |= {f"precision/{name}": precision[row] for row, name in enumerate(CLASSES)}
        assert {key: estimate.value for key, estimate in metrics.items()} == pytest.approx(expected)


def test_every_metric_lies_within_its_interval_that_repeats_with_its_seed():
    label, probabilities = draw(7, counts=(12, 3, 1, 2))
    first, again, other = (
        classification_metrics(label, probabilities, classes=CLASSES, seed=s) for s in (1, 1, 2)
    )
    for key, f in first.items():
        assert 0 <= f.ci_low <= f.value <= f.ci_high <= 1, key
        assert f.ci_low < f.ci_high, key
    assert first == again
    assert first["accuracy"] == other["accuracy"]


def test_perfect_predictions_and_a_single_image_keep_an_honest_lower_end():
    label = np.repeat([0, 1, 2, 3], [20, 3, 3, 3])
    metrics = metrics_of(label, label)
    assert metrics.pop("false_negative_rate").ci_high > 0.2
    assert metrics.pop("false_positive_rate").value == 0
    assert all(f.value == f.ci_high == 1.0 and f.ci_low < 0.95 for f in metrics.values())
    one = metrics_of([1], [1])
    assert one["accuracy"].value == 1.0
    assert one["accuracy"].ci_low < 0.3
    assert one["balanced_accuracy"].ci_low < 0.1


def test_class_without_images_has_no_recall_and_does_not_weigh():
    metrics = metrics_of([0, 0, 1, 1], [0, 0, 1, 0])
    assert "recall/poke" not in metrics
    assert metrics["balanced_accuracy"].value == 0.75
    assert metrics["macro_f1"].value == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_without_one_side_nothing_that_compares_with_it_is_given():
    good, defects = (
        metrics_of(np.zeros(5, int), [0, 0, 0, 1, 0]),
        metrics_of([1] * 5, [1, 1, 1, 0, 2]),
    )
    assert {"auroc", "average_precision", "false_negative_rate"}.isdisjoint(good)
    assert {"auroc", "average_precision", "false_positive_rate"}.isdisjoint(defects)
    assert good["false_positive_rate"].value == defects["false_negative_rate"].value == 0.2


def test_four_images_of_each_part_are_one_observation():
    label, probabilities = draw(7)
    once = classification_metrics(label, probabilities, classes=CLASSES)
    group = np.repeat([f"part {number}" for number in range(len(label))], 4)
    four_times = classification_metrics(
        np.repeat(label, 4), np.repeat(probabilities, 4, axis=0), classes=CLASSES, group=group
    )
    assert list(four_times) == list(once)
    for key, estimate in once.items():
        assert vars(four_times[key]) == pytest.approx(vars(estimate)), key


def test_within_a_class_the_images_of_a_mixed_group_are_one_observation():
    label, probabilities = draw(7)
    views = np.repeat(np.arange(len(label)), 2)
    group = np.where(label[views] < 2, views % 30, views)  # five parts have cracked and good sides
    found = classification_metrics(label[views], probabilities[views], classes=CLASSES, group=group)
    once = classification_metrics(label, probabilities, classes=CLASSES)
    n = {key: estimate.n for key, estimate in found.items()}
    assert n["accuracy"] == n["balanced_accuracy"] == n["auroc"] == 45 - n["recall/crack"]
    for key in ("recall/good", "recall/crack", "recall/poke", "false_positive_rate"):
        assert vars(found[key]) == pytest.approx(vars(once[key])), key
    accuracy, balanced = found["accuracy"], found["balanced_accuracy"]
    assert accuracy.ci_high - accuracy.ci_low > once["accuracy"].ci_high - once["accuracy"].ci_low
    assert vars(balanced) == pytest.approx({**vars(once["balanced_accuracy"]), "n": 40})


@pytest.mark.slow
def test_macro_f1_covers_a_known_truth():
    generator = np.random.default_rng(0)
    totals, recall = np.array([44, 5, 4, 4]), np.array([0.95, 0.8, 0.6, 0.9])
    wrong = np.array([[0, 1, 1, 1], [2, 0, 1, 1], [2, 1, 0, 1], [2, 1, 1, 0]], dtype=float)
    rows = (1 - recall)[:, None] * wrong / wrong.sum(axis=1, keepdims=True) + np.diag(recall)
    expected = rows * totals[:, None]
    truth = np.mean(2 * np.diag(expected) / (expected.sum(axis=0) + expected.sum(axis=1)))
    label = np.repeat(np.arange(4), totals)
    covered = 0
    for trial in range(40):
        prediction = np.array([generator.choice(4, p=rows[i]) for i in label])
        estimate = macro_f1(label, prediction, 4, seed=trial)
        covered += estimate.ci_low <= truth <= estimate.ci_high
    assert covered >= 36


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[np.nan, 1.0], [0.5, 0.5]], "first is row 0"),
        ([[0.5, 0.5], [1.5, -0.5]], "first is row 1"),
    ],
)
def test_probabilities_outside_of_the_unit_interval_are_refused(probabilities, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(np.array([0, 1]), np.array(probabilities), classes=("good", "bad"))
