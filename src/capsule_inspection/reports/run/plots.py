"""The plots of a finished run: which it gets, and the files in its figures folder.

Plots without data are left out: without class probabilities, masks and threshold there are only the
training curves, and without test images no plots of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.metrics.localization import pro_curve, roc_curve
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels
from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports.html import EmbeddedImage, environment
from capsule_inspection.reports.plots import curves, style
from capsule_inspection.reports.plots.confusion import draw_confusion
from capsule_inspection.reports.plots.intervals import overlap_by_class, recall_by_class
from capsule_inspection.reports.plots.scores import draw_scores
from capsule_inspection.reports.plots.training_curves import training_curves
from capsule_inspection.reports.run import examples
from capsule_inspection.reports.run.files import PROBABILITY
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import CALIBRATION, VAL, RunError, RunFiles

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
_EXAMPLES = (
    (EXAMPLES, "examples", examples.WORST, 1),
    (MORE_EXAMPLES, "examples_median", examples.MEDIAN, 3),
    (MORE_EXAMPLES, "examples_best", examples.BEST, 2),
)
"""Section, name, choice, and the number of images of a class that it takes."""


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
    plots = []
    for section, name, draw in _list_plots(run):
        title, _, caption = str(getattr(texts, name)(run)).strip().partition("\n")
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
        file = f"{RunFiles.PLOTS}/{plot.file}"
        if not run.has_file(file):
            continue
        try:
            content = (run.path / file).read_bytes()
        except OSError as error:
            raise RunError(f"{run.path / file}: cannot be read ({error}).") from error
        images.append(EmbeddedImage(file, plot.title, content, plot.caption, plot.section))
    return images


Listed = tuple[str, str, Callable[[], Figure]]
"""Section, name of the file and of the text, and the function that draws the plot."""


def _list_plots(run: RunFolder) -> Iterator[Listed]:
    decides = run.has_masks or run.names_defects or run.score_threshold is not None
    if decides and run.stages():
        yield from _list_results(run)
        yield from _list_examples(run)
    if len(run.epochs) and not run.record.get("memory_bank"):
        columns = {str(name): run.epochs[name].to_numpy() for name in run.epochs}
        draw = partial(training_curves, columns, run.record.get(BEST_EPOCH))
        yield TRAINING, "training_curves", draw
    # With masks, the validation images fit the post-processing.
    has_val = VAL in run.stages() and run.reported_stage != VAL
    if run.names_defects and has_val and not run.has_masks:
        yield TRAINING, "confusion_matrix_val", partial(_draw_confusion, run, VAL)


def _list_results(run: RunFolder) -> Iterator[Listed]:
    metrics = names.metrics_of_stage(run.metrics, run.reported_stage)
    yield RESULTS, "scores", partial(_draw_scores, run)
    if run.names_defects:
        yield RESULTS, "confusion_matrix", partial(_draw_confusion, run, run.reported_stage)
    if names.class_metrics(metrics, names.RECALL):
        yield RESULTS, "recall_by_class", partial(recall_by_class, metrics)
    if names.class_metrics(metrics, names.DICE_SAMPLEWISE):
        yield RESULTS, "overlap_by_class", partial(overlap_by_class, metrics)
    if run.images_of(run.reported_stage)["is_defect"].nunique() == 2:
        yield RESULTS, "roc", partial(_draw_curves, run)
    if run.names_defects and not run.has_masks:
        yield RESULTS, "precision_recall", partial(_draw_precision_recall, run)


def _list_examples(run: RunFolder) -> Iterator[Listed]:
    images = run.images_of(run.reported_stage)
    if run.names_defects and not run.has_masks:
        yield EXAMPLES, "misclassified_images", partial(examples.draw_mistakes, run)
        maps = run.explanations
        if maps is not None and len(maps.index):
            yield EXAMPLES, "explanations", partial(examples.draw_explanations, run, maps)
    elif run.has_file(RunFiles.MAPS) or any(run.image_path(i).is_file() for i in images["index"]):
        for section, name, which, fewest in _EXAMPLES:
            if images["label"].value_counts().max() >= fewest:
                yield section, name, partial(examples.draw_examples, run, which)


def _draw_confusion(run: RunFolder, stage: str) -> Figure:
    images = run.images_of(stage)
    counts = pd.crosstab(images["label"], images["predicted_label"])
    counts = counts.reindex(index=run.classes, columns=run.classes, fill_value=0)
    return draw_confusion(counts.to_numpy(), run.classes)


def _draw_precision_recall(run: RunFolder) -> Figure:
    images, drawn = run.images_of(run.reported_stage), []
    for name in run.classes:
        is_class, score = images["label"] == name, images[PROBABILITY + name]
        drawn.append(curves.precision_recall(name, is_class.to_numpy(), score.to_numpy()))
    return curves.draw_curves(drawn)


def _draw_scores(run: RunFolder) -> Figure:
    tested = examples.in_class_order(run, run.images_of(run.reported_stage))
    drawn = [tested.assign(name=tested["label"], is_calibration=False)]
    # With rule f1 labelled defects set the threshold, not the calibration images.
    if run.threshold is None or run.threshold.rule != F1:
        name = f"{run.normal_class}, calibration"
        drawn.insert(0, run.images_of(CALIBRATION).assign(name=name, is_calibration=True))
    return draw_scores(pd.concat(drawn), run.score_threshold, _SCORE[run.task])


def _draw_curves(run: RunFolder) -> Figure:
    """ROC curves of images and, where masks are known, of pixels; per-region overlap."""
    from sklearn.metrics import roc_curve as image_roc_curve

    stage = run.reported_stage
    metrics, images = names.metrics_of_stage(run.metrics, stage), run.images_of(stage)
    is_defect, predicted = images["is_defect"], images["predicted_defect"]
    point = (float(predicted[~is_defect].mean()), float(predicted[is_defect].mean()))
    rates = image_roc_curve(is_defect, images["score"])[:2]
    drawn = [curves.roc("Images", rates, metrics.get(names.AUROC), "images", point)]
    counts = _count_pixels(run)
    if counts is not None:
        auroc, aupro = metrics.get(names.PIXEL_AUROC), metrics.get(names.AUPRO)
        drawn.append(curves.roc("Pixels", roc_curve(counts), auroc, "pixels"))
        drawn.append(curves.per_region_overlap(pro_curve(counts), aupro))
    return curves.draw_curves(drawn)


def _count_pixels(run: RunFolder) -> PixelCounts | None:
    """Pixel counts of the good images and of the defects with a mask; None without masks."""
    maps = run.maps
    if maps is None:
        return None
    rows = maps.annotated_rows(run.images_of(run.reported_stage).set_index("index")["is_defect"])
    if not any(maps.mask_of(row).any() for row in rows):
        return None
    counts = count_pixels(map(maps.map_of, rows), map(maps.target_mask_of, rows))
    return counts if counts.good.sum() and counts.defect.sum() else None
