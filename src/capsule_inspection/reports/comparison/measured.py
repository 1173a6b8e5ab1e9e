"""What a contestant reached and what it cost: the numbers of the report, before they are words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.classification import classification_figures
from capsule_inspection.metrics.detection import anomaly_figures
from capsule_inspection.reports.comparison import maps, marks, one_class
from capsule_inspection.reports.comparison.contestant import Contestant, fold_of, seed_of
from capsule_inspection.reports.comparison.convergence import converged_at, is_long_enough
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import GOOD_LABEL, VAL, Figure

BEST_EPOCH = "best_epoch"
OF_SEEDS = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.AUROC,
    names.FOREGROUND_DICE_OF_PIXELS,
    names.MEAN_IOU_OF_PIXELS,
)
"""Figures that are told of each seed."""


@dataclass(frozen=True)
class Spread:
    """A number that each run has, over the runs of a contestant: mean, least, most, how many."""

    mean: float
    least: float
    most: float
    count: int


@dataclass(frozen=True)
class Measured:
    """A contestant with its figures on the compared images; `figures` have no stage in the keys."""

    contestant: Contestant
    figures: dict[str, Figure]

    @property
    def name(self) -> str:
        return self.contestant.name

    def value(self, metric: str) -> float | None:
        """A figure's value, if there is one."""
        return self.figures[metric].value if metric in self.figures else None

    def cost(self, of_run: Callable[[RunFolder], float | None]) -> Spread | None:
        """A number of each run, over the runs that have it; None where none has."""
        found = [number for run in self.contestant.runs if (number := of_run(run)) is not None]
        if not found:
            return None
        return Spread(float(np.mean(found)), min(found), max(found), len(found))

    def total(self, of_run: Callable[[RunFolder], float | None]) -> float:
        """The sum of a number over all runs."""
        return sum(of_run(run) or 0.0 for run in self.contestant.runs)

    @property
    def weights(self) -> str:
        """Where the first weights came from."""
        found = (run.record.get("weights") or {} for run in self.contestant.runs)
        return ", ".join(sorted({str(of_run.get("source", "unknown")) for of_run in found}))

    @cached_property
    def by_seed(self) -> dict[int, dict[str, float]]:
        """Accuracy, balanced accuracy, AUROC and overlap of each seed, its folds pooled.

        Where classes are not named: AUROC, its mean over folds, and overlap.
        """
        of_images, of_marks = _values_by_seed(self.contestant), marks.by_seed(self.contestant)
        found = {seed: of_images[seed] | of_marks[seed] for seed in self.contestant.seeds}
        return {
            seed: {metric: values[metric] for metric in OF_SEEDS if metric in values}
            for seed, values in found.items()
        }


def measure(contestant: Contestant) -> Measured:
    """The figures of all test images of a contestant, each with its 95% interval.

    Of several seeds the values and the limits are averaged: a photograph that was judged three
    times is one photograph, so seeds must not make intervals narrower. Where classes are not named
    they are means over runs, as `one_class` says; of pixels as `maps` and `marks` say.
    Raises RunError where maps are damaged.
    """
    if len(contestant.runs) == 1:
        stored = names.of_stage(contestant.runs[0].figures, contestant.stage)
        if stored:
            return Measured(contestant, stored)
    of_images = (
        _mean([_figures_of_seed(contestant, row) for row in _rows(contestant)])
        if contestant.names_defects
        else one_class.figures(contestant)
    )
    return Measured(contestant, of_images | marks.figures(contestant) | maps.figures(contestant))


def _rows(contestant: Contestant) -> range:
    return range(len(contestant.seeds))


def _values_by_seed(contestant: Contestant) -> dict[int, dict[str, float]]:
    """Every figure of images of each seed."""
    if not contestant.names_defects:
        return one_class.by_seed(contestant)
    return {
        seed: {name: figure.value for name, figure in _figures_of_seed(contestant, row).items()}
        for row, seed in enumerate(contestant.seeds)
    }


def _figures_of_seed(contestant: Contestant, row: int) -> dict[str, Figure]:
    assert contestant.probabilities is not None
    label, probabilities = _class_indices(contestant, contestant.label), contestant.probabilities
    if not contestant.marks_pixels:
        return classification_figures(label, probabilities[row], classes=contestant.classes)
    # What is marked decides, not the largest probability: see `Predictions.called`.
    assert contestant.prediction is not None
    assert contestant.score is not None
    called, score = _class_indices(contestant, contestant.prediction[row]), contestant.score[row]
    rate = contestant.runs[0].false_alarm_rate
    assert rate is not None
    return anomaly_figures(
        contestant.is_defect,
        called != GOOD_LABEL,
        score,
        class_names_of_images=contestant.label,
        false_alarm_rate=rate,
    ) | classification_figures(
        label, probabilities[row], classes=contestant.classes, called=called, score=score
    )


def _class_indices(contestant: Contestant, class_names: np.ndarray) -> np.ndarray:
    index_of = {name: index for index, name in enumerate(contestant.classes)}
    return np.array([index_of[name] for name in class_names.tolist()])


def _mean(of_seeds: Sequence[dict[str, Figure]]) -> dict[str, Figure]:
    shared = [key for key in of_seeds[0] if all(key in figures for figures in of_seeds)]
    return {key: _mean_figure([figures[key] for figures in of_seeds]) for key in shared}


def _mean_figure(figures: Sequence[Figure]) -> Figure:
    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if len(known) == len(figures) else None

    value = mean(figure.value for figure in figures)
    assert value is not None
    return Figure(
        value,
        mean(figure.low for figure in figures),
        mean(figure.high for figure in figures),
        min(figure.n for figure in figures),
    )


# What a run cost, for Measured.cost


def from_record(*path: str) -> Callable[[RunFolder], float | None]:
    """A number of run.json, by the names that lead to it."""

    def read(run: RunFolder) -> float | None:
        node: Any = run.record
        for name in path:
            node = node.get(name) if isinstance(node, dict) else None
        return None if node is None or isinstance(node, dict) else float(node)

    return read


def peak_memory_bytes(run: RunFolder) -> float | None:
    """Most memory that a training held, of the device where it has its own."""
    found = run.record.get("peak_memory_bytes") or {}
    held = found.get("gpu") or found.get("resident")
    return None if held is None else float(held)


def epoch_time_s(run: RunFolder) -> float | None:
    """Seconds of an epoch, validation included."""
    seconds, epochs = run.record.get("training_time_s"), run.record.get("epochs")
    return float(seconds) / float(epochs) if seconds and epochs else None


def of_epoch(column: str, *, last: bool = False) -> Callable[[RunFolder], float | None]:
    """A column of metrics.csv in the chosen epoch, or the last."""

    def read(run: RunFolder) -> float | None:
        if column not in run.epochs:
            return None
        rows = run.epochs if last else run.epochs[run.epochs["epoch"] == run.record.get(BEST_EPOCH)]
        value = float(rows[column].iloc[-1]) if len(rows) else float("nan")
        return value if np.isfinite(value) else None

    return read


def monitored(run: RunFolder) -> str | None:
    """The figure that chose the epoch, without its stage, such as balanced_accuracy."""
    key = (run.record.get("monitor") or {}).get("key")
    return str(key).removeprefix(f"{VAL}/").removesuffix("_smoothed") if key else None


def gap(run: RunFolder) -> float | None:
    """How much better the monitored figure is in training than in validation, chosen epoch.

    None where the model names no classes, or a loss chose the epoch: losses have no common scale,
    and no percent.
    """
    metric = monitored(run)
    if not run.classes or metric == names.LOSS:
        return None
    train, val = of_epoch(f"train/{metric}")(run), of_epoch(f"{VAL}/{metric}")(run)
    if train is None or val is None:
        return None
    return val - train if metric in names.LOWER_IS_BETTER else train - val


def shows_convergence(run: RunFolder) -> bool:
    """Whether its curve is there, and long enough to tell where it converged."""
    column = f"{VAL}/{monitored(run)}"
    return column in run.epochs and is_long_enough(run.epochs[column].to_numpy(np.float64))


def last_epoch(run: RunFolder) -> float | None:
    """The epoch at which training ended, 0 the first."""
    epochs = run.record.get("epochs")
    return float(epochs) - 1 if epochs else None


def converged_epoch(run: RunFolder) -> float | None:
    """The epoch at which a run converged; None where it did not."""
    column = f"{VAL}/{monitored(run)}"
    if column not in run.epochs:
        return None
    found = converged_at(run.epochs[column].to_numpy(np.float64))
    return None if found is None else float(run.epochs["epoch"].iloc[found])


def validation_figure(metric: str) -> Callable[[RunFolder], float | None]:
    """A final validation figure of metrics.json."""

    def read(run: RunFolder) -> float | None:
        figure = run.figures.get(names.figure_key(VAL, metric))
        return None if figure is None else figure.value

    return read


def units_of(contestant: Contestant) -> dict[tuple[int, int | None], RunFolder]:
    """The runs of a contestant by seed and fold."""
    return {(seed_of(run), fold_of(run)): run for run in contestant.runs}
