"""Which model is best on validation: the choice that no test image had a part in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import settings, words
from capsule_inspection.reports.comparison.measured import (
    Measured,
    from_record,
    monitored,
    validation_figure,
)
from capsule_inspection.reports.run_folder import RunFolder

OfRun = Callable[[RunFolder], float | None]
MONITORED = from_record("monitor", "value")

_OF_THE_LOSS = (
    "task.monitor",
    "task.monitor_smoothing",
    "task.loss",
    "task.loss_weights",
    "task.head_weight",
    "task.defect_weight",
    "task.focal_gamma",
    "task.corrupted",
    "task.painting",
    "model.corruption",
    "model.head",
    "model.classes",
    "data",
    "split",
    "images",
)
"""Settings that change what a validation loss is of: its terms, the images, what spoils them."""

_OF_THE_OVERLAP = ("task.monitor_smoothing", "split", "images")
"""Settings that change what a validation overlap is of; image size and crop change it little."""


@dataclass(frozen=True)
class Ranking:
    """Models, the best on validation first, and the figure that they were ranked by.

    Without a figure that all of them have they stand in the order of their runs.
    """

    order: list[Measured]
    by: str | None


def rank_on_validation(measured: Sequence[Measured]) -> Ranking:
    """Rank by balanced accuracy, else the AUROC of good against defect, else the loss.

    The loss only where it is the same loss of the same images; never a figure of the test. Models
    that mark pixels rank by the overlap that chose their epoch, of the same images too.
    """
    if all(one.contestant.marks_pixels for one in measured):
        overlap = _one_overlap(measured)
        if overlap is not None:
            return _ranked(measured, partial(_mean, of_run=MONITORED), overlap)
    elif all(one.contestant.names_defects and not one.contestant.marks_pixels for one in measured):
        return _ranked(measured, _of_classifier, names.BALANCED_ACCURACY)
    for metric in (names.BALANCED_ACCURACY, names.AUROC):
        if all(one.cost(validation_figure(metric)) for one in measured):
            return _ranked(measured, partial(_mean, of_run=validation_figure(metric)), metric)
    if _have_one_loss(measured):
        return _ranked(measured, lambda one: -_mean(one, MONITORED), names.LOSS)
    return Ranking(list(measured), None)


def best_on_validation(measured: Sequence[Measured]) -> Measured:
    """The one whose validation figure is best; the first where there is none to choose by."""
    return rank_on_validation(measured).order[0]


def _ranked(
    measured: Sequence[Measured], value: Callable[[Measured], float], metric: str
) -> Ranking:
    return Ranking(sorted(measured, key=value, reverse=True), metric)


def _mean(one: Measured, of_run: OfRun) -> float:
    found = one.cost(of_run)
    return -math.inf if found is None else found.mean


def _of_classifier(one: Measured) -> float:
    """Balanced accuracy, or AUROC where a run has none, or below all others."""
    for metric in (names.BALANCED_ACCURACY, names.AUROC):
        found = one.cost(validation_figure(metric))
        if found is not None:
            return found.mean
    return -math.inf


def _have_one_loss(measured: Sequence[Measured]) -> bool:
    """Whether every run was chosen by its validation loss, and all of them by the same one."""
    return _monitored_by_all(measured) == names.LOSS and _alike_in(measured, _OF_THE_LOSS)


def _one_overlap(measured: Sequence[Measured]) -> str | None:
    """The overlap that chose the epoch of every run, where it is of the same images and classes."""
    metric = _monitored_by_all(measured)
    if metric in (None, names.LOSS):
        return None
    of_names = () if metric == words.MONITORED_DICE else ("model.classes",)
    return metric if _alike_in(measured, (*_OF_THE_OVERLAP, *of_names)) else None


def _monitored_by_all(measured: Sequence[Measured]) -> str | None:
    """The figure that chose the epoch of every run and has a value; None where they differ."""
    runs = [run for one in measured for run in one.contestant.runs]
    found = {monitored(run) if MONITORED(run) is not None else None for run in runs}
    return found.pop() if len(found) == 1 else None


def _alike_in(measured: Sequence[Measured], wanted: Sequence[str]) -> bool:
    """Whether all have the same folds, and no setting of these parts differs."""
    if len({frozenset(one.contestant.folds) for one in measured}) > 1:
        return False
    models = [settings.model_settings(run) for one in measured for run in one.contestant.runs]
    return not any(
        key == name or key.startswith(f"{name}.")
        for key in settings.differing(models)
        for name in wanted
    )
