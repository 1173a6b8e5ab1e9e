"""The pictures of a finished run that marks pixels: what it marked, how well, and its scores.

Reads a `RunFolder`, draws with `marked_examples`, `overlap` and what `run_anomaly` has for scores
and maps. What a run has no data for is not drawn: without masks no overlap and no curves of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from capsule_inspection.metrics import names
from capsule_inspection.reports import marked_examples, overlap, run_anomaly, style
from capsule_inspection.reports.marked_images import (
    Chosen,
    choose,
    marked_images,
    truth_and_marked,
)
from capsule_inspection.reports.run_anomaly import Drawing
from capsule_inspection.reports.run_folder import RunFolder, Scores
from capsule_inspection.reports.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import DEFECT, TEST

OVERLAP_BY_CLASS = "overlap_by_class.png"
SCORE = "score (higher: surer that there is a defect)"


def segmentation_drawings(run: RunFolder) -> Iterator[Drawing]:
    """Every picture of the test images that the run has data for, but those of classifiers.

    Raises RunError where a file of the run is damaged.
    """
    scores = run.scores_of(TEST)
    yield from _of_examples(run, scores)
    figures = names.of_stage(run.figures, TEST)
    if overlap.has_overlap(figures):
        yield OVERLAP_BY_CLASS, lambda: overlap.overlap_by_class(figures)
    nobody = run.scores_of("")  # no images were kept for the threshold alone
    yield from run_anomaly.score_drawings(run, scores, calibration=nobody, score_name=SCORE)
    yield from run_anomaly.curve_drawings(run, scores)


def _of_examples(run: RunFolder, scores: Scores) -> Iterator[Drawing]:
    """The worst of each class together, then worst, median and best of each class by itself."""
    images = marked_images(run)
    chosen = {
        name: choose([image for image in images if image.class_name == name])
        for name in run_anomaly.classes_in(run, scores)
    }
    shown = [of.image.index for of_class in chosen.values() for of in of_class]
    if run.maps is None and not any(run.image_path(index).is_file() for index in shown):
        return
    worst = [of_class[0] for of_class in chosen.values()]
    yield run_anomaly.EXAMPLES, lambda: _draw(run, worst, "The worst image of each class")
    files = run_anomaly.examples_file_names(list(chosen))
    for name, of_class in chosen.items():
        what = {1: "its only image", 2: "worst and best"}.get(len(of_class), "worst, median, best")
        yield files[name], partial(_draw, run, of_class, f"{style.short(name)}: {what}")


def _draw(run: RunFolder, chosen: Sequence[Chosen], title: str) -> Figure:
    defects = run.classes[1:] or (DEFECT,)
    return marked_examples.marked_rows([_example(run, of) for of in chosen], defects, title=title)


def _example(run: RunFolder, chosen: Chosen) -> marked_examples.MarkedExample:
    index, path = chosen.image.index, run.image_path(chosen.image.index)
    truth, marked = truth_and_marked(run, index)
    inside = probability = None
    row = None if run.maps is None else run.maps.row_of(index)
    if run.maps is not None and row is not None:
        inside, probability = run.maps.share_inside(row), run.maps.map_of(row)
    if truth is not None and not chosen.image.is_good and not truth.any():
        truth = None
    image = without_padding(read_thumbnail(path), inside) if path.is_file() else None
    is_wrong = chosen.image.is_wrong or chosen.image.is_elsewhere
    return marked_examples.MarkedExample(
        chosen.caption, is_wrong, image, truth, marked, probability
    )
