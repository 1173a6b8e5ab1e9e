"""Plots of a comparison: which there are, what they show, that all of it is inside."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from comparisons import measure_runs, mixed, segmentation, write
from matplotlib.text import Text
from sample_runs import labels_of
from sample_segmentation_runs import (
    change_maps,
)

from capsule_inspection.reports.comparison import image_plots, plots
from capsule_inspection.reports.comparison.page import Comparison
from capsule_inspection.reports.comparison.report import compare
from capsule_inspection.reports.comparison.table import read_models
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.run_folder import read_run

LABEL = labels_of(200)
DEFECTS = np.flatnonzero(LABEL).tolist()


def plots_of(comparison: Comparison) -> dict:
    results = comparison.results
    return plots.list_plots(results, comparison.pairs, comparison.recommendation)


@pytest.fixture
def three(tmp_path) -> Comparison:
    """A best model, one that is not distinguishable from it, and a worse one."""
    errors = {"near": DEFECTS[:4], "worse": DEFECTS[:40], "best": DEFECTS[:2]}
    return compare([write(tmp_path, name, wrong=e, images=200) for name, e in errors.items()])


def labels_in(axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def texts_in(axes) -> list[str]:
    return [text.get_text() for text in axes.findobj(Text) if text.get_text()]


# --- the conclusion


def test_forest_has_the_best_first_and_the_differences_to_it(three) -> None:
    upper, lower = plots_of(three)["forest"]().axes
    assert labels_in(upper) == ["best", "near", "worse"]
    assert labels_in(lower) == ["near", "worse"]
    assert lower.get_title(loc="left") == "Difference: model less best"
    assert {"not distinguishable", "worse"} <= set(texts_in(lower))
    assert "← worse      grey: margin      better →" in texts_in(lower)
    (margin,) = lower.patches
    assert margin.get_extents().transformed(lower.transData.inverted()).x0 == pytest.approx(-5)

    pair = next(pair for pair in three.pairs if {pair.first, pair.second} == {"best", "worse"})
    difference = pair.differences["balanced_accuracy"]
    points = [line.get_xdata()[0] for line in lower.lines if line.get_marker() == "o"]
    assert -100 * abs(difference.value) in [pytest.approx(point) for point in points]
    together = [tuple(line.get_xdata()) for line in lower.lines if line.get_color() == style.GREY]
    low, high = sorted(-100 * abs(limit) for limit in pair.simultaneous["balanced_accuracy"])
    assert any(sorted(limits) == pytest.approx([low, high]) for limits in together)


def test_forest_shows_the_differences_to_a_reference(tmp_path) -> None:
    errors = {"a": DEFECTS[:4], "b": DEFECTS[:40], "c": DEFECTS[:2]}
    runs = [write(tmp_path, name, wrong=e, images=200) for name, e in errors.items()]
    upper, lower = plots_of(compare(runs, reference="b"))["forest"]().axes
    assert labels_in(upper) == ["c", "a", "b"]
    assert labels_in(lower) == ["c", "a"]
    assert texts_in(lower).count("better") == 2


def test_forest_of_one_model_or_of_models_that_are_not_compared(tmp_path, texts_of) -> None:
    one, elsewhere = write(tmp_path, "one"), write(tmp_path, "elsewhere", first_image=500)
    assert len(plots_of(compare([one]))["forest"]().axes) == 1
    assert "not compared" in texts_of(plots_of(compare([one, elsewhere]))["forest"]())


def test_trade_off_has_the_ideal_in_its_corner_and_both_intervals(three) -> None:
    (axes,) = plots_of(three)["trade_off"]().axes
    assert (axes.get_xlim()[0], axes.get_ylim()[0]) == (0, 0)
    assert axes.get_xlabel() == "good parts rejected"
    for result, container in zip(three.results, axes.containers, strict=True):
        missed = result.metrics["false_negative_rate"]
        point, _, (across, upright) = container.lines
        assert point.get_ydata() == [missed.value]
        assert upright.get_segments()[0][:, 1] == pytest.approx([missed.ci_low, missed.ci_high])
        assert len(across.get_segments()) == 1


def test_models_without_good_images_have_no_trade_off(tmp_path) -> None:
    label = np.array([1, 2] * 10)
    runs = [write(tmp_path, "defects only", label=label), write(tmp_path, "all")]
    (axes,) = plots_of(compare(runs))["trade_off"]().axes
    assert [container.get_label() for container in axes.containers] == ["all"]
    assert "trade_off" not in plots_of(compare(runs[:1]))


# --- which plots there are


def test_mixed_models_have_curves_for_each_task_and_pictures_of_masks(
    tmp_path, is_inside_figure
) -> None:
    found = plots_of(compare(mixed(tmp_path)))
    tasks = ("segmentation", "classification", "anomaly_detection")
    curves = [f"{name}_{task}" for task in tasks for name in ("learning_curves", "losses")]
    others = ["recall", "overlap", "confusion", "masks", "disagreement"]
    assert list(found) == ["forest", "trade_off", "overview", *curves, *others]
    assert all(is_inside_figure(draw()) for draw in found.values())

    alone = plots_of(compare([write(tmp_path / "alone", "named")]))
    assert list(alone) == [
        "forest", "trade_off", "overview", "learning_curves", "losses", "recall", "confusion"
    ]  # fmt: skip


def test_seven_models_with_long_names_fit_and_keep_their_colours(
    tmp_path, is_inside_figure
) -> None:
    runs = [write(tmp_path, f"{n} {20 * 'long '}", wrong=range(n), thumbnails=False)
            for n in range(7)]  # fmt: skip
    found = plots_of(compare(runs))
    assert all(is_inside_figure(found[name]()) for name in ("forest", "trade_off", "recall"))
    legend = found["recall"]().legends[0]
    assert [line.get_markerfacecolor() for line in legend.legend_handles] == list(style.SERIES)


# --- curves and classes


def test_a_curve_is_the_mean_over_the_epochs_that_all_trainings_have(tmp_path) -> None:
    runs = [write(tmp_path / f"{seed}", "a", seed=seed) for seed in range(2)]
    path = runs[1].path / "metrics.csv"
    pd.read_csv(path).assign(**{"val/loss": 2.0}).head(5).to_csv(path, index=False)
    (result,) = measure_runs([runs[0], read_run(runs[1].path)])
    colours = {"a": style.BLUE}
    over_epochs, over_time = plots.curves(
        [result], colours, [("val/loss", plots.EPOCH), ("val/loss", plots.SECONDS)]
    ).axes
    first, second, mean = over_epochs.lines
    assert (len(first.get_xdata()), len(second.get_xdata())) == (12, 5)
    assert mean.get_ydata() == pytest.approx([(1.2 + 2.0) / 2] * 5)
    assert mean.get_linewidth() > first.get_linewidth()
    assert over_time.lines[0].get_xdata() == pytest.approx(5.0 * np.arange(1, 13))
    assert over_epochs.get_ylim()[1] > 2.0


def test_confusion_matrices_are_means_over_seeds(tmp_path, texts_of) -> None:
    runs = [write(tmp_path / f"{seed}", "a", seed=seed, wrong=range(seed)) for seed in range(2)]
    (model,) = read_models(runs)
    text = texts_of(plots.confusion_matrices([model]))
    assert "65.5 of 66 images classified correctly" in text
    assert text.split()[:4] == ["43.5", "99%", "0.5", "1%"]


def test_recall_says_what_it_counts_where_some_models_do_not_name_defects(
    tmp_path, texts_of
) -> None:
    results = measure_runs(mixed(tmp_path)[2:])
    colours = dict(zip((result.name for result in results), style.SERIES, strict=False))
    text = texts_of(plots.recalls(results, colours))
    assert "named (named)" in text
    assert "(rejected)" in text
    assert "(named)" not in texts_of(plots.recalls(results[:1], colours))


# --- images


def test_disagreements_are_images_that_some_get_right(tmp_path, texts_of) -> None:
    errors = {"a": (50, 60), "b": (50, 64), "c": (50,)}
    models = read_models([write(tmp_path, name, wrong=wrong) for name, wrong in errors.items()])
    text = texts_of(image_plots.disagreements(models))
    assert "2 of 2 disputed images, of 66" in text
    assert "true: crack\n✗ a: poke\n✓ b: crack\n✓ c: crack" in text

    same = read_models([write(tmp_path / "same", name, wrong=(50,)) for name in "ab"])
    assert "Right and wrong on the same of 66 images." in texts_of(image_plots.disagreements(same))
    apart = [write(tmp_path / "apart", name, first_image=n) for name, n in (("a", 0), ("b", 500))]
    expected = "not tested on the same images"
    assert expected in texts_of(image_plots.disagreements(read_models(apart)))
    bare = [write(tmp_path / "bare", n, wrong=w, thumbnails=False) for n, w in errors.items()]
    assert "kept no thumbnails" in texts_of(image_plots.disagreements(read_models(bare)))


def test_the_image_of_a_class_is_that_on_which_masks_differ_most(tmp_path, texts_of) -> None:
    near, far = segmentation(tmp_path, "near"), segmentation(tmp_path, "far")
    change_maps(far.path, "predicted_mask", rows=[3, 14, 17], value=0)
    change_maps(far.path, "predicted_mask", rows=(3, 0), value=1)
    models = read_models([near, far])

    chosen = image_plots.most_disputed_images(models)

    numbers = [int(image.split(".")[0], 16) for image in chosen]
    assert numbers == [3, 14, 17]  # the good one, a crack and a poke
    text = texts_of(image_plots.disputed_masks(models))
    assert text.count("Dice 0.00, predicted") == 2
    assert "% of pixels, predicted" in text


def test_masks_need_a_model_that_kept_all_of_its_masks(tmp_path, texts_of) -> None:
    near, _, classifier, with_map = read_models(mixed(tmp_path))
    assert "masks" not in image_plots.list_plots([classifier, with_map])
    text = texts_of(image_plots.list_plots([with_map, classifier, near])["masks"]())
    assert text.index("near") < text.index(": map, not enlarged")
    assert "Dice" in text
