"""Each plot: its texts and lines, also for unusual inputs."""

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from capsule_inspection.reports.plots import (
    anomaly_scores,
    classification,
    image_grid,
    overlap,
    style,
    training_curves,
)
from capsule_inspection.types import Estimate

GENERATOR = np.random.default_rng(0)
LONG = ["good", *(f"an exceedingly long name of a defect, number {i}" for i in range(14))]
NOTHING = np.zeros(0)
CURVE = (np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.8, 1.0]))
SCORE_NAME = "confidence (higher: more certain)"


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def images(count: int, height: int = 20, width: int = 60) -> list[np.ndarray]:
    return [np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)]


# --- style


def test_matplotlibrc_changes_no_plot_and_is_restored(tmp_path):
    def drawn():
        figure = training_curves.training_curves({"epoch": [0, 1], "val/loss": [1.0, 0.5]})
        return style.figure_to_array(figure)

    assert drawn().shape[2] == 3
    usual, before = drawn(), dict(matplotlib.rcParams)
    style.save(style.text_figure("a"), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 20, "axes.facecolor": "red"}):
        assert np.array_equal(drawn(), usual)


def test_pyplot_and_torch_are_never_imported():
    program = (
        "import sys; import capsule_inspection.reports.run.page;"
        "import capsule_inspection.reports.run.console;"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_failed_write_leaves_the_old_plot_and_no_remains(tmp_path, monkeypatch):
    path = tmp_path / "figures" / "a.png"
    style.save(style.text_figure("old"), path)
    old = path.read_bytes()

    def full_disk(self, file, **_):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        style.save(style.text_figure("new"), path)

    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    assert path.read_bytes() == old


def test_shortened_names_stay_different():
    assert style.shorten("crack") == "crack"
    shortened = {style.shorten(name) for name in LONG}
    assert len(shortened) == len(LONG)
    assert max(map(len, shortened)) == style.LONGEST_NAME


def test_every_plot_without_data_says_so(texts_of):
    label = np.zeros(3, int)
    for figure, expected in (
        (training_curves.training_curves({"epoch": [], "val/loss": []}),
         "Nothing has been measured"),
        (classification.recall_by_class({}), "there is no recall"),
        (image_grid.image_grid([], []), "No images"),
        (image_grid.misclassified_images(images(3), label, label, np.ones((3, 1)), ["good"]),
         "No mistakes: all 3 images are classified correctly."),
        (anomaly_scores.score_histogram(NOTHING, NOTHING.astype(bool), 0.5), "No images"),
        (anomaly_scores.scores_by_class([], 0.5), "No images"),
        (overlap.overlap_by_class({"auroc": Estimate(0.9, 0.8, 1.0, 12)}),
         "There are no target masks"),
    ):  # fmt: skip
        assert expected in texts_of(figure)


# --- training


def test_curves_have_a_panel_for_each_kind_and_name_the_best_epoch(texts_of, is_inside_figure):
    columns = {
        **{name: [1.0, 1.0, 1.0] for name in ("step", "seconds", "lr")},
        "epoch": [0, 1, 2],
        "train/loss": [3.0, 2.0, 1.0],
        "train/reconstruction": [0.5, 0.4, 0.3],
        "val/loss": [np.nan, 2.0, np.nan],
        "val/balanced_accuracy": [0.1, np.nan, 0.3],
        "val/binary_dice_smoothed": [0.1, 0.3, 0.3],
        "val/mean_iou": [0.05, 0.2, 0.2],
        "val/auroc": [np.nan] * 3,
        "val/distance": [40.0, 30.0, 20.0],
    }
    figure = training_curves.training_curves(columns, 2)

    text = texts_of(figure)
    assert titles(figure)[:3] == ["Loss", "Metrics", "Other values"]
    assert len(figure.axes[0].lines) - len(figure.axes[2].lines) == 2  # there are three losses
    for expected in ("best epoch: 2", "val/balanced accuracy", "val/binary Dice smoothed",
                 "val/mean IoU"):  # fmt: skip
        assert expected in text
    assert "auroc" not in text.lower()  # never measured
    assert "seconds" not in text
    assert is_inside_figure(figure)


def test_curves_of_a_single_epoch_show_its_point(is_inside_figure):
    for loss in (0.0, 1e9, -1.0):
        figure = training_curves.training_curves({"epoch": [0], "train/loss": [loss]}, 0)

        low, high = figure.axes[0].get_ylim()
        assert low <= loss < high
        assert figure.axes[0].lines[0].get_marker() == "o"
        assert is_inside_figure(figure)


# --- classification


def test_confusion_matrix_writes_counts_shares_and_totals(texts_of):
    text = texts_of(
        classification.confusion_matrix(np.array([[3, 1], [2, 0]]), ["good", "poke"], "T")
    )

    assert all(cell in text for cell in ("3\n75%", "1\n25%", "2\n100%", "0\n0%"))
    assert "good  (4)" in text


@pytest.mark.slow
def test_plots_of_fifteen_long_names_stay_within_the_figure(is_inside_figure):
    assert is_inside_figure(
        classification.confusion_matrix(GENERATOR.integers(0, 5, (15, 15)), LONG)
    )
    probabilities = GENERATOR.dirichlet(np.ones(15), 45)
    assert is_inside_figure(
        classification.precision_recall(np.arange(45) % 15, probabilities, LONG)
    )


@pytest.mark.parametrize("names", [["$x_1$", "膠囊"], ["%", "a\nb"], ["_a", "\\frac"]])
def test_odd_class_names_are_drawn_as_they_are(names, texts_of, is_inside_figure):
    label = np.array([0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])

    text = texts_of(classification.precision_recall(label, probabilities, names))

    assert all(" ".join(name.split()) in text for name in names)
    assert is_inside_figure(classification.confusion_matrix(np.eye(2, dtype=int), names))


def test_area_below_precision_recall_steps_is_average_precision(texts_of):
    from sklearn.metrics import average_precision_score

    label = GENERATOR.integers(0, 2, 60)
    score = np.round(0.3 * label + GENERATOR.random(60) * 0.7, 1)  # with ties
    probabilities = np.stack([1 - score, score, np.zeros(60)], 1)
    figure = classification.precision_recall(label, probabilities, ["a", "b", "c"])

    recall, precision = figure.axes[1].lines[0].get_data(orig=True)
    expected = average_precision_score(label, score)
    assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(expected)
    text = texts_of(figure)
    assert f"AP {expected:.2f}, {label.sum()} images" in text
    assert text.count("no images") == 1


def test_recall_by_class_counts_the_images_and_draws_each_interval(texts_of, is_inside_figure):
    metrics = {
        "accuracy": Estimate(0.9, 0.8, 1.0, 10),
        "recall/good": Estimate(0.75, 0.5, 0.9, 8),
        "recall/poke": Estimate(1.0, None, None, 2),
    }
    figure = classification.recall_by_class(metrics)

    text = texts_of(figure)
    assert "6 of 8" in text
    assert "2 of 2" in text
    bars = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [list(bar.get_xdata()) for bar in bars] == [[0.5, 0.9]]
    assert is_inside_figure(figure)


# --- misclassified images


def test_misclassified_images_are_sorted_by_probability(texts_of):
    label, prediction = np.array([0, 1, 1, 0]), np.array([1, 0, 1, 1])
    probabilities = np.array([[0.4, 0.6], [0.95, 0.05], [0.0, 1.0], [0.2, 0.8]])

    figure = image_grid.misclassified_images(
        images(4), label, prediction, probabilities, ["good", "poke"], limit=2
    )

    assert titles(figure) == ["true: poke\npred: good, 95%", "true: good\npred: poke, 80%"]
    assert "The 2 most confident of 3 mistakes, among 4 images" in texts_of(figure)


@pytest.mark.parametrize(
    ("height", "width", "count"), [(20, 60, 1), (20, 60, 3), (60, 20, 7), (7, 100, 3)]
)
def test_captions_and_images_of_any_shape_stay_within_the_figure(
    height, width, count, is_inside_figure
):
    label, prediction = np.arange(count) % 15, (np.arange(count) + 1) % 15
    figure = image_grid.misclassified_images(
        images(count, height, width), label, prediction, np.full((count, 15), 1 / 15), LONG
    )

    assert is_inside_figure(figure)
    boxes = [axes._left_title.get_window_extent() for axes in figure.axes]
    row = [box for box in boxes if abs(box.y0 - boxes[0].y0) < 1]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(row))


def test_wide_images_stand_in_fewer_columns_than_tall_ones():
    for shape, columns in (((20, 60), 2), ((30, 30), 4), ((90, 30), 6)):
        figure = image_grid.image_grid(np.zeros((12, *shape, 3), np.uint8), ["a"] * 12)
        assert figure.axes[0].get_gridspec().ncols == columns


# --- scores and their curves


def test_score_histogram_counts_both_sides_and_marks_the_threshold(texts_of, is_inside_figure):
    is_defect, calibration = np.array([False, False, True]), np.array([0.3])
    for score, is_logarithmic in (
        ([0.5, 0.5, 0.5], False), ([0.1, 0.2, 0.9], False), ([0.1, 0.2, 900.0], True)
    ):  # fmt: skip
        figure = anomaly_scores.score_histogram(
            np.array(score), is_defect, 0.5, calibration=calibration, score_name=SCORE_NAME
        )

        text = texts_of(figure)
        for expected in ("good (2 images)", "defect (1 image)", "set the threshold\n(1 image)",
                     "threshold 0.5"):  # fmt: skip
            assert expected in text
        assert (SCORE_NAME[:-1] + ", logarithmic)" * is_logarithmic) in text
        assert (figure.axes[0].get_xscale() == "log") == is_logarithmic
        assert is_inside_figure(figure)


def test_score_far_above_all_others_gives_a_logarithmic_axis():
    figure = anomaly_scores.score_histogram(
        np.array([1e-3, 2e-3, 5.0]), np.array([False, False, True])
    )

    assert figure.axes[0].get_xscale() == "log"


def test_strips_count_the_errors_of_each_class(texts_of, is_inside_figure):
    rejected = np.array([False, True, False])
    for highest in (0.7, 900.0):
        groups = [
            anomaly_scores.ScoreGroup("good", False, np.array([0.1, highest, 0.2]), rejected),
            anomaly_scores.ScoreGroup(
                "$x$ " * 20, True, np.array([0.9, 0.3]), np.array([True, False])
            ),
            anomaly_scores.ScoreGroup("never seen", True, NOTHING, NOTHING.astype(bool)),
        ]
        figure = anomaly_scores.scores_by_class(groups, 0.5, score_name=SCORE_NAME)

        text = texts_of(figure)
        assert "1 of 3 rejected" in text
        assert "1 of 2 missed" in text
        assert "never seen" not in text
        assert (SCORE_NAME[:-1] + ", logarithmic)" * (highest > 1)) in text
        assert is_inside_figure(figure)


def test_roc_names_its_areas_and_the_threshold_in_use(texts_of, is_inside_figure):
    areas = {"auroc": Estimate(0.875, 0.8, 0.9, 10), "pixel_auroc": Estimate(0.9, None, None, 10)}
    figure = anomaly_scores.roc(CURVE, CURVE, operating_point=(0.1, 0.8), **areas)

    text = texts_of(figure)
    for expected in ("Images: AUROC 0.875", "Pixels: AUROC 0.900", "threshold in use"):
        assert expected in text
    assert is_inside_figure(figure)
    assert len(anomaly_scores.roc(CURVE).axes) == 1


def test_shaded_area_below_the_pro_curve_is_cut_at_its_limit(texts_of, is_inside_figure):
    figure = anomaly_scores.pro(CURVE, aupro=Estimate(0.75, 0.7, 0.8, 10))

    line = figure.axes[0].lines[0]
    assert line.get_xdata().max() == pytest.approx(0.3)
    assert line.get_ydata().max() == pytest.approx(0.8 + 0.2 * 0.2 / 0.9)
    assert "AUPRO = 0.750" in texts_of(figure)
    assert is_inside_figure(figure)


# --- overlap


def test_each_class_has_global_and_samplewise_metrics_with_known_intervals(
    texts_of, is_inside_figure
):
    found = {"auroc": Estimate(0.9, 0.8, 1.0, 12)}
    for metric, more in (("iou", 0.0), ("dice", 0.1)):
        for name, value, half in (("crack", 0.3, 0.2), ("poke", 0.5, None)):
            low, high = (None, None) if half is None else (value - half, value + half)
            number = 3 + (name == "poke")
            found[f"{metric}_global/{name}"] = Estimate(value + more - 0.1, low, high, 12)
            found[f"{metric}_samplewise/{name}"] = Estimate(value + more, low, high, number)
        for of in ("mean", "binary"):
            found[f"{of}_{metric}_global"] = Estimate(0.5, 0.4, 0.6, 12)
            found[f"{of}_{metric}_samplewise"] = Estimate(0.6, 0.5, 0.7, 7)
    figure = overlap.overlap_by_class(found)

    text = texts_of(figure)
    assert titles(figure) == ["Pooled over pixels", "Mean over images"]
    for expected in ("IoU 0.20\nDice 0.30",  # crack, of pixels
                 "IoU 0.50\nDice 0.60",  # poke, of images
                 "crack  (3)", "poke  (4)", "mean of the classes  (7)",
                 "any defect, whatever its class"):  # fmt: skip
        assert expected in text
    bars = [line for line in figure.axes[0].lines
            if len(line.get_xdata()) > 1 and line.get_linewidth() == 7]  # fmt: skip
    assert len(bars) == 2 * 3  # crack, mean and any defect; the poke has none
    assert is_inside_figure(figure)
