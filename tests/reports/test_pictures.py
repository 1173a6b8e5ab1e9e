"""Each picture: what it must say, and the odd inputs that it must survive."""

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from capsule_inspection.contracts import Figure as Measured
from capsule_inspection.reports import classification, mistakes, style, training

GENERATOR = np.random.default_rng(0)
LONG = ["good", *(f"an exceedingly long name of a defect, number {i}" for i in range(14))]


# --- style


def test_array_has_the_size_of_the_figure_and_three_channels():
    array = style.figure_to_array(style.new_figure(2.0, 1.0))

    assert array.shape == (style.DPI, 2 * style.DPI, 3)
    assert array.dtype == np.uint8


def test_settings_of_matplotlib_are_left_as_found(tmp_path):
    before = dict(matplotlib.rcParams)

    style.save(
        classification.confusion_matrix(np.eye(2, dtype=int), ["a", "b"]), tmp_path / "a.png"
    )

    assert dict(matplotlib.rcParams) == before


def test_settings_of_the_machine_do_not_change_a_picture():
    def drawn():
        figure = training.curves({"epoch": [0, 1], "val/loss": [1.0, 0.5]})
        return style.figure_to_array(figure)

    usual = drawn()
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


# --- training


def test_curves_have_a_panel_for_each_kind_and_name_the_best_epoch(words, inside):
    columns = {
        "epoch": [0, 1, 2],
        "step": [1, 2, 3],
        "seconds": [1.0, 1.0, 1.0],
        "lr": [0.1, 0.1, 0.01],
        "train/loss": [3.0, 2.0, 1.0],
        "val/loss": [np.nan, 2.0, np.nan],
        "val/balanced_accuracy": [0.1, np.nan, 0.3],
        "val/dice": [np.nan] * 3,
    }
    figure = training.curves(columns, 2)

    text = words(figure)
    assert len(figure.axes) == 3
    assert "best epoch: 2" in text
    assert "val/balanced accuracy" in text
    assert "dice" not in text  # never measured
    assert "seconds" not in text
    assert inside(figure)


@pytest.mark.parametrize("loss", [[0.0], [1e9], [-1.0]])
def test_curves_of_a_single_epoch_show_its_point(loss, inside):
    figure = training.curves({"epoch": [0], "train/loss": loss}, 0)

    low, high = figure.axes[0].get_ylim()
    assert low <= loss[0] < high
    assert figure.axes[0].lines[0].get_marker() == "o"
    assert inside(figure)


def test_curves_without_any_epoch_say_so(words):
    assert "Nothing has been measured" in words(training.curves({"epoch": [], "val/loss": []}))


def test_parts_of_a_loss_share_its_panel_and_what_is_no_share_has_its_own():
    columns = {
        "epoch": [0, 1],
        "train/loss": [3.0, 2.0],
        "train/reconstruction": [0.5, 0.4],
        "val/auroc": [0.5, 0.6],
        "val/distance": [40.0, 30.0],
    }
    figure = training.curves(columns)

    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Loss", "Figures", "Other values"]
    assert len(figure.axes[0].lines) == 2


def test_curves_of_marks_are_named_as_they_are_written(words):
    columns = {
        "epoch": [0, 1],
        "val/foreground_dice": [0.1, 0.4],
        "val/foreground_dice_smoothed": [0.1, 0.3],
        "val/mean_iou": [0.05, 0.2],
    }
    figure = training.curves(columns, 1)

    text = words(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Figures"]
    assert "val/foreground Dice smoothed" in text
    assert "val/mean IoU" in text


# --- classification


def test_confusion_matrix_writes_counts_shares_and_totals(words):
    text = words(classification.confusion_matrix(np.array([[3, 1], [0, 2]]), ["good", "poke"], "T"))

    assert all(cell in text for cell in ("3\n75%", "1\n25%", "2\n100%"))
    assert "good  (4)" in text


def test_confusion_matrix_shows_a_class_that_was_never_found(words):
    text = words(classification.confusion_matrix(np.array([[3, 0], [2, 0]]), ["good", "poke"]))

    assert "0\n0%" in text


@pytest.mark.slow
def test_confusion_matrix_of_fifteen_long_names_stays_on_its_page(inside):
    matrix = GENERATOR.integers(0, 5, (15, 15))

    assert inside(classification.confusion_matrix(matrix, LONG))


@pytest.mark.parametrize("names", [["_a", "$x_1$"], ["膠囊", "a\nb"], ["%", "\\frac"]])
def test_odd_class_names_are_drawn_as_they_are(names, words, inside):
    label = np.array([0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])

    text = words(classification.precision_recall(label, probabilities, names))

    assert " ".join(names[1].split()) in text
    assert inside(classification.confusion_matrix(np.eye(2, dtype=int), names))


def test_precision_recall_says_average_precision_and_which_class_has_no_images(words):
    label = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.5, 0.5, 0], [0.1, 0.9, 0]])

    text = words(classification.precision_recall(label, probabilities, ["good", "poke", "crack"]))

    assert "AP 0.83, 2 images" in text
    assert text.count("no images") == 1


def test_precision_recall_steps_have_the_average_precision_as_area():
    from sklearn.metrics import average_precision_score

    label = GENERATOR.integers(0, 2, 60)
    score = np.round(0.3 * label + GENERATOR.random(60) * 0.7, 1)  # with ties
    figure = classification.precision_recall(label, np.stack([1 - score, score], 1), ["a", "b"])

    recall, precision = figure.axes[1].lines[0].get_data(orig=True)
    area = np.sum(np.diff(recall) * precision[1:])
    assert area == pytest.approx(average_precision_score(label, score))


@pytest.mark.slow
def test_precision_recall_of_fifteen_long_names_stays_on_its_page(inside):
    label = np.arange(45) % 15
    probabilities = GENERATOR.dirichlet(np.ones(15), 45)

    assert inside(classification.precision_recall(label, probabilities, LONG))


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


def test_recall_by_class_without_recalls_says_so(words):
    assert "there is no recall" in words(classification.recall_by_class({}))


# --- images


def images(count, height=20, width=60):
    return [np.full((height, width, 3), 10 * i, np.uint8) for i in range(count)]


def test_worst_mistakes_come_surest_first_and_without_what_was_right(words, inside):
    label = np.array([0, 1, 1, 0])
    prediction = np.array([1, 0, 1, 1])
    probabilities = np.array([[0.4, 0.6], [0.95, 0.05], [0.0, 1.0], [0.2, 0.8]])

    figure = mistakes.worst_mistakes(
        images(4), label, prediction, probabilities, ["good", "poke"], limit=2
    )

    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["is poke\ncalled good, 95%", "is good\ncalled poke, 80%"]
    assert "The 2 surest of 3 mistakes, among 4 images" in words(figure)
    assert inside(figure)


def test_no_mistakes_are_good_news(words):
    label = np.zeros(3, int)

    text = words(mistakes.worst_mistakes(images(3), label, label, np.ones((3, 1)), ["good"]))

    assert text == "No mistakes: all 3 images were named correctly."


@pytest.mark.parametrize(
    ("height", "width", "count"), [(20, 60, 1), (20, 60, 3), (30, 30, 5), (60, 20, 7), (7, 100, 3)]
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
    def columns(height, width):
        figure = mistakes.image_grid(np.zeros((12, height, width, 3), np.uint8), ["a"] * 12)
        return figure.axes[0].get_gridspec().ncols

    assert columns(20, 60) == 2
    assert columns(30, 30) == 4
    assert columns(90, 30) == 6


def test_grid_without_images_says_so(words):
    assert "No images" in words(mistakes.image_grid([], []))
