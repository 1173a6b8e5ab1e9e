"""Each picture: what it must say, and the odd inputs that it must survive."""

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from capsule_inspection.reports import anomaly, classification, mistakes, overlap, style, training
from capsule_inspection.types import Figure as Measured

GENERATOR = np.random.default_rng(0)
LONG = ["good", *(f"an exceedingly long name of a defect, number {i}" for i in range(14))]
NOTHING = np.zeros(0)
CURVE = (np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.8, 1.0]))
SURENESS = "sureness (higher: surer)"


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def images(count: int, height: int = 20, width: int = 60) -> list[np.ndarray]:
    return [np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)]


# --- style


def test_settings_of_the_machine_change_no_picture_and_are_left_as_found(tmp_path):
    def drawn():
        figure = training.curves({"epoch": [0, 1], "val/loss": [1.0, 0.5]})
        return style.figure_to_array(figure)

    assert drawn().shape[2] == 3
    usual, before = drawn(), dict(matplotlib.rcParams)
    style.save(style.message("a"), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 30, "figure.dpi": 20, "axes.facecolor": "red"}):
        assert np.array_equal(drawn(), usual)


def test_pyplot_and_torch_are_never_imported():
    program = (
        "import sys; import capsule_inspection.reports.run_page;"
        "import capsule_inspection.reports.summary;"
        "sys.exit('matplotlib.pyplot' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_failed_write_leaves_the_old_picture_and_no_remains(tmp_path, monkeypatch):
    path = tmp_path / "figures" / "a.png"
    style.save(style.message("old"), path)
    old = path.read_bytes()

    def full_disk(self, file, **_):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        style.save(style.message("new"), path)

    assert [p.name for p in path.parent.iterdir()] == ["a.png"]
    assert path.read_bytes() == old


def test_short_names_keep_what_tells_them_apart():
    assert style.short("crack") == "crack"
    shortened = {style.short(name) for name in LONG}
    assert len(shortened) == len(LONG)
    assert max(map(len, shortened)) == style.LONGEST_NAME


def test_every_picture_without_anything_to_show_says_so(words):
    label = np.zeros(3, int)
    for figure, told in (
        (training.curves({"epoch": [], "val/loss": []}), "Nothing has been measured"),
        (classification.recall_by_class({}), "there is no recall"),
        (mistakes.image_grid([], []), "No images"),
        (mistakes.worst_mistakes(images(3), label, label, np.ones((3, 1)), ["good"]),
         "No mistakes: all 3 images were named correctly."),
        (anomaly.score_histogram(NOTHING, NOTHING.astype(bool), 0.5), "No images"),
        (anomaly.scores_by_class([], 0.5), "No images"),
        (overlap.overlap_by_class({"auroc": Measured(0.9, 0.8, 1.0, 12)}), "No mask says"),
    ):  # fmt: skip
        assert told in words(figure)


# --- training


def test_curves_have_a_panel_for_each_kind_and_name_the_best_epoch(words, inside):
    columns = {
        **{name: [1.0, 1.0, 1.0] for name in ("step", "seconds", "lr")},
        "epoch": [0, 1, 2],
        "train/loss": [3.0, 2.0, 1.0],
        "train/reconstruction": [0.5, 0.4, 0.3],
        "val/loss": [np.nan, 2.0, np.nan],
        "val/balanced_accuracy": [0.1, np.nan, 0.3],
        "val/foreground_dice_smoothed": [0.1, 0.3, 0.3],
        "val/mean_iou": [0.05, 0.2, 0.2],
        "val/auroc": [np.nan] * 3,
        "val/distance": [40.0, 30.0, 20.0],
    }
    figure = training.curves(columns, 2)

    text = words(figure)
    assert titles(figure)[:3] == ["Loss", "Figures", "Other values"]
    assert len(figure.axes[0].lines) - len(figure.axes[2].lines) == 2  # a loss has three courses
    for told in ("best epoch: 2", "val/balanced accuracy", "val/foreground Dice smoothed",
                 "val/mean IoU"):  # fmt: skip
        assert told in text
    assert "auroc" not in text.lower()  # never measured
    assert "seconds" not in text
    assert inside(figure)


def test_curves_of_a_single_epoch_show_its_point(inside):
    for loss in (0.0, 1e9, -1.0):
        figure = training.curves({"epoch": [0], "train/loss": [loss]}, 0)

        low, high = figure.axes[0].get_ylim()
        assert low <= loss < high
        assert figure.axes[0].lines[0].get_marker() == "o"
        assert inside(figure)


# --- classification


def test_confusion_matrix_writes_counts_shares_and_totals(words):
    text = words(classification.confusion_matrix(np.array([[3, 1], [2, 0]]), ["good", "poke"], "T"))

    assert all(cell in text for cell in ("3\n75%", "1\n25%", "2\n100%", "0\n0%"))
    assert "good  (4)" in text


@pytest.mark.slow
def test_pictures_of_fifteen_long_names_stay_on_their_page(inside):
    assert inside(classification.confusion_matrix(GENERATOR.integers(0, 5, (15, 15)), LONG))
    probabilities = GENERATOR.dirichlet(np.ones(15), 45)
    assert inside(classification.precision_recall(np.arange(45) % 15, probabilities, LONG))


@pytest.mark.parametrize("names", [["$x_1$", "膠囊"], ["%", "a\nb"], ["_a", "\\frac"]])
def test_odd_class_names_are_drawn_as_they_are(names, words, inside):
    label = np.array([0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])

    text = words(classification.precision_recall(label, probabilities, names))

    assert all(" ".join(name.split()) in text for name in names)
    assert inside(classification.confusion_matrix(np.eye(2, dtype=int), names))


def test_precision_recall_steps_have_the_average_precision_that_is_told_as_area(words):
    from sklearn.metrics import average_precision_score

    label = GENERATOR.integers(0, 2, 60)
    score = np.round(0.3 * label + GENERATOR.random(60) * 0.7, 1)  # with ties
    probabilities = np.stack([1 - score, score, np.zeros(60)], 1)
    figure = classification.precision_recall(label, probabilities, ["a", "b", "c"])

    recall, precision = figure.axes[1].lines[0].get_data(orig=True)
    expected = average_precision_score(label, score)
    assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(expected)
    text = words(figure)
    assert f"AP {expected:.2f}, {label.sum()} images" in text
    assert text.count("no images") == 1


def test_recall_by_class_counts_the_images_and_draws_each_interval(words, inside):
    figures = {
        "accuracy": Measured(0.9, 0.8, 1.0, 10),
        "recall/good": Measured(0.75, 0.5, 0.9, 8),
        "recall/poke": Measured(1.0, None, None, 2),
    }
    figure = classification.recall_by_class(figures)

    text = words(figure)
    assert "6 of 8" in text
    assert "2 of 2" in text
    bars = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [list(bar.get_xdata()) for bar in bars] == [[0.5, 0.9]]
    assert inside(figure)


# --- mistakes


def test_worst_mistakes_come_surest_first_and_without_what_was_right(words):
    label, prediction = np.array([0, 1, 1, 0]), np.array([1, 0, 1, 1])
    probabilities = np.array([[0.4, 0.6], [0.95, 0.05], [0.0, 1.0], [0.2, 0.8]])

    figure = mistakes.worst_mistakes(
        images(4), label, prediction, probabilities, ["good", "poke"], limit=2
    )

    assert titles(figure) == ["is poke\ncalled good, 95%", "is good\ncalled poke, 80%"]
    assert "The 2 surest of 3 mistakes, among 4 images" in words(figure)


@pytest.mark.parametrize(
    ("height", "width", "count"), [(20, 60, 1), (20, 60, 3), (60, 20, 7), (7, 100, 3)]
)
def test_captions_and_images_of_any_shape_stay_on_their_page(height, width, count, inside):
    label, prediction = np.arange(count) % 15, (np.arange(count) + 1) % 15
    figure = mistakes.worst_mistakes(
        images(count, height, width), label, prediction, np.full((count, 15), 1 / 15), LONG
    )

    assert inside(figure)
    boxes = [axes._left_title.get_window_extent() for axes in figure.axes]
    row = [box for box in boxes if abs(box.y0 - boxes[0].y0) < 1]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(row))


def test_wide_images_stand_in_fewer_columns_than_tall_ones():
    for shape, columns in (((20, 60), 2), ((30, 30), 4), ((90, 30), 6)):
        figure = mistakes.image_grid(np.zeros((12, *shape, 3), np.uint8), ["a"] * 12)
        assert figure.axes[0].get_gridspec().ncols == columns


# --- scores and their curves


def test_score_histogram_counts_both_sides_and_marks_the_threshold(words, inside):
    is_defect, calibration = np.array([False, False, True]), np.array([0.3])
    for score, is_logarithmic in (
        ([0.5, 0.5, 0.5], False), ([0.1, 0.2, 0.9], False), ([0.1, 0.2, 900.0], True)
    ):  # fmt: skip
        figure = anomaly.score_histogram(
            np.array(score), is_defect, 0.5, calibration=calibration, score_name=SURENESS
        )

        text = words(figure)
        for told in ("good (2 images)", "defect (1 image)", "set the threshold\n(1 image)",
                     "threshold 0.5"):  # fmt: skip
            assert told in text
        assert (SURENESS[:-1] + ", logarithmic)" * is_logarithmic) in text
        assert (figure.axes[0].get_xscale() == "log") == is_logarithmic
        assert inside(figure)


def test_score_far_above_all_others_does_not_press_them_together():
    figure = anomaly.score_histogram(np.array([1e-3, 2e-3, 5.0]), np.array([False, False, True]))

    assert figure.axes[0].get_xscale() == "log"


def test_strips_count_what_is_on_the_wrong_side_of_each_class(words, inside):
    rejected = np.array([False, True, False])
    for highest in (0.7, 900.0):
        groups = [
            anomaly.ScoreGroup("good", False, np.array([0.1, highest, 0.2]), rejected),
            anomaly.ScoreGroup("$x$ " * 20, True, np.array([0.9, 0.3]), np.array([True, False])),
            anomaly.ScoreGroup("never seen", True, NOTHING, NOTHING.astype(bool)),
        ]
        figure = anomaly.scores_by_class(groups, 0.5, score_name=SURENESS)

        text = words(figure)
        assert "1 of 3 rejected" in text
        assert "1 of 2 let through" in text
        assert "never seen" not in text
        assert (SURENESS[:-1] + ", logarithmic)" * (highest > 1)) in text
        assert inside(figure)


def test_roc_names_its_areas_and_the_threshold_in_use(words, inside):
    areas = {"auroc": Measured(0.875, 0.8, 0.9, 10), "pixel_auroc": Measured(0.9, None, None, 10)}
    figure = anomaly.roc(CURVE, CURVE, now=(0.1, 0.8), **areas)

    text = words(figure)
    for told in ("Images: AUROC 0.875", "Pixels: AUROC 0.900", "threshold in use"):
        assert told in text
    assert inside(figure)
    assert len(anomaly.roc(CURVE).axes) == 1


def test_shaded_area_below_the_pro_curve_is_cut_at_its_limit(words, inside):
    figure = anomaly.pro(CURVE, aupro=Measured(0.75, 0.7, 0.8, 10))

    line = figure.axes[0].lines[0]
    assert line.get_xdata().max() == pytest.approx(0.3)
    assert line.get_ydata().max() == pytest.approx(0.8 + 0.2 * 0.2 / 0.9)
    assert "AUPRO = 0.750" in words(figure)
    assert inside(figure)


# --- overlap


def test_each_class_has_both_figures_of_pixels_and_of_images_and_known_intervals(words, inside):
    found = {"auroc": Measured(0.9, 0.8, 1.0, 12)}
    for metric, more in (("iou", 0.0), ("dice", 0.1)):
        for name, value, half in (("crack", 0.3, 0.2), ("poke", 0.5, None)):
            low, high = (None, None) if half is None else (value - half, value + half)
            number = 3 + (name == "poke")
            found[f"{metric}_of_pixels/{name}"] = Measured(value + more - 0.1, low, high, 12)
            found[f"{metric}_of_images/{name}"] = Measured(value + more, low, high, number)
        for of in ("mean", "foreground"):
            found[f"{of}_{metric}_of_pixels"] = Measured(0.5, 0.4, 0.6, 12)
            found[f"{of}_{metric}_of_images"] = Measured(0.6, 0.5, 0.7, 7)
    figure = overlap.overlap_by_class(found)

    text = words(figure)
    assert titles(figure) == ["Pooled over pixels", "Mean over images"]
    for told in ("IoU 0.20\nDice 0.30",  # crack, of pixels
                 "IoU 0.50\nDice 0.60",  # poke, of images
                 "crack  (3)", "poke  (4)", "mean of the defects  (7)",
                 "any defect, whatever its name"):  # fmt: skip
        assert told in text
    bars = [line for line in figure.axes[0].lines
            if len(line.get_xdata()) > 1 and line.get_linewidth() == 7]  # fmt: skip
    assert len(bars) == 2 * 3  # crack, mean and any defect; the poke has none
    assert inside(figure)
