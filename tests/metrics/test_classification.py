from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from capsule_inspection.metrics.classification import classification_figures, macro_f1

CLASSES = ("good", "crack", "poke", "scratch")


def figures_of(label, prediction):
    """Figures of predictions without doubt."""
    certain = np.eye(len(CLASSES))[np.asarray(prediction)]
    return classification_figures(np.asarray(label), certain, classes=CLASSES)


def drawn(seed, counts=(30, 5, 4, 6)):
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts)), counts)
    logits = generator.normal(size=(len(label), len(counts)))
    logits[np.arange(len(label)), label] += 1.2
    probabilities = np.exp(logits)
    return label, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_figures_and_their_numbers_of_images_by_hand():
    figures = figures_of([0, 0, 0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, 0, 3, 3])
    expected = {
        "accuracy": (5 / 8, 8),
        "balanced_accuracy": ((3 / 4 + 1 / 2 + 0 + 1) / 4, 8),
        "macro_f1": ((6 / 8 + 2 / 4 + 0 + 2 / 3) / 4, 8),
        "auroc": ((3 * 3.5 + 1 * 1.5) / 16, 8),
        "defects_missed": (1 / 4, 4),
        "good_rejected": (1 / 4, 4),
        "recall/crack": (1 / 2, 2),
        "precision/crack": (1 / 2, 2),
        "precision/scratch": (1 / 2, 2),
        "precision/good": (3 / 4, 4),
    }
    for key, figure in expected.items():
        assert (figures[key].value, figures[key].n) == pytest.approx(figure), key
    assert "precision/poke" not in figures  # never predicted


@pytest.mark.parametrize("seed", range(2))
def test_figures_equal_scikit_learn_also_of_another_decision_and_score(seed):
    label, probabilities = drawn(seed)
    other, _ = drawn(seed, counts=(20, 10, 10, 5))
    usual = probabilities.argmax(axis=1), 1 - probabilities[:, 0]
    for given, (called, score) in (
        ({}, usual),
        ({"called": other, "score": probabilities[:, 1]}, (other, probabilities[:, 1])),
    ):
        figures = classification_figures(label, probabilities, classes=CLASSES, **given)
        expected = {
            "accuracy": reference.accuracy_score(label, called),
            "balanced_accuracy": reference.balanced_accuracy_score(label, called),
            "macro_f1": reference.f1_score(label, called, average="macro"),
            "auroc": reference.roc_auc_score(label != 0, score),
            "average_precision": reference.average_precision_score(label != 0, score),
            "defects_missed": (called[label != 0] == 0).mean(),
            "good_rejected": (called[label == 0] != 0).mean(),
        }
        recall = reference.recall_score(label, called, average=None)
        precision = reference.precision_score(label, called, average=None)
        expected |= {f"recall/{name}": recall[row] for row, name in enumerate(CLASSES)}
        expected |= {f"precision/{name}": precision[row] for row, name in enumerate(CLASSES)}
        assert {key: figure.value for key, figure in figures.items()} == pytest.approx(expected)


def test_every_figure_lies_within_its_interval_that_repeats_with_its_seed():
    label, probabilities = drawn(7, counts=(12, 3, 1, 2))
    first, again, other = (
        classification_figures(label, probabilities, classes=CLASSES, seed=s) for s in (1, 1, 2)
    )
    for key, f in first.items():
        assert 0 <= f.low <= f.value <= f.high <= 1, key
        assert f.low < f.high, key
    assert first == again
    assert first["accuracy"] == other["accuracy"]


def test_perfect_predictions_and_a_single_image_keep_an_honest_lower_end():
    label = np.repeat([0, 1, 2, 3], [20, 3, 3, 3])
    figures = figures_of(label, label)
    assert figures.pop("defects_missed").high > 0.2
    assert figures.pop("good_rejected").value == 0
    assert all(f.value == f.high == 1.0 and f.low < 0.95 for f in figures.values())
    one = figures_of([1], [1])
    assert one["accuracy"].value == 1.0
    assert one["accuracy"].low < 0.3
    assert one["balanced_accuracy"].low < 0.1


def test_class_without_images_has_no_recall_and_does_not_weigh():
    figures = figures_of([0, 0, 1, 1], [0, 0, 1, 0])
    assert "recall/poke" not in figures
    assert figures["balanced_accuracy"].value == 0.75
    assert figures["macro_f1"].value == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_without_one_side_nothing_that_compares_with_it_is_given():
    good, defects = (
        figures_of(np.zeros(5, int), [0, 0, 0, 1, 0]),
        figures_of([1] * 5, [1, 1, 1, 0, 2]),
    )
    assert {"auroc", "average_precision", "defects_missed"}.isdisjoint(good)
    assert {"auroc", "average_precision", "good_rejected"}.isdisjoint(defects)
    assert good["good_rejected"].value == defects["defects_missed"].value == 0.2


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
        figure = macro_f1(label, prediction, 4, seed=trial)
        covered += figure.low <= truth <= figure.high
    assert covered >= 36


@pytest.mark.parametrize(
    ("label", "probabilities", "message"),
    [
        ([0, 1], [[np.nan, 1.0], [0.5, 0.5]], "first is row 0"),
        ([0, 1], [[0.5, 0.5], [1.5, -0.5]], "first is row 1"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], r"labels must lie in 0\.\.1"),
        ([0, -1], [[0.5, 0.5], [0.5, 0.5]], "labels must lie in"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], r"\(images, classes\)"),
        ([0], [[0.2, 0.3, 0.5]], r"\(images, classes\)"),
        (np.zeros(0, int), np.zeros((0, 2)), "at least one image"),
    ],
)
def test_unfit_arrays_are_refused(label, probabilities, message):
    with pytest.raises(ValueError, match=message):
        classification_figures(np.array(label), np.array(probabilities), classes=("good", "bad"))
