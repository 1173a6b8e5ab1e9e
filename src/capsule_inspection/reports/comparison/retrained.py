"""Would a difference hold if both models were trained anew? From the trainings of equal folds.

Seeds of one fold are averaged first: they share their training and test images, so they tell
nothing of other images, and counted one by one they would make the test too sure of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired import PairedDifference, corrected_resampled_t
from capsule_inspection.reports.comparison.contestant import Contestant
from capsule_inspection.reports.comparison.measured import units_of
from capsule_inspection.types import TRAIN

FEWEST_FOLDS = 3
"""Trainings needed for a test over trainings; with two it has one degree of freedom."""


@dataclass(frozen=True)
class Retrained:
    """What the folds say of a difference if both models were trained anew, for one figure.

    `always_tested` is the number of images that every fold tests, such as the defects of one-class
    runs: of others like them the folds say nothing.
    """

    difference: PairedDifference
    trainings: int
    always_tested: int = 0


def retrained(first: Contestant, second: Contestant) -> dict[str, Retrained] | None:
    """Nadeau and Bengio's test over folds, of trainings of equal seed and fold; None without folds.

    None too where a model names no classes and two trainings of equal fold were tested on different
    images. The images that every fold tests do not count as test images: they are no reason why
    folds should differ, so the test speaks of other training and other good images only.
    """
    units = units_of(first), units_of(second)
    shared = [unit for unit in units[0] if unit in units[1] and unit[1] is not None]
    if len({fold for _, fold in shared}) < FEWEST_FOLDS:
        return None
    runs = [(units[0][unit], units[1][unit]) for unit in shared]
    counts = [run.record.get("data", {}).get("images", {}) for pair in runs for run in pair]
    if not all(TRAIN in count for count in counts):
        return None
    tested = _tested(first), _tested(second)
    both_name = first.names_defects and second.names_defects
    if not both_name and any(tested[0][unit] != tested[1][unit] for unit in shared):
        return None
    always = len(frozenset.intersection(*(tested[0][unit] for unit in shared)))
    train = float(np.mean([count[TRAIN] for count in counts]))
    test = float(np.mean([len(run.rows_of(first.stage)) for pair in runs for run in pair])) - always
    found: dict[str, Retrained] = {}
    for metric in _metrics(first, second):
        key = names.figure_key(first.stage, metric)
        if all(key in run.figures for pair in runs for run in pair):
            of_fold: dict[int | None, list[float]] = {}
            for (_, fold), (a, b) in zip(shared, runs, strict=True):
                of_fold.setdefault(fold, []).append(a.figures[key].value - b.figures[key].value)
            values = np.array([np.mean(differences) for differences in of_fold.values()])
            difference = corrected_resampled_t(values, test_images=test, train_images=train)
            found[metric] = Retrained(difference, len(runs), always)
    return found


def _metrics(first: Contestant, second: Contestant) -> list[str]:
    """Figures that mean the same of both."""
    found = [
        names.ACCURACY,
        names.BALANCED_ACCURACY,
        names.AUROC,
        names.FOREGROUND_DICE_OF_PIXELS,
    ]
    same_classes = first.names_defects and second.names_defects and first.classes == second.classes
    return [*found, names.MEAN_IOU_OF_PIXELS] if same_classes else found


def _tested(contestant: Contestant) -> dict[tuple[int, int | None], frozenset[str]]:
    """The images of each run, by seed and fold."""
    return {
        (of_run.seed, of_run.fold): frozenset(contestant.image[of_run.row].tolist())
        for of_run in contestant.judgements
    }
