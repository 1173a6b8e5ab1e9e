"""Photographs on which models that mark pixels differ most, and how each model sees them.

From marks that were read already and from the maps of the runs; draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.reports.comparison.contestant import Contestant
from capsule_inspection.reports.comparison.marks import Marks
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.reports.run_maps import read_maps
from capsule_inspection.types import RunFiles

_TIE = 1e-3
"""Weight of the mean error against the difference: it decides where differences are equal."""

_HEAT = (0.01, 0.999)
"""Shares of a run's pixels below dark and bright, as in `examples.map_scale`."""

_NO_HEAT = 1e-6


@dataclass(frozen=True)
class Seen:
    """One photograph as one run sees it.

    Shapes: truth and marked (h, w) class indices, marked None where the run decides of no pixel;
    heat (h, w) in [0, 1], its map. `inside` is x0, y0, x1, y1 of what all three show, as shares of
    the thumbnail's width and height.
    """

    truth: np.ndarray
    marked: np.ndarray | None
    heat: np.ndarray
    inside: tuple[float, float, float, float]
    called: str
    is_wrong: bool
    names_defects: bool


def photographs_of_dissent(contestants: Sequence[Contestant]) -> list[str]:
    """A photograph of each class, a good one only where something is marked in any.

    That with the largest difference of Dice (of good ones: of the share that is marked) between the
    models that mark pixels; with one such model, and at equal differences, that it marked worst.
    """
    marking = [(one, marks) for one in contestants if (marks := whole_marks(one)) is not None]
    first, errors = contestants[0], [_errors(marks) for _, marks in marking]
    shared = [
        image
        for image in first.image.tolist()
        if all(image in one.row_of for one in contestants)
        and all(marks.known[:, one.row_of[image]].all() for one, marks in marking)
    ]
    if not marking or not shared:
        return []
    label = np.array([first.label[first.row_of[image]] for image in shared])
    error = np.stack(
        [
            of_one[[one.row_of[image] for image in shared]]
            for of_one, (one, _) in zip(errors, marking, strict=True)
        ]
    )
    dissent = np.ptp(error, axis=0) + _TIE * error.mean(axis=0)
    chosen = []
    for name in first.classes:
        rows = np.flatnonzero(label == name)
        if len(rows) and (name != first.good or error[:, rows].any()):
            chosen.append(shared[rows[dissent[rows].argmax()]])
    return chosen


def whole_marks(one: Contestant) -> Marks | None:
    """The marks of a model that kept all of them; None of any other."""
    marks = one.marks
    return marks if marks is not None and marks.are_whole else None


def _errors(marks: Marks) -> np.ndarray:
    """One less Dice of any defect, of good images the share that is marked; mean of seeds: (N,)."""
    counts = marks.counts
    hit, truth = counts[..., 1:, 1:].sum(axis=(-2, -1)), counts[..., 1:, :].sum(axis=(-2, -1))
    marked, pixels = counts[..., 1:].sum(axis=(-2, -1)), counts.sum(axis=(-2, -1))
    of_defects = 1 - 2 * hit / np.maximum(truth + marked, 1)
    errors = np.where(truth > 0, of_defects, marked / np.maximum(pixels, 1))
    return np.asarray(errors.mean(axis=0))


def seen_by(contestant: Contestant, images: Sequence[str]) -> dict[str, Seen]:
    """How it sees photographs: by the first run that was tested on one and kept its map.

    The maps of a run are read once and let go, since those of many would not fit into memory.
    Raises RunError where maps are damaged.
    """
    seen: dict[str, Seen] = {}
    for run in contestant.runs:
        index_of = {
            image: index
            for image in images
            if image not in seen
            for of_run, index in contestant.places_of(image)
            if of_run is run
        }
        maps = read_maps(run.path / RunFiles.MAPS) if index_of else None
        if maps is None:
            continue
        low, high = np.quantile(maps.maps, _HEAT).tolist()
        for image, index in index_of.items():
            row = maps.row_of(index)
            if row is not None:
                heat = ((maps.map_of(row) - low) / max(high - low, _NO_HEAT)).clip(0, 1)
                called = _called(run, index)
                seen[image] = Seen(
                    maps.truth_of(row),
                    maps.marked_of(row),
                    heat,
                    maps.share_inside(row),
                    called,
                    _is_wrong(contestant, image, called),
                    contestant.names_defects,
                )
    return seen


def _called(run: RunFolder, index: int) -> str:
    rows = run.predictions
    return str(rows.loc[rows["index"] == index, "prediction"].iloc[0])


def _is_wrong(contestant: Contestant, image: str, called: str) -> bool:
    label, good = contestant.label[contestant.row_of[image]], contestant.good
    if contestant.names_defects:
        return bool(called != label)
    return bool((called == good) != (label == good))
