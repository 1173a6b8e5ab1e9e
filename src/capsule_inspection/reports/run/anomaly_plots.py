"""The plots of a run with anomaly scores: scores, ROC and PRO curves, examples with maps.

Plots without data are left out: without masks the curves of pixels, without defects all curves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.localization import pro_curve, roc_curve
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels, rows_with_known_mask
from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports.plots import anomaly_examples, anomaly_scores, classification, style
from capsule_inspection.reports.run.maps import RunMaps
from capsule_inspection.reports.run.run_folder import RunFolder, Scores
from capsule_inspection.reports.run.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import CALIBRATION, TEST

SCORES, SCORES_BY_CLASS, ROC, PRO = "scores.png", "scores_by_class.png", "roc.png", "pro.png"
EXAMPLES = "examples.png"
RECALL_BY_CLASS = "recall_by_class.png"

NamedPlot = tuple[str, Callable[[], Figure]]
"""File name, and the function that draws the plot."""


def anomaly_plots(run: RunFolder) -> Iterator[NamedPlot]:
    """Every plot of the test images that the run has data for.

    Raises RunError where a file of the run is damaged.
    """
    scores = run.scores_of(TEST)
    # With rule f1 labelled defects set the threshold, not the calibration images.
    is_calibrated = run.threshold is None or run.threshold.rule != F1
    calibration = run.scores_of(CALIBRATION if is_calibrated else "")
    yield from _example_plots(run, scores)
    yield from score_plots(run, scores, calibration=calibration)
    if names.class_metrics(names.metrics_of_stage(run.metrics, TEST), names.RECALL):
        yield RECALL_BY_CLASS, lambda: binary_recall_plot(run)
    yield from curve_plots(run, scores)


def score_plots(
    run: RunFolder,
    scores: Scores,
    *,
    calibration: Scores,
    score_name: str = anomaly_scores.ANOMALY_SCORE,
) -> Iterator[NamedPlot]:
    """Histogram and strips of the scores; `calibration` are those that set the threshold."""
    yield (
        SCORES,
        lambda: anomaly_scores.score_histogram(
            scores.score,
            scores.is_defect,
            scores.threshold,
            calibration=calibration.score,
            score_name=score_name,
        ),
    )
    if scores.threshold is not None:
        yield SCORES_BY_CLASS, lambda: _plot_scores_by_class(run, scores, calibration, score_name)


def binary_recall_plot(run: RunFolder) -> Figure:
    """Recall by class of the decisions between good and defect."""
    title = "Recall of each class: good images accepted, defects rejected"
    return classification.recall_by_class(names.metrics_of_stage(run.metrics, TEST), title=title)


def present_classes(run: RunFolder, scores: Scores) -> list[str]:
    """Classes with images, the normal one first, unknown ones last."""
    present = dict.fromkeys(scores.class_name.tolist())
    return [name for name in dict.fromkeys([*run.class_names, *present]) if name in present]


def examples_file_names(classes: Sequence[str]) -> dict[str, str]:
    """File name of the examples of each class, numbered where its name is not a safe file name."""
    safe = {name: re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:40] for name in classes}
    taken = [name.lower() for name in safe.values()]
    return {
        name: f"examples_{text}.png"
        if text and text == name and taken.count(text.lower()) == 1
        else f"examples_{number}_{text}.png".replace("_.png", ".png")
        for number, (name, text) in enumerate(safe.items())
    }


def _plot_scores_by_class(
    run: RunFolder, scores: Scores, calibration: Scores, score_name: str
) -> Figure:
    assert scores.threshold is not None
    groups = [
        anomaly_scores.ScoreGroup(
            f"{run.normal_class}, calibration",
            False,
            calibration.score,
            calibration.predicted_defect,
        )
    ]
    for name in present_classes(run, scores):
        rows = scores.class_name == name
        groups.append(
            anomaly_scores.ScoreGroup(
                name,
                name != run.normal_class,
                scores.score[rows],
                scores.predicted_defect[rows],
            )
        )
    return anomaly_scores.scores_by_class(groups, scores.threshold, score_name=score_name)


def curve_plots(run: RunFolder, scores: Scores) -> Iterator[NamedPlot]:
    """ROC curves of images and pixels, and the PRO curve; none without good or defect images.

    Raises RunError where the maps are damaged.
    """
    from sklearn.metrics import roc_curve as image_roc_curve

    if scores.is_defect.all() or not scores.is_defect.any():
        return
    metrics = names.metrics_of_stage(run.metrics, TEST)
    counts = _count_pixels(run.maps, scores) if run.maps is not None else None
    fpr, tpr, _ = image_roc_curve(scores.is_defect, scores.score)
    predicted, is_defect = scores.predicted_defect, scores.is_defect
    yield (
        ROC,
        lambda: anomaly_scores.roc(
            (fpr, tpr),
            None if counts is None else roc_curve(counts),
            auroc=metrics.get(names.AUROC),
            pixel_auroc=metrics.get(names.PIXEL_AUROC),
            operating_point=(
                float(predicted[~is_defect].mean()),
                float(predicted[is_defect].mean()),
            ),
        ),
    )
    if counts is not None:
        yield PRO, lambda: anomaly_scores.pro(pro_curve(counts), aupro=metrics.get(names.AUPRO))


def _count_pixels(maps: RunMaps, scores: Scores) -> PixelCounts | None:
    """Pixel counts of the good images and of the defects with a mask; None without masks."""
    is_defect = dict(zip(scores.index.tolist(), scores.is_defect.tolist(), strict=True))
    scored = [row for row, index in enumerate(maps.index.tolist()) if index in is_defect]
    annotated = rows_with_known_mask(
        (is_defect[int(maps.index[row])] for row in scored), (maps.masks[row] for row in scored)
    )
    used = [scored[number] for number in annotated]
    if not any(maps.masks[row].any() for row in used):
        return None
    counts = count_pixels((maps.map_of(row) for row in used), (maps.mask_of(row) for row in used))
    return counts if counts.good.sum() and counts.defect.sum() else None


def _example_plots(run: RunFolder, scores: Scores) -> Iterator[NamedPlot]:
    """The worst image of each class together, then worst and best of each class."""
    scale = _map_scale(run.maps, scores)
    chosen = {
        name: _find_extremes(scores, name, run.normal_class)
        for name in present_classes(run, scores)
    }
    rows = [row for pair in chosen.values() for row in pair]
    if scale is None and not any(run.image_path(scores.index[row]).is_file() for row in rows):
        return
    worst = [pair[0] for pair in chosen.values()]
    yield (
        EXAMPLES,
        lambda: _plot_examples(run, scores, worst, scale, "The worst image of each class"),
    )
    files = examples_file_names(list(chosen))
    for name, pair in chosen.items():
        title = f"{style.shorten(name)}: " + (
            "its only image" if len(pair) == 1 else "worst and best"
        )
        yield files[name], partial(_plot_examples, run, scores, pair, scale, title)


def _find_extremes(scores: Scores, name: str, normal_class: str) -> list[int]:
    """Rows of the worst and the best image of a class; good images should have low scores."""
    rows = np.flatnonzero(scores.class_name == name)
    ordered = rows[np.argsort(scores.score[rows], kind="stable")].tolist()
    if len(ordered) == 1:
        return ordered
    lowest, highest = ordered[0], ordered[-1]
    return [highest, lowest] if name == normal_class else [lowest, highest]


def _map_scale(maps: RunMaps | None, scores: Scores) -> anomaly_examples.MapScale | None:
    """One scale for all maps, from every second pixel of every second line."""
    if maps is None or not len(maps.index):
        return None
    good = set(scores.index[~scores.is_defect].tolist())
    pixels = [maps.map_of(row)[::2, ::2].ravel() for row in range(len(maps.index))]
    of_good = [of for of, index in zip(pixels, maps.index.tolist(), strict=True) if index in good]
    return anomaly_examples.map_scale(
        np.concatenate([np.zeros(0), *of_good]), np.concatenate(pixels)
    )


def _plot_examples(
    run: RunFolder,
    scores: Scores,
    rows: Sequence[int],
    scale: anomaly_examples.MapScale | None,
    title: str,
) -> Figure:
    return anomaly_examples.anomaly_rows(
        [_make_example(run, scores, row) for row in rows], scale, title=title
    )


def _make_example(run: RunFolder, scores: Scores, row: int) -> anomaly_examples.AnomalyExample:
    index, is_defect = int(scores.index[row]), bool(scores.is_defect[row])
    map_row = None if run.maps is None else run.maps.row_of(index)
    anomaly_map = mask = content_box = None
    if run.maps is not None and map_row is not None:
        content_box = run.maps.relative_content_box(map_row)
        anomaly_map, mask = run.maps.map_of(map_row), run.maps.mask_of(map_row)
        if is_defect and not mask.any():
            mask = None
    image, reconstruction = (
        without_padding(read_thumbnail(path), content_box) if path.is_file() else None
        for path in (run.image_path(index), run.reconstruction_path(index))
    )
    return anomaly_examples.AnomalyExample(
        _caption(scores, row),
        bool(scores.predicted_defect[row]) != is_defect,
        image,
        reconstruction,
        anomaly_map,
        mask,
    )


def _caption(scores: Scores, row: int) -> str:
    name, score = scores.class_name[row], scores.score[row]
    class_scores = scores.score[scores.class_name == name]
    rank = "highest" if score == class_scores.max() else "lowest"
    which = f"{rank} score of {len(class_scores)}" if len(class_scores) > 1 else "score"
    threshold = "" if scores.threshold is None else f", threshold {scores.threshold:.3g}"
    decision = {
        (False, False): "correctly accepted",
        (False, True): "wrongly rejected",
        (True, True): "correctly rejected",
        (True, False): "missed",
    }[bool(scores.is_defect[row]), bool(scores.predicted_defect[row])]
    return f"{style.shorten(str(name))}, {which}: {score:.3g}{threshold}. {decision.capitalize()}."
