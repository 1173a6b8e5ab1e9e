"""Each plot: its texts and lines, also for unusual inputs."""

import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from capsule_inspection.reports.plots import intervals, style, training_curves
from capsule_inspection.reports.plots.confusion import draw_confusion
from capsule_inspection.reports.plots.curves import (
    draw_curves,
    per_region_overlap,
    precision_recall,
    roc,
)
from capsule_inspection.reports.plots.scores import draw_scores
from capsule_inspection.types import Estimate

GENERATOR = np.random.default_rng(0)
LONG = ["good", *(f"an exceedingly long name of a defect, number {i}" for i in range(14))]
CURVE = (np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.8, 1.0]))
SCORE = "confidence (higher: more certain)"


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


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


def test_training_without_values_says_so(texts_of):
    figure = training_curves.training_curves({"epoch": [], "val/loss": []})
    assert "Nothing has been measured" in texts_of(figure)


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
    for expected in ("best epoch: 3", "val/balanced accuracy", "val/binary Dice smoothed",
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


def test_confusion_matrix_writes_counts_fractions_and_totals(texts_of):
    text = texts_of(draw_confusion(np.array([[3, 1], [2, 0]]), ["good", "poke"]))

    assert all(cell in text for cell in ("3\n75%", "1\n25%", "2\n100%", "0\n0%"))
    assert "good (4)" in text
    assert "3 of 6 images classified correctly" in text


def curves_of(label: np.ndarray, probabilities: np.ndarray, names: list[str]) -> Figure:
    return draw_curves(
        [
            precision_recall(name, label == of_class, probabilities[:, of_class])
            for of_class, name in enumerate(names)
        ]
    )


@pytest.mark.slow
def test_plots_of_fifteen_long_names_stay_within_the_figure(is_inside_figure):
    assert is_inside_figure(draw_confusion(GENERATOR.integers(0, 5, (15, 15)), LONG))
    probabilities = GENERATOR.dirichlet(np.ones(15), 45)
    assert is_inside_figure(curves_of(np.arange(45) % 15, probabilities, LONG))
    recalls = {f"recall/{name}": Estimate(0.5, 0.3, 0.7, 9) for name in LONG}
    assert is_inside_figure(intervals.recall_by_class(recalls))


@pytest.mark.parametrize("names", [["$x_1$", "膠囊"], ["%", "a\nb"], ["_a", "\\frac"]])
def test_odd_class_names_are_drawn_as_they_are(names, texts_of, is_inside_figure):
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])

    text = texts_of(curves_of(np.array([0, 1, 1]), probabilities, names))

    assert all(" ".join(name.split()) in text for name in names)
    assert is_inside_figure(draw_confusion(np.eye(2, dtype=int), names))


def test_area_below_precision_recall_steps_is_average_precision(texts_of):
    from sklearn.metrics import average_precision_score

    label = GENERATOR.integers(0, 2, 60)
    score = np.round(0.3 * label + GENERATOR.random(60) * 0.7, 1)  # with ties
    figure = curves_of(label, np.stack([1 - score, score, np.zeros(60)], 1), ["a", "b", "c"])

    line = figure.axes[1].lines[-1]
    assert line.get_drawstyle() == "steps-post"
    recall, precision = line.get_data(orig=True)
    expected = average_precision_score(label, score)
    assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(expected)
    text = texts_of(figure)
    assert f"b ({label.sum()}): AP {expected:.2f}" in text
    assert text.count("no images") == 1


def bars_of(figure: Figure) -> list[list[float]]:
    lines = figure.axes[0].lines
    return [list(line.get_xdata()) for line in lines if len(line.get_xdata()) == 2]


def test_recall_by_class_counts_the_images_and_draws_each_interval(texts_of, is_inside_figure):
    metrics = {
        "accuracy": Estimate(0.9, 0.8, 1.0, 10),
        "recall/good": Estimate(0.75, 0.5, 0.9, 8),
        "recall/poke": Estimate(1.0, None, None, 2),
    }
    figure = intervals.recall_by_class(metrics)

    text = texts_of(figure)
    assert "6 of 8" in text
    assert "2 of 2" in text
    assert bars_of(figure) == [[0.5, 0.9]]
    assert is_inside_figure(figure)


# --- scores and curves


def score_group(
    name: str,
    is_defect: bool,
    score: list[float],
    rejected: list[bool],
    *,
    is_calibration: bool = False,
) -> pd.DataFrame:
    values = {"score": score, "predicted_defect": rejected}
    return pd.DataFrame(values).assign(
        name=name, is_defect=is_defect, is_calibration=is_calibration
    )


def test_scores_are_counted_above_and_drawn_by_class_below(texts_of, is_inside_figure):
    for highest, is_logarithmic in ((0.7, False), (900.0, True)):
        images = pd.concat(
            [
                score_group("good, calibration", False, [0.3], [False], is_calibration=True),
                score_group("good", False, [0.1, highest, 0.2], [False, True, False]),
                score_group("$x$ " * 20, True, [0.9, 0.3], [True, False]),
            ]
        )
        figure = draw_scores(images, 0.5, SCORE)

        text = texts_of(figure)
        for expected in ("0 of 1 rejected", "1 of 3 rejected", "1 of 2 missed", "threshold 0.5",
                         SCORE + ", logarithmic" * is_logarithmic):  # fmt: skip
            assert expected in text
        above, below = figure.axes
        assert above.get_xscale() == below.get_xscale() == ("log" if is_logarithmic else "linear")
        heights = [patch.get_height() for patch in above.patches]
        assert sum(heights) == 5  # without the calibration images
        assert is_inside_figure(figure)


def test_equal_scores_and_no_threshold_are_drawn(texts_of, is_inside_figure):
    figure = draw_scores(score_group("good", False, [0.5] * 3, [False] * 3), None, SCORE)

    assert "threshold" not in texts_of(figure)
    assert is_inside_figure(figure)


def test_roc_names_its_areas_and_the_decision_in_use(texts_of, is_inside_figure):
    images = roc("Images", CURVE, Estimate(0.875, 0.8, 0.9, 10), "images", (0.1, 0.8))
    pixels = roc("Pixels", CURVE, None, "pixels")
    figure = draw_curves([images, pixels])

    text = texts_of(figure)
    for expected in ("Images: AUROC 0.875", "Pixels", "decision in use",
                     "fraction of good pixels rejected"):  # fmt: skip
        assert expected in text
    assert is_inside_figure(figure)
    assert len(draw_curves([images]).axes) == 1


def test_per_region_overlap_is_cut_at_its_limit(texts_of, is_inside_figure):
    curve = per_region_overlap(CURVE, Estimate(0.75, 0.7, 0.8, 10))
    figure = draw_curves([curve])

    assert curve.x.max() == pytest.approx(0.3)
    assert curve.y.max() == pytest.approx(0.8 + 0.2 * 0.2 / 0.9)
    assert "AUPRO 0.750" in texts_of(figure)
    assert is_inside_figure(figure)


# --- overlap


def test_each_class_has_the_dice_of_all_pixels_and_of_images(texts_of, is_inside_figure):
    found = {"auroc": Estimate(0.9, 0.8, 1.0, 12)}
    for name, value, half in (("crack", 0.3, 0.2), ("poke", 0.5, None)):
        low, high = (None, None) if half is None else (value - half, value + half)
        found[f"dice_global/{name}"] = Estimate(value - 0.1, low, high, 12)
        found[f"dice_samplewise/{name}"] = Estimate(value, low, high, 3 + (name == "poke"))
    for of in ("mean", "binary"):
        found[f"{of}_dice_global"] = Estimate(0.6, 0.4, 0.7, 12)
        found[f"{of}_dice_samplewise"] = Estimate(0.7, 0.5, 0.8, 7)
    figure = intervals.overlap_by_class(found)

    text = texts_of(figure)
    for expected in ("crack (3)", "0.20\n0.30", "poke (4)", "0.40\n0.50", "mean of classes",
                     "any defect", "0.60\n0.70", "all pixels", "mean of images"):  # fmt: skip
        assert expected in text
    assert len(bars_of(figure)) == 2 * 3  # crack, mean and any defect; the poke has none
    assert is_inside_figure(figure)
