"""A model in a comparison: its runs over all folds and seeds, and their test predictions.

`run_groups` builds it from run folders.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from capsule_inspection.reports.comparison import settings
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import TEST


@dataclass(frozen=True)
class RunPredictions:
    """The predictions of one run.

    Shapes, all (n,): rows int64, rows of the images in the arrays of `ModelRuns`, without
    duplicates; indices int64 into the run's data index; predicted_defect bool; scores finite,
    high for defects.
    """

    fold: int | None
    seed: int
    rows: np.ndarray
    indices: np.ndarray
    predicted_defect: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class MaskCounts:
    """Pixel confusion matrices of the predicted masks, one for each image.

    `classes` are C names, the normal class first; one defect class where the model does not tell
    defects apart. Shapes, for S seeds and the N images of the model: counts (S, N, C, C) int64,
    rows are true classes; known (S, N) bool, whether predicted and target mask are both there.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    known: np.ndarray
    runs_without_masks: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every run kept its predicted masks, of images that count."""
        return not self.runs_without_masks and bool(self.known.any(axis=1).all())


@dataclass(frozen=True)
class ModelRuns:
    """The runs of one model and their predictions of the test images.

    `classes` begin with the normal class. `stage` is test, or val where a run has no test split.
    `run_predictions` has one entry for each run, in the same order. Shapes, for S seeds and N
    images: image_ids (N,) str; labels (N,) str. For classifiers, over the N images that every seed
    predicted: predicted_labels (S, N) str; scores (S, N), high for defects; probabilities
    (S, N, C). They are None without class probabilities: scores of different folds then have
    different scales.
    """

    name: str
    runs: tuple[RunFolder, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    stage: str
    image_ids: np.ndarray
    labels: np.ndarray
    run_predictions: tuple[RunPredictions, ...]
    predicted_labels: np.ndarray | None = None
    scores: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    mask_counts: MaskCounts | None = None
    """None where the model predicts no masks."""
    num_dropped: int = 0
    """Images left out because not every seed predicted them."""

    @property
    def task(self) -> str:
        return str(self.runs[0].record.get("task", "unknown"))

    @property
    def normal_class(self) -> str:
        """Name of the class without defects."""
        return self.classes[0]

    @property
    def has_probabilities(self) -> bool:
        """Whether the runs hold class probabilities, and so name the defects."""
        return self.probabilities is not None

    @property
    def has_masks(self) -> bool:
        """Whether the runs predict a class for each pixel."""
        return self.runs[0].has_masks

    @property
    def is_optimistic(self) -> bool:
        """Whether the compared images also selected the epoch or trained the model."""
        return self.stage != TEST or any(bool(run.record.get("optimistic")) for run in self.runs)

    @cached_property
    def is_defect(self) -> np.ndarray:
        """(N,) bool."""
        return self.labels != self.normal_class

    @cached_property
    def fraction_correct(self) -> np.ndarray:
        """Fraction of the predictions of each image that are correct, (N,) in [0, 1].

        Correct is the right class; without class probabilities, the right decision between good
        and defect.
        """
        if self.predicted_labels is not None:
            return (self.predicted_labels == self.labels).mean(axis=0)
        return np.where(self.is_defect, self.fraction_rejected, 1.0 - self.fraction_rejected)

    @cached_property
    def fraction_rejected(self) -> np.ndarray:
        """Fraction of the predictions of each image that are a defect, (N,) in [0, 1]."""
        if self.predicted_labels is not None:
            return (self.predicted_labels != self.normal_class).mean(axis=0)
        rows = np.concatenate([predictions.rows for predictions in self.run_predictions])
        rejected = np.concatenate(
            [predictions.predicted_defect for predictions in self.run_predictions]
        )
        return np.bincount(rows, weights=rejected) / np.bincount(rows)

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds of its runs."""
        return tuple(dict.fromkeys(predictions.fold for predictions in self.run_predictions))

    def fold_scores(self, fold: int | None) -> np.ndarray:
        """Scores of the runs of a fold: (R, N), NaN where a run did not predict the image."""
        of_fold = [found for found in self.run_predictions if found.fold == fold]
        scores = np.full((len(of_fold), len(self.image_ids)), np.nan)
        for row, predictions in zip(scores, of_fold, strict=True):
            row[predictions.rows] = predictions.scores
        return scores

    def find_image(self, image_id: str) -> list[tuple[RunFolder, int]]:
        """The runs that were tested on an image, with its index in each."""
        wanted = self.row_of[image_id]
        return [
            (run, int(predictions.indices[matches[0]]))
            for run, predictions in zip(self.runs, self.run_predictions, strict=True)
            if len(matches := np.flatnonzero(predictions.rows == wanted))
        ]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each image."""
        return {image_id: row for row, image_id in enumerate(self.image_ids.tolist())}


def get_seed(run: RunFolder) -> int:
    """The seed of a training."""
    return int(run.record.get("seed", 0))


def get_fold(run: RunFolder) -> int | None:
    """The fold that is the test split of a run; None where the split has no folds."""
    fold = run.settings.get(settings.FOLD)
    return None if fold is None else int(fold)
