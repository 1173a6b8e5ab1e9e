"""A finished run folder, read back: its record, epochs, predictions and figures.

The files are described by `contracts.RunFiles`. Checked here, once; whoever gets a `RunFolder` may
trust it. Knows no pictures and no models. pandas is imported when a folder is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from capsule_inspection.metrics.detection import USUAL_FALSE_ALARM_RATE
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.reports.run_maps import RunMaps, read_maps
from capsule_inspection.reports.run_settings import read_settings
from capsule_inspection.reports.run_tables import (
    PROBABILITY,
    THRESHOLD,
    check_class_names,
    column_names,
    missing,
    read_epochs,
    read_predictions,
)
from capsule_inspection.types import (
    FORMAT_VERSION,
    Figure,
    Predictions,
    RunError,
    RunFiles,
)

if TYPE_CHECKING:
    import pandas as pd

Stored = TypeVar("Stored")

RATE = "threshold.false_alarm_rate"
"""Setting of config.yaml that every rule of thresholds has, since recall is told at it."""

SEGMENTATION = "segmentation"
"""The task, as the record names it, that marks pixels."""

DECISION = "decision"
"""Field of the record with what it takes to mark a region."""

SEEN, CHOSE = "seen_in_training", "had_a_part"
"""Of an evaluation: how many of its images training saw, or chose epoch, threshold or decision."""
TEMPERATURE_SCALING = "temperature_scaling"
"""Field of the record with what was done to a classifier's logits."""


@dataclass(frozen=True)
class Scores:
    """What a run said of the images of one part, where only good and defect count.

    Shapes, all (N,): index int64; class_name str; is_defect and called_defect bool; score float64,
    finite, high for defects. `threshold` is None where the scores did not decide.
    """

    index: np.ndarray
    class_name: np.ndarray
    is_defect: np.ndarray
    called_defect: np.ndarray
    score: np.ndarray
    threshold: float | None


@dataclass(frozen=True)
class RunFolder:
    """What a run left behind.

    `epochs` has a row an epoch, NaN where nothing was measured, and is empty where the folder holds
    an evaluation. `predictions` has a row an image of each part that was predicted. `classes` are
    in the order of their class indices, and empty where the run gives no probabilities. `settings`
    are those of config.yaml by their dotted names, and empty where there is none.
    """

    path: Path
    record: Mapping[str, Any]
    epochs: pd.DataFrame
    predictions: pd.DataFrame
    figures: Mapping[str, Figure]
    classes: tuple[str, ...]
    settings: Mapping[str, Any]

    def stages(self) -> tuple[str, ...]:
        """The parts of the split that have predictions, in the order of the file."""
        return tuple(dict.fromkeys(self.predictions["split"]))

    def rows_of(self, stage: str) -> pd.DataFrame:
        """The predictions of one part of the split."""
        return self.predictions[self.predictions["split"] == stage]

    def arrays_of(self, stage: str) -> tuple[Predictions, np.ndarray]:
        """The predictions of one part as arrays, and the class that was predicted, (N,) int64.

        Raises RunError where the run gives no probabilities: `scores_of` serves every run.
        """
        if not self.classes:
            raise RunError(f"{self.path}: this run names no defects, so it has no probabilities.")
        rows = self.rows_of(stage)
        columns = [PROBABILITY + name for name in self.classes]
        predictions = Predictions(
            index=rows["index"].to_numpy(np.int64),
            label=self._class_indices(rows["label"]),
            probabilities=rows[columns].to_numpy(np.float64),
            score=rows["score"].to_numpy(np.float64),
        )
        return predictions, self._class_indices(rows["prediction"])

    def scores_of(self, stage: str) -> Scores:
        """The scores of one part and what was decided by them, whether or not defects have names.

        Raises RunError where a score is missing or no class is known to be the good one.
        """
        rows = self.rows_of(stage)
        score = rows["score"].to_numpy(np.float64)
        if not np.isfinite(score).all():
            raise RunError(
                f"{self.path / RunFiles.PREDICTIONS}: {int((~np.isfinite(score)).sum())} of "
                f"{len(score)} scores of {stage} are missing or not finite. Evaluate the run again."
            )
        class_name = rows["label"].to_numpy(dtype=str)
        return Scores(
            index=rows["index"].to_numpy(np.int64),
            class_name=class_name,
            is_defect=class_name != self.good,
            called_defect=rows["prediction"].to_numpy(dtype=str) != self.good,
            score=score,
            threshold=_threshold_of(rows),
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of all classes, the good one first, also where there are no probabilities.

        Raises RunError where neither predictions nor record name them.
        """
        data = self.record.get("data")
        known = self.classes or tuple(data.get("classes", ()) if isinstance(data, dict) else ())
        if not known:
            raise RunError(
                f"{self.path / RunFiles.RECORD}: expected data.classes, the good one first; "
                "found none, so good images cannot be told from defects."
            )
        return tuple(map(str, known))

    @property
    def good(self) -> str:
        """Name of the good class. Raises RunError where it is not known."""
        return self.class_names[0]

    @property
    def has_threshold(self) -> bool:
        """Whether scores and a threshold decide: a one-class run, not a classification."""
        one_class = not self.classes and not self.marks_pixels
        return one_class and _threshold_of(self.predictions) is not None

    @property
    def marks_pixels(self) -> bool:
        """Whether the run decides of each pixel what it shows, and by that of the image."""
        return self.record.get("task") == SEGMENTATION

    @property
    def decision(self) -> Decision | None:
        """What it takes to mark a region; None where the record does not say.

        Raises RunError where the record of it is not as expected.
        """
        return self._stored(DECISION, Decision.from_dict)

    @property
    def threshold(self) -> Threshold | None:
        """The threshold and what it stands on; None where the record does not say.

        Raises RunError where the record of it is not as expected.
        """
        return self._stored(THRESHOLD, Threshold.from_dict)

    @property
    def temperature_scaling(self) -> TemperatureScaling | None:
        """How a classifier's logits are scaled; None where the record does not say.

        Raises RunError where the record of it is not as expected.
        """
        return self._stored(TEMPERATURE_SCALING, TemperatureScaling.from_dict)

    def _stored(self, field: str, read: Callable[[Mapping[str, Any]], Stored]) -> Stored | None:
        stored = self.record.get(field)
        if stored is None:
            return None
        try:
            return read(stored)
        except TypeError as error:
            raise RunError(
                f"{self.path / RunFiles.RECORD}: {field} is not as expected ({error})."
            ) from None

    @property
    def false_alarm_rate(self) -> float | None:
        """The share of good images that may be rejected, as it was asked; None where it was not."""
        if self.marks_pixels:
            return USUAL_FALSE_ALARM_RATE
        stored = self.record.get(THRESHOLD) or {}
        asked = self.settings.get(RATE, stored.get("false_alarm_rate"))
        return None if asked is None else float(asked)

    @cached_property
    def maps(self) -> RunMaps | None:
        """Maps of the test images, read when first asked for; None where none were kept.

        Raises RunError where the file is damaged.
        """
        return read_maps(self.path / RunFiles.MAPS)

    @cached_property
    def explanations(self) -> RunMaps | None:
        """Where a classifier looked in the test images with a defect; None where it was not kept.

        Raises RunError where the file is damaged.
        """
        return read_maps(self.path / RunFiles.EXPLANATIONS)

    def image_path(self, index: int) -> Path:
        """Where the thumbnail of an image lies, if it was kept."""
        return self.path / RunFiles.IMAGES / f"{index}.jpg"

    def reconstruction_path(self, index: int) -> Path:
        """Where the thumbnail of what the model made of an image lies, if it was kept."""
        return self.path / RunFiles.IMAGES / f"{index}_reconstruction.jpg"

    def _class_indices(self, class_names: pd.Series) -> np.ndarray:
        index_of = {name: index for index, name in enumerate(self.classes)}
        return np.array([index_of[name] for name in class_names], dtype=np.int64)


def _threshold_of(rows: pd.DataFrame) -> float | None:
    if THRESHOLD not in rows:
        return None
    known = rows[THRESHOLD].dropna().to_numpy(np.float64)
    return float(known[0]) if len(known) else None


def read_run(folder: Path) -> RunFolder:
    """Read a run folder, or that of an evaluation (which has no metrics.csv).

    Raises RunError where the folder or one of its files is missing, unreadable or not as expected.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder}: no such run folder. Give the folder that holds {RunFiles.RECORD}."
        )
    record = read_record(folder)
    predictions = read_predictions(folder / RunFiles.PREDICTIONS)
    classes = tuple(
        name.removeprefix(PROBABILITY)
        for name in column_names(predictions)
        if name.startswith(PROBABILITY)
    )
    check_class_names(folder / RunFiles.PREDICTIONS, predictions, classes)
    return RunFolder(
        path=folder,
        record=record,
        epochs=read_epochs(folder / RunFiles.EPOCHS),
        predictions=predictions,
        figures=read_figures(folder),
        classes=classes,
        settings=read_settings(folder / RunFiles.CONFIG),
    )


def read_record(folder: Path) -> dict[str, Any]:
    """The content of run.json. Raises RunError where it is missing, broken or of a later format."""
    path = folder / RunFiles.RECORD
    record = _read_json(path)
    version = record.get("format_version")
    if not isinstance(version, int):
        raise RunError(f"{path}: expected a whole number as format_version, found {version!r}.")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version is {version}, this version reads up to {FORMAT_VERSION}. "
            "Update capsule-inspection."
        )
    return record


def read_figures(folder: Path) -> dict[str, Figure]:
    """The final figures of metrics.json by key. Raises RunError where one is not as expected."""
    path = folder / RunFiles.FIGURES
    return {key: _figure(path, key, entry) for key, entry in _read_json(path).items()}


def _figure(path: Path, key: str, entry: object) -> Figure:
    try:
        if not isinstance(entry, dict):
            raise TypeError
        low, high = (None if entry[end] is None else float(entry[end]) for end in ("low", "high"))
        return Figure(float(entry["value"]), low, high, int(entry["n"]))
    except (KeyError, TypeError, ValueError):
        raise RunError(
            f"{path}: {key} must hold value, low, high and n as numbers, found {entry!r}."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing(path) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected an object with names, found {type(content).__name__}.")
    return content
