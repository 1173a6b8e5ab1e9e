"""The plot of the explanation maps of a classifier, with the pointing game; none without maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from capsule_inspection.metrics.pointing_game import (
    TOLERANCE,
    distance_to_defect_px,
    find_peak,
    tolerance_px_of,
)
from capsule_inspection.reports.plots import explanations, style
from capsule_inspection.reports.run.anomaly_plots import NamedPlot
from capsule_inspection.reports.run.maps import RunMaps
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.reports.run.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import TEST

EXPLANATIONS = "explanations.png"
MAX_EXAMPLES = 8

_NOTE = (
    "Bright: evidence for the true class, whatever the prediction. A hit: the peak is on "
    f"the defect,\nor nearer to it than {100 * TOLERANCE:g}% of the image's height."
)


@dataclass(frozen=True)
class _Pointing:
    """A row of the maps, and the distance of its peak to the defect."""

    row: int
    distance_to_defect_px: float
    is_hit: bool


def explanation_plots(run: RunFolder) -> Iterator[NamedPlot]:
    """The plot, where there are explanation maps. Raises RunError where their file is damaged."""
    maps = run.explanations
    if maps is not None and len(maps.index):
        yield EXPLANATIONS, lambda: _plot(run, maps)


def _plot(run: RunFolder, maps: RunMaps) -> Figure:
    rows = run.rows_of(TEST)
    labels = {
        int(index): (str(label), str(predicted))
        for index, label, predicted in zip(
            rows["index"], rows["label"], rows["predicted_label"], strict=True
        )
    }
    pointings = [found for found in _point(maps) if int(maps.index[found.row]) in labels]
    hits = sum(pointing.is_hit for pointing in pointings)
    # Misses first, by decreasing distance; hits in the order of the images.
    shown = sorted(
        pointings,
        key=lambda found: (found.is_hit, 0 if found.is_hit else -found.distance_to_defect_px),
    )
    examples = [
        _make_example(run, maps, pointing, *labels[int(maps.index[pointing.row])])
        for pointing in shown[:MAX_EXAMPLES]
    ]
    title = f"Peak on the defect in {hits} of {len(pointings)} images; misses first"
    return explanations.explanation_rows(examples, title=title, note=_NOTE)


def _point(maps: RunMaps) -> list[_Pointing]:
    """The pointing game of all images with a target mask."""
    tolerance_px = tolerance_px_of(maps.height_px)
    found = []
    for row in range(len(maps.index)):
        mask = maps.mask_of(row)
        if mask.any():
            distance_px = distance_to_defect_px(maps.map_of(row), mask)
            found.append(_Pointing(row, distance_px, distance_px <= tolerance_px))
    return found


def _make_example(
    run: RunFolder, maps: RunMaps, pointing: _Pointing, label: str, predicted: str
) -> explanations.ExplanationExample:
    path = run.image_path(int(maps.index[pointing.row]))
    content_box = maps.relative_content_box(pointing.row)
    heat = maps.map_of(pointing.row)
    result = "peak on the defect: a hit" if pointing.is_hit else "peak elsewhere: a miss"
    return explanations.ExplanationExample(
        caption=f"true: {style.shorten(label)}, predicted: {style.shorten(predicted)}; {result}",
        is_hit=pointing.is_hit,
        image=without_padding(read_thumbnail(path), content_box) if path.is_file() else None,
        heat=heat,
        mask=maps.mask_of(pointing.row),
        peak=find_peak(heat),
    )
