"""What the runs of a contestant marked, held against the masks, photograph by photograph.

Figures are those of `metrics.segmentation`: the folds of a seed pooled, then the mean over seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.metrics.segmentation import confusions, pooled_segmentation
from capsule_inspection.reports.comparison.maps import images_told
from capsule_inspection.reports.run_maps import read_maps
from capsule_inspection.types import DEFECT, Figure, RunError, RunFiles

if TYPE_CHECKING:
    from capsule_inspection.reports.comparison.contestant import Contestant, Judgements
    from capsule_inspection.reports.run_folder import RunFolder


@dataclass(frozen=True)
class Marks:
    """How many pixels of each class were marked as each class.

    `classes` are C names, that of good first; one defect where the model tells none apart. Shapes,
    for S seeds and the N images of the contestant: counts (S, N, C, C) int64, rows what a pixel is;
    known (S, N) bool, whether it was marked and its mask is known. `lacking` are the runs that kept
    no marks; where there is one nothing can be said of all folds.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    known: np.ndarray
    lacking: tuple[str, ...]

    @property
    def are_whole(self) -> bool:
        """Whether every run kept its marks, and of images that count."""
        return not self.lacking and bool(self.known.any(axis=1).all())


def read_marks(contestant: Contestant) -> Marks | None:
    """The marks of all its runs; None where it does not decide of pixels.

    Where folds of a seed share an image the first counts, as it does for its name.
    Raises RunError where the maps of a run are damaged or have classes that the run has not.
    """
    if not contestant.marks_pixels:
        return None
    named = contestant.names_defects
    classes = contestant.classes if named else (contestant.good, DEFECT)
    shape = (len(contestant.seeds), len(contestant.image))
    counts = np.zeros((*shape, len(classes), len(classes)), dtype=np.int64)
    known, lacking = np.zeros(shape, dtype=bool), []
    for run, of_run in zip(contestant.runs, contestant.judgements, strict=True):
        found = _of_run(contestant, run, of_run, num_classes=len(classes))
        if found is None:
            lacking.append(run.path.name)
            continue
        of_images, rows = found
        seed = contestant.seeds.index(of_run.seed)
        first = ~known[seed, rows]
        counts[seed, rows[first]], known[seed, rows] = of_images[first], True
    return Marks(classes, counts, known, tuple(lacking))


def figures(contestant: Contestant) -> dict[str, Figure]:
    """Overlap of pixels and of images, false alarms; nothing where a run kept no marks."""
    marks = contestant.marks
    if marks is None or not marks.are_whole:
        return {}
    return pooled_segmentation(
        [[_fold(contestant, marks, seed)] for seed in range(len(contestant.seeds))],
        classes=marks.classes,
    )


def by_seed(contestant: Contestant) -> dict[int, dict[str, float]]:
    """The values of each seed; of each nothing where a run kept no marks."""
    marks = contestant.marks
    if marks is None or not marks.are_whole:
        return {seed: {} for seed in contestant.seeds}
    found = {}
    for row, seed in enumerate(contestant.seeds):
        of_seed = pooled_segmentation([[_fold(contestant, marks, row)]], classes=marks.classes)
        found[seed] = {name: figure.value for name, figure in of_seed.items()}
    return found


def _fold(contestant: Contestant, marks: Marks, seed: int) -> tuple[np.ndarray, np.ndarray]:
    known = marks.known[seed]
    return marks.counts[seed, known], contestant.image[known]


def _of_run(
    contestant: Contestant, run: RunFolder, of_run: Judgements, *, num_classes: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts (K, C, C) of a run's images that tell, and their rows (K,); None without marks."""
    maps = read_maps(run.path / RunFiles.MAPS)
    if maps is None or maps.marked is None:
        return None
    places, rows = images_told(contestant, of_run, maps)
    truths = [maps.truth_of(place) for place in places]
    if not contestant.names_defects:
        truths = [truth.clip(max=1) for truth in truths]
    marked = [of for place in places if (of := maps.marked_of(place)) is not None]
    try:
        valid = [np.ones(truth.shape, dtype=bool) for truth in truths]
        return confusions(truths, marked, valid, num_classes=num_classes), rows
    except ValueError as error:
        raise RunError(
            f"{run.path / RunFiles.MAPS}: masks or marked pixels have classes that the run has not "
            f"({error}). Evaluate the run again with evaluate.py run={run.path}"
        ) from error
