"""The plots of a finished run: which it gets, and the files in its figures folder.

Plots without data are left out: without class probabilities, masks and threshold there are only the
training curves, and without test images no plots of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import confusion_matrix
from capsule_inspection.metrics.localization import pro_curve, roc_curve
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels, rows_with_known_mask
from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports.html import EmbeddedImage, environment
from capsule_inspection.reports.plots import curves, style
from capsule_inspection.reports.plots.confusion import draw_confusion
from capsule_inspection.reports.plots.intervals import overlap_by_class, recall_by_class
from capsule_inspection.reports.plots.scores import ScoreGroup, draw_scores
from capsule_inspection.reports.plots.training_curves import training_curves
from capsule_inspection.reports.run import examples
from capsule_inspection.reports.run.files import THRESHOLD
from capsule_inspection.reports.run.run_folder import RunFolder, Scores, read_run
from capsule_inspection.types import CALIBRATION, TEST, VAL, RunError, RunFiles

RESULTS, EXAMPLES, TRAINING = "results", "examples", "training"
MORE_EXAMPLES = "more_examples"
"""Sections of the page; the last one is folded."""

BEST_EPOCH = "best_epoch"
"""Field of run.json, drawn in the training curves."""

_SCORE = {
    "classification": "probability of any defect",
    "anomaly_detection": "anomaly score (higher: less like the good ones)",
    "segmentation": "score (higher: a defect is more probable)",
}


@dataclass(frozen=True)
class Plot:
    """A plot with how to read it; `file` is its name in the figures folder."""

    file: str
    section: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def run_plots(run: RunFolder) -> list[Plot]:
    """Every plot that the run has data for; nothing is drawn yet."""
    texts = environment(autoescape=False).get_template("plots.j2").module
    rows = run.rows_of(TEST)
    facts = {
        "kind": run.task,
        "classes": run.classes,
        "has_maps": (run.path / RunFiles.MAPS).is_file(),
        "has_calibration": CALIBRATION in run.stages(),
        "has_threshold": THRESHOLD in rows and bool(rows[THRESHOLD].notna().any()),
        "has_crops": _starts_with_crops(run),
    }
    plots = []
    for section, name, draw in _list_plots(run):
        title, _, caption = str(getattr(texts, name)(facts)).strip().partition("\n")
        plots.append(Plot(f"{name}.png", section, title, " ".join(caption.split()), draw))
    return plots


def write_run_plots(run_folder: Path) -> tuple[Path, ...]:
    """Draw every plot that the run has data for into its figures folder; returns their paths.

    Raises RunError where a file of the run is missing or broken.
    """
    folder = run_folder / RunFiles.PLOTS
    plots = run_plots(read_run(run_folder))
    for plot in plots:
        style.save(plot.draw(), folder / plot.file)
    return tuple(folder / plot.file for plot in plots)


def page_plots(run: RunFolder) -> list[EmbeddedImage]:
    """The plots in the figures folder, in the order of the page. Raises RunError."""
    images = []
    for plot in run_plots(run):
        path = run.path / RunFiles.PLOTS / plot.file
        try:
            content = path.read_bytes() if path.is_file() else None
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error}).") from error
        if content is not None:
            file = f"{RunFiles.PLOTS}/{plot.file}"
            images.append(EmbeddedImage(file, plot.title, content, plot.caption, plot.section))
    return images


def _starts_with_crops(run: RunFolder) -> bool:
    switch = run.settings.get("task.full_image_from")
    is_switched = isinstance(switch, int | float) and 0 < switch < 1
    return run.has_masks and is_switched and run.settings.get("data.tiling.size") is None


Listed = tuple[str, str, Callable[[], Figure]]
"""Section, name of the file and of the text, and the function that draws the plot."""


def _list_plots(run: RunFolder) -> Iterator[Listed]:
    if TEST in run.stages() and (run.has_masks or run.classes or run.has_threshold):
        yield from _list_results(run, run.scores_of(TEST))
        yield from _list_examples(run)
    if len(run.epochs):
        columns = {str(name): run.epochs[name].to_numpy() for name in run.epochs}
        best_epoch = run.record.get(BEST_EPOCH)
        yield TRAINING, "training_curves", lambda: training_curves(columns, best_epoch)
    # With masks, the validation images fit the post-processing.
    if run.classes and VAL in run.stages() and not run.has_masks:
        yield TRAINING, "confusion_matrix_val", lambda: _draw_confusion(run, VAL)


def _list_results(run: RunFolder, scores: Scores) -> Iterator[Listed]:
    metrics = names.metrics_of_stage(run.metrics, TEST)
    yield RESULTS, "scores", lambda: _draw_scores(run, scores)
    if run.classes:
        yield RESULTS, "confusion_matrix", lambda: _draw_confusion(run, TEST)
    if names.class_metrics(metrics, names.RECALL):
        yield RESULTS, "recall_by_class", lambda: recall_by_class(metrics)
    if names.class_metrics(metrics, names.DICE_SAMPLEWISE):
        yield RESULTS, "overlap_by_class", lambda: overlap_by_class(metrics)
    if scores.is_defect.any() and not scores.is_defect.all():
        yield RESULTS, "roc", lambda: _draw_curves(run, scores)
    if run.classes and not run.has_masks:
        yield RESULTS, "precision_recall", lambda: _draw_precision_recall(run)


def _list_examples(run: RunFolder) -> Iterator[Listed]:
    if run.classes and not run.has_masks:
        yield EXAMPLES, "misclassified_images", lambda: examples.draw_mistakes(run)
        maps = run.explanations
        if maps is not None and len(maps.index):
            yield EXAMPLES, "explanations", lambda: examples.draw_explanations(run, maps)
        return
    labels = run.rows_of(TEST)["label"].value_counts()
    has_thumbnails = any(run.image_path(index).is_file() for index in run.rows_of(TEST)["index"])
    if not has_thumbnails and not (run.path / RunFiles.MAPS).is_file():
        return
    names_of = {examples.WORST: "examples", examples.MEDIAN: "examples_median",
                examples.BEST: "examples_best"}  # fmt: skip
    for (which, name), fewest in zip(names_of.items(), (1, 3, 2), strict=True):
        if labels.max() >= fewest:
            draw = functools.partial(examples.draw_examples, run, which)
            section = EXAMPLES if which == examples.WORST else MORE_EXAMPLES
            yield section, name, draw


def _draw_confusion(run: RunFolder, stage: str) -> Figure:
    found = run.arrays_of(stage)
    matrix = confusion_matrix(found.label, found.predicted_label, len(run.classes))
    return draw_confusion(matrix, run.classes)


def _draw_precision_recall(run: RunFolder) -> Figure:
    found = run.arrays_of(TEST)
    assert found.probabilities is not None
    return curves.draw_curves(
        [
            curves.precision_recall(name, found.label == label, found.probabilities[:, label])
            for label, name in enumerate(run.classes)
        ]
    )


def _draw_scores(run: RunFolder, scores: Scores) -> Figure:
    groups = []
    # With rule f1 labelled defects set the threshold, not the calibration images.
    if run.threshold is None or run.threshold.rule != F1:
        good = run.scores_of(CALIBRATION)
        name = f"{run.normal_class}, calibration"
        groups.append(ScoreGroup(name, False, good.score, good.predicted_defect, True))
    for name in dict.fromkeys([*run.class_names, *scores.class_name.tolist()]):
        rows = scores.class_name == name
        is_defect = name != run.normal_class
        groups.append(
            ScoreGroup(name, is_defect, scores.score[rows], scores.predicted_defect[rows])
        )
    return draw_scores(groups, scores.threshold, _SCORE[run.task])


def _draw_curves(run: RunFolder, scores: Scores) -> Figure:
    """ROC curves of images and, where masks are known, of pixels; per-region overlap."""
    from sklearn.metrics import roc_curve as image_roc_curve

    metrics = names.metrics_of_stage(run.metrics, TEST)
    is_defect, predicted = scores.is_defect, scores.predicted_defect
    point = (float(predicted[~is_defect].mean()), float(predicted[is_defect].mean()))
    rates = image_roc_curve(is_defect, scores.score)[:2]
    drawn = [curves.roc("Images", rates, metrics.get(names.AUROC), "images", point)]
    counts = _count_pixels(run, scores)
    if counts is not None:
        auroc, aupro = metrics.get(names.PIXEL_AUROC), metrics.get(names.AUPRO)
        drawn.append(curves.roc("Pixels", roc_curve(counts), auroc, "pixels"))
        drawn.append(curves.per_region_overlap(pro_curve(counts), aupro))
    return curves.draw_curves(drawn)


def _count_pixels(run: RunFolder, scores: Scores) -> PixelCounts | None:
    """Pixel counts of the good images and of the defects with a mask; None without masks."""
    maps = run.maps
    if maps is None:
        return None
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
