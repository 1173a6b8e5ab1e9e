"""The plots of a segmentation run: examples with masks, overlap by class, scores and curves.

Plots without data are left out: without target masks overlap and the curves of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.reports.plots import overlap, segmentation_examples, style
from capsule_inspection.reports.run import anomaly_plots
from capsule_inspection.reports.run.anomaly_plots import NamedPlot
from capsule_inspection.reports.run.run_folder import RunFolder, Scores
from capsule_inspection.reports.run.segmented_images import (
    SelectedImage,
    read_masks,
    read_segmented_images,
    select_examples,
)
from capsule_inspection.reports.run.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import DEFECT, TEST

OVERLAP_BY_CLASS = "overlap_by_class.png"
SCORE = "score (higher: a defect is more probable)"


def segmentation_plots(run: RunFolder) -> Iterator[NamedPlot]:
    """Every plot of the test images that the run has data for, but those of classifiers.

    Raises RunError where a file of the run is damaged.
    """
    scores = run.scores_of(TEST)
    yield from _example_plots(run, scores)
    metrics = names.metrics_of_stage(run.metrics, TEST)
    if overlap.has_overlap(metrics):
        yield OVERLAP_BY_CLASS, lambda: overlap.overlap_by_class(metrics)
    no_calibration = run.scores_of("")
    yield from anomaly_plots.score_plots(run, scores, calibration=no_calibration, score_name=SCORE)
    yield from anomaly_plots.curve_plots(run, scores)


def _example_plots(run: RunFolder, scores: Scores) -> Iterator[NamedPlot]:
    """The worst image of each class together, then worst, median and best of each class."""
    images = read_segmented_images(run)
    chosen = {
        name: select_examples([image for image in images if image.class_name == name])
        for name in anomaly_plots.present_classes(run, scores)
    }
    indices = [one.image.index for examples in chosen.values() for one in examples]
    if run.maps is None and not any(run.image_path(index).is_file() for index in indices):
        return
    worst = [examples[0] for examples in chosen.values()]
    yield (
        anomaly_plots.EXAMPLES,
        lambda: _plot_examples(run, worst, "The worst image of each class"),
    )
    files = anomaly_plots.examples_file_names(list(chosen))
    texts = {1: "its only image", 2: "worst and best"}
    for name, examples in chosen.items():
        title = f"{style.shorten(name)}: {texts.get(len(examples), 'worst, median, best')}"
        yield files[name], partial(_plot_examples, run, examples, title)


def _plot_examples(run: RunFolder, chosen: Sequence[SelectedImage], title: str) -> Figure:
    defects = run.classes[1:] or (DEFECT,)
    return segmentation_examples.segmentation_rows(
        [_make_example(run, one) for one in chosen], defects, title=title
    )


def _make_example(
    run: RunFolder, chosen: SelectedImage
) -> segmentation_examples.SegmentationExample:
    index, path = chosen.image.index, run.image_path(chosen.image.index)
    target, predicted = read_masks(run, index)
    content_box = probability = None
    row = None if run.maps is None else run.maps.row_of(index)
    if run.maps is not None and row is not None:
        content_box = run.maps.relative_content_box(row)
        probability = run.maps.map_of(row)
    if target is not None and not chosen.image.is_good and not target.any():
        target = None
    image = without_padding(read_thumbnail(path), content_box) if path.is_file() else None
    is_wrong = chosen.image.is_wrong or chosen.image.misses_defect
    return segmentation_examples.SegmentationExample(
        chosen.caption, is_wrong, image, target, predicted, probability
    )
