"""Where the classifier of a finished run looked in its test images: which to show, and as what.

Reads a `RunFolder`, draws with `explanations`. Runs that kept no explanations have no such picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.figure import Figure

from capsule_inspection.metrics.pointing import TOLERANCE, miss_px, peak_of, tolerance_of
from capsule_inspection.reports import explanations, style
from capsule_inspection.reports.run_anomaly import Drawing
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.reports.run_maps import RunMaps
from capsule_inspection.reports.thumbnails import read_thumbnail, without_padding
from capsule_inspection.types import TEST

EXPLANATIONS = "explanations.png"
MOST_SHOWN = 8

_NOTE = (
    "Bright: what spoke for the true class, whatever was called. A hit: the highest point is on "
    f"the defect,\nor nearer to it than {100 * TOLERANCE:g}% of the image's height."
)


@dataclass(frozen=True)
class _Place:
    """A row of the maps, and how far its highest point lies from the defect."""

    row: int
    miss_px: float
    is_hit: bool


def explanation_drawings(run: RunFolder) -> Iterator[Drawing]:
    """The picture, where there are explanations. Raises RunError where their file is damaged."""
    maps = run.explanations
    if maps is not None and len(maps.index):
        yield EXPLANATIONS, lambda: _draw(run, maps)


def _draw(run: RunFolder, maps: RunMaps) -> Figure:
    rows = run.rows_of(TEST)
    called = {
        int(index): (str(label), str(prediction))
        for index, label, prediction in zip(
            rows["index"], rows["label"], rows["prediction"], strict=True
        )
    }
    places = [place for place in _places(maps) if int(maps.index[place.row]) in called]
    hits = sum(place.is_hit for place in places)
    # Misses first, the farthest of them before all; hits in the order of the images.
    shown = sorted(places, key=lambda place: (place.is_hit, 0 if place.is_hit else -place.miss_px))
    examples = [
        _explained(run, maps, place, *called[int(maps.index[place.row])])
        for place in shown[:MOST_SHOWN]
    ]
    title = f"Looked at the defect in {hits} of {len(places)} images; misses first"
    return explanations.explained_rows(examples, title=title, note=_NOTE)


def _places(maps: RunMaps) -> list[_Place]:
    """Those of all images whose mask is known."""
    tolerance_px = tolerance_of(maps.height_px)
    found = []
    for row in range(len(maps.index)):
        mask = maps.mask_of(row)
        if mask.any():
            distance_px = miss_px(maps.map_of(row), mask)
            found.append(_Place(row, distance_px, distance_px <= tolerance_px))
    return found


def _explained(
    run: RunFolder, maps: RunMaps, place: _Place, label: str, called: str
) -> explanations.Explained:
    path = run.image_path(int(maps.index[place.row]))
    inside = maps.share_inside(place.row)
    heat = maps.map_of(place.row)
    what = "looked at the defect: a hit" if place.is_hit else "looked elsewhere: a miss"
    return explanations.Explained(
        caption=f"is {style.short(label)}, called {style.short(called)}; {what}",
        is_hit=place.is_hit,
        image=without_padding(read_thumbnail(path), inside) if path.is_file() else None,
        heat=heat,
        mask=maps.mask_of(place.row),
        peak=peak_of(heat),
    )
