import numpy as np
import pytest
from sklearn import metrics as reference

from capsule_inspection.metrics.classification import classification_figures, confusion, macro_f1

CLASSES = ("good", "crack", "poke", "scratch")


def certain(prediction):
    """Probabilities that name the predictions without doubt."""
    return np.eye(len(CLASSES))[np.asarray(prediction)]


def drawn(seed, counts=(30, 5, 4, 6)):
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(counts)), counts)
    logits = generator.normal(size=(len(label), len(counts)))
    logits[np.arange(len(label)), label] += 1.2
    probabilities = np.exp(logits)
    return label, probabilities / probabilities.sum(axis=1, keepdims=True)


def test_confusion_by_hand():
    matrix = confusion(np.array([0, 0, 1, 2, 2]), np.array([0, 2, 1, 0, 2]), 3)

    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert matrix.dtype == np.int64


def test_figures_by_hand():
    label = np.array([0, 0, 0, 0, 1, 1, 2, 3])
    prediction = np.array([0, 0, 0, 1, 1, 0, 3, 3])

    figures = classification_figures(label, certain(prediction), classes=CLASSES)

    value = {key: figure.value for key, figure in figures.items()}
    assert value["accuracy"] == 5 / 8
    assert value["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 0 + 1) / 4)
    assert value["macro_f1"] == pytest.approx((6 / 8 + 2 / 4 + 0 + 2 / 3) / 4)
    assert value["defects_missed"] == 1 / 4
    assert value["good_rejected"] == 1 / 4
    assert value["recall/crack"] == 1 / 2
    assert value["precision/scratch"] == 1 / 2
    assert value["auroc"] == (3 * 3.5 + 1 * 1.5) / 16
    assert "precision/poke" not in figures  # never predicted


def test_each_figure_says_how_many_images_it_stands_on():
    label = np.array([0, 0, 0, 0, 1, 1, 2, 3])
    prediction = np.array([0, 0, 0, 1, 1, 0, 3, 3])

    figures = classification_figures(label, certain(prediction), classes=CLASSES)

    n = {key: figure.n for key, figure in figures.items()}
    assert n["accuracy"] == n["balanced_accuracy"] == n["macro_f1"] == n["auroc"] == 8
    assert (n["defects_missed"], n["good_rejected"]) == (4, 4)
    assert (n["recall/crack"], n["precision/crack"], n["precision/good"]) == (2, 2, 4)


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_scikit_learn(seed):
    label, probabilities = drawn(seed)
    prediction = probabilities.argmax(axis=1)

    figures = classification_figures(label, probabilities, classes=CLASSES)

    expected = {
        "accuracy": reference.accuracy_score(label, prediction),
        "balanced_accuracy": reference.balanced_accuracy_score(label, prediction),
        "macro_f1": reference.f1_score(label, prediction, average="macro"),
        "auroc": reference.roc_auc_score(label != 0, 1 - probabilities[:, 0]),
        "average_precision": reference.average_precision_score(label != 0, 1 - probabilities[:, 0]),
    }
    recall = reference.recall_score(label, prediction, average=None)
    precision = reference.precision_score(label, prediction, average=None)
    expected |= {f"recall/{name}": r for name, r in zip(CLASSES, recall, strict=True)}
    expected |= {f"precision/{name}": p for name, p in zip(CLASSES, precision, strict=True)}
    for key, value in expected.items():
        assert figures[key].value == pytest.approx(value), key


@pytest.mark.parametrize("seed", range(5))
def test_every_figure_lies_within_its_interval_and_the_interval_in_0_to_1(seed):
    label, probabilities = drawn(seed, counts=(12, 3, 1, 2))

    for key, f in classification_figures(label, probabilities, classes=CLASSES).items():
        assert 0 <= f.low <= f.value <= f.high <= 1, key
        assert f.low < f.high, key


def test_perfect_predictions_keep_an_honest_lower_end():
    label = np.repeat([0, 1, 2, 3], [20, 3, 3, 3])

    figures = classification_figures(label, certain(label), classes=CLASSES)

    perfect = {
        key: f for key, f in figures.items() if key not in ("defects_missed", "good_rejected")
    }
    assert all(f.value == f.high == 1.0 for f in perfect.values())
    assert all(f.low < 0.95 for f in perfect.values())
    assert figures["defects_missed"].high > 0.2


def test_class_without_images_has_no_recall_and_does_not_weigh():
    label = np.array([0, 0, 1, 1])

    figures = classification_figures(label, certain([0, 0, 1, 0]), classes=CLASSES)

    assert "recall/poke" not in figures
    assert figures["balanced_accuracy"].value == 0.75
    assert figures["macro_f1"].value == pytest.approx((4 / 5 + 2 / 3) / 2)


def test_without_defects_nothing_that_compares_with_them_is_given():
    figures = classification_figures(np.zeros(5, int), certain([0, 0, 0, 1, 0]), classes=CLASSES)

    assert {"auroc", "average_precision", "defects_missed"}.isdisjoint(figures)
    assert figures["good_rejected"].value == 0.2


def test_without_good_images_nothing_that_compares_with_them_is_given():
    figures = classification_figures(np.ones(5, int), certain([1, 1, 1, 0, 2]), classes=CLASSES)

    assert {"auroc", "average_precision", "good_rejected"}.isdisjoint(figures)
    assert figures["defects_missed"].value == 0.2


def test_one_image_gives_wide_intervals():
    figures = classification_figures(np.array([1]), certain([1]), classes=CLASSES)

    assert figures["accuracy"].value == 1.0
    assert figures["accuracy"].low < 0.3
    assert figures["balanced_accuracy"].low < 0.1


def test_same_seed_gives_the_same_figures():
    label, probabilities = drawn(7)

    first, again, other = (
        classification_figures(label, probabilities, classes=CLASSES, seed=s) for s in (1, 1, 2)
    )

    assert first == again
    assert first["accuracy"] == other["accuracy"]


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
    ],
)
def test_unfit_arrays_are_refused(label, probabilities, message):
    with pytest.raises(ValueError, match=message):
        classification_figures(np.array(label), np.array(probabilities), classes=("good", "bad"))


def test_no_image_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        classification_figures(np.zeros(0, int), np.zeros((0, 2)), classes=("good", "bad"))
