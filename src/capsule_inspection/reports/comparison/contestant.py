"""One contestant of a comparison: a model, and what its runs of all folds and seeds said.

It is kept run by run; of classifiers it is laid out by seed too. How it gets there is in
`contestants`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.comparison.marks import Marks, read_marks
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import TEST


@dataclass(frozen=True)
class Judgements:
    """What one run said of the images that it was asked about.

    Shapes, all (n,): row int64, the place of each image among the contestant's, none twice; index
    int64 into the run's data index; called_defect bool; score finite, high for defects.
    """

    fold: int | None
    seed: int
    row: np.ndarray
    index: np.ndarray
    called_defect: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class Contestant:
    """One model and all that its runs said of their test images.

    `classes` begin with the good one. `stage` is test, or val where a run has no test part.
    `judgements` has one entry a run, in their order. Shapes, for S seeds and N images: image (N,)
    str; label (N,) str. Of classifiers, where every seed was asked about all N images: prediction
    (S, N) str; score (S, N), high for defects; probabilities (S, N, C). They are None where the
    model names no classes: the scores of its folds must not stand beside each other.
    """

    name: str
    runs: tuple[RunFolder, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    stage: str
    image: np.ndarray
    label: np.ndarray
    judgements: tuple[Judgements, ...]
    prediction: np.ndarray | None = None
    score: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    dropped: int = 0
    """Images left out because not every seed was asked about them."""

    @property
    def task(self) -> str:
        return str(self.runs[0].record.get("task", "classification"))

    @property
    def good(self) -> str:
        """Name of the class without defects."""
        return self.classes[0]

    @property
    def names_defects(self) -> bool:
        """Whether it says which defect it is, or only that it is one."""
        return self.probabilities is not None

    @property
    def marks_pixels(self) -> bool:
        """Whether it decides of each pixel what it shows."""
        return self.runs[0].marks_pixels

    @cached_property
    def marks(self) -> Marks | None:
        """What its runs marked, read when first asked for; None where it does not mark pixels.

        Raises RunError where the maps of a run are damaged.
        """
        return read_marks(self)

    @property
    def is_optimistic(self) -> bool:
        """Whether these very images chose the epoch."""
        return self.stage != TEST or any(bool(run.record.get("optimistic")) for run in self.runs)

    @cached_property
    def is_defect(self) -> np.ndarray:
        """(N,) bool."""
        return self.label != self.good

    @cached_property
    def correct(self) -> np.ndarray:
        """Share of the judgements of an image that were right, (N,) in [0, 1].

        Right is the name of its class; where classes are not named, rejecting a defect or letting a
        good image pass.
        """
        if self.prediction is not None:
            return (self.prediction == self.label).mean(axis=0)
        return np.where(self.is_defect, self.called_defect, 1.0 - self.called_defect)

    @cached_property
    def called_defect(self) -> np.ndarray:
        """Share of the judgements of an image that called it a defect, (N,) in [0, 1]."""
        if self.prediction is not None:
            return (self.prediction != self.good).mean(axis=0)
        row = np.concatenate([of_run.row for of_run in self.judgements])
        called = np.concatenate([of_run.called_defect for of_run in self.judgements])
        return np.bincount(row, weights=called) / np.bincount(row)

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds that it has runs of."""
        return tuple(dict.fromkeys(of_run.fold for of_run in self.judgements))

    def scores_of(self, fold: int | None) -> np.ndarray:
        """Scores of the models of a fold, a row each: (R, N), NaN where one was not asked."""
        found = [of_run for of_run in self.judgements if of_run.fold == fold]
        scores = np.full((len(found), len(self.image)), np.nan)
        for row, of_run in zip(scores, found, strict=True):
            row[of_run.row] = of_run.score
        return scores

    def places_of(self, image: str) -> list[tuple[RunFolder, int]]:
        """The runs that were tested on an image, with its index in each."""
        wanted = self.row_of[image]
        return [
            (run, int(of_run.index[place[0]]))
            for run, of_run in zip(self.runs, self.judgements, strict=True)
            if len(place := np.flatnonzero(of_run.row == wanted))
        ]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each image."""
        return {image: row for row, image in enumerate(self.image.tolist())}


def seed_of(run: RunFolder) -> int:
    """The seed that a run was trained with."""
    return int(run.record.get("seed", 0))


def fold_of(run: RunFolder) -> int | None:
    """The fold that was a run's test part; None where the split has none."""
    fold = run.settings.get(settings.FOLD)
    return None if fold is None else int(fold)
