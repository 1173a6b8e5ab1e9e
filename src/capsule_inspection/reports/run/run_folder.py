"""A finished run folder: its record, settings, epochs, predictions and metrics.

The files are described by `types.RunFiles`. They are validated once, when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from capsule_inspection.integrity import check_files
from capsule_inspection.metrics.detection import DEFAULT_TARGET_FPR
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.metrics.registry import ANOMALY_DETECTION, CLASSIFICATION, SEGMENTATION
from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.reports.run import files
from capsule_inspection.reports.run.files import GROUP, THRESHOLD
from capsule_inspection.reports.run.maps import RunMaps, read_maps
from capsule_inspection.types import TEST, VAL, Estimate, RunError, RunFiles

if TYPE_CHECKING:
    import pandas as pd

Stored = TypeVar("Stored")
_READ = (RunFiles.PREDICTIONS, RunFiles.METRICS, RunFiles.EPOCHS, RunFiles.CONFIG)

TARGET_FPR = "threshold.target_fpr"
"""Key of config.yaml; rules of one-class models have it, since `tpr_at_fpr` is measured at it."""

MASK_POSTPROCESSING = "mask_postprocessing"
"""Field of the record with the parameters that turn probability maps into masks."""

TEMPERATURE_SCALING = "temperature_scaling"
"""Field of the record with the scaling of the logits of a classifier."""

TRAINING_OVERLAP, SELECTION_OVERLAP = "training_overlap", "selection_overlap"
"""Fields of an evaluation: how many of its images were used to train, or to select the epoch or fit
the post-processing."""


@dataclass(frozen=True)
class RunFolder:
    """The contents of a run folder; `task` and `names_defects` say what it predicts.

    `epochs` has a row for each epoch, NaN where nothing was measured, and is empty for an
    evaluation. `predictions` has a row for each image of each predicted split. `classes` are in the
    order of their class indices, and empty where there are no class probabilities. `settings` are
    those of config.yaml by dotted key, and empty where there is none.
    """

    path: Path
    record: Mapping[str, Any]
    epochs: pd.DataFrame
    predictions: pd.DataFrame
    metrics: Mapping[str, Estimate]
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    verify: bool = True
    """Whether files that are read later are compared with their checksums."""

    @property
    def task(self) -> str:
        """What decides: predicted masks (segmentation), classes, or else an anomaly score."""
        if MASK_POSTPROCESSING in self.record:
            return SEGMENTATION
        return CLASSIFICATION if self.classes else ANOMALY_DETECTION

    @property
    def names_defects(self) -> bool:
        """Whether it predicts the class of a defect, with a probability of each."""
        return bool(self.classes)

    @property
    def has_masks(self) -> bool:
        """Whether it predicts masks, which decide the class of an image."""
        return self.task == SEGMENTATION

    @property
    def score_threshold(self) -> float | None:
        """The score above which images are rejected; None where the most probable class decides."""
        known = self.predictions[THRESHOLD].dropna()
        return None if known.empty else float(known.iloc[0])

    def stages(self) -> tuple[str, ...]:
        """The splits with predictions, in the order of the file."""
        return tuple(self.predictions["split"].unique())

    @property
    def reported_stage(self) -> str:
        """The split that the page and its pictures show: test, else val, else the first one."""
        return next((of for of in (TEST, VAL, *self.stages()) if of in self.stages()), TEST)

    def images_of(self, stage: str) -> pd.DataFrame:
        """The predictions of one split, with the decisions between good and defect.

        Further columns: `is_defect`, `predicted_defect` and `correct` (the right class, or the
        right decision where defects are not named), bool; `observation`, a number for each group
        and for each image without one. Raises RunError where a score is missing or the normal class
        is unknown.
        """
        rows = self.predictions[self.predictions["split"] == stage]
        unknown = ~np.isfinite(rows["score"])
        if unknown.any():
            raise RunError(
                f"{self.path / RunFiles.PREDICTIONS}: {unknown.sum()} of {len(rows)} scores of "
                f"{stage} are missing or not finite. Evaluate the run again."
            )
        is_defect = rows["label"] != self.normal_class
        predicted_defect = rows["predicted_label"] != self.normal_class
        right_class = rows["predicted_label"] == rows["label"]
        alone = rows["index"].where(rows[GROUP] == "", -1)
        return rows.assign(
            is_defect=is_defect,
            predicted_defect=predicted_defect,
            correct=right_class if self.names_defects else predicted_defect == is_defect,
            observation=rows.groupby([rows[GROUP], alone]).ngroup(),
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of all classes, the normal one first, also without class probabilities.

        Raises RunError where neither predictions nor record name them.
        """
        known = self.classes or self.record.get("data", {}).get("classes")
        if not known:
            raise RunError(
                f"{self.path / RunFiles.RECORD}: expected data.classes, the normal one first; "
                "found none, so good images cannot be told from defects."
            )
        return tuple(map(str, known))

    @property
    def normal_class(self) -> str:
        """Name of the class without defects. Raises RunError where it is unknown."""
        return self.class_names[0]

    @property
    def mask_postprocessor(self) -> MaskPostProcessor | None:
        """The parameters of the masks; None where the record has none, RunError if unexpected."""
        return self._read_field(MASK_POSTPROCESSING, MaskPostProcessor.from_state_dict)

    @property
    def threshold(self) -> Threshold | None:
        """The threshold and its rule; None where the record has none, RunError if unexpected."""
        return self._read_field(THRESHOLD, Threshold.from_state_dict)

    @property
    def temperature_scaling(self) -> TemperatureScaling | None:
        """The scaling of logits; None where the record has none, RunError if unexpected."""
        return self._read_field(TEMPERATURE_SCALING, TemperatureScaling.from_state_dict)

    def _read_field(self, field: str, read: Callable[[Mapping[str, Any]], Stored]) -> Stored | None:
        stored = self.record.get(field)
        try:
            return None if stored is None else read(stored)
        except TypeError as error:
            raise RunError(
                f"{self.path / RunFiles.RECORD}: {field} is not as expected ({error})."
            ) from None

    @property
    def target_fpr(self) -> float | None:
        """The false-positive rate at which `tpr_at_fpr` is measured; None where it is unknown."""
        if self.has_masks:
            return DEFAULT_TARGET_FPR
        stored = self.record.get(THRESHOLD) or {}
        target = self.settings.get(TARGET_FPR, stored.get("target_fpr"))
        return None if target is None else float(target)

    @cached_property
    def maps(self) -> RunMaps | None:
        """Anomaly maps and masks of the test images, read on first access; None where not kept.

        Raises RunError where the file is damaged.
        """
        return self.read_maps()

    @cached_property
    def explanations(self) -> RunMaps | None:
        """Explanation maps of test images with a defect; None where not kept.

        Raises RunError where the file is damaged.
        """
        return self.read_maps(RunFiles.EXPLANATIONS)

    def read_maps(self, name: str = RunFiles.MAPS) -> RunMaps | None:
        """As `maps`, and not kept: those of many runs would fill the memory."""
        if self.verify:
            check_files(self.path, self.record, (name,))
        test = self.predictions[self.predictions["split"] == TEST]
        height, width = self.settings.get("data.image_size") or (None, None)
        image_size = None if height is None or width is None else (int(height), int(width))
        return read_maps(self.path / name, known=set(test["index"]), image_size=image_size)

    def has_file(self, name: str) -> bool:
        """Whether it has a file of `RunFiles`."""
        return (self.path / name).is_file()

    def image_path(self, index: int) -> Path:
        """Path of the thumbnail of an image, which may not exist."""
        return self.path / RunFiles.IMAGES / f"{index}.jpg"

    def reconstruction_path(self, index: int) -> Path:
        """Path of the thumbnail of the reconstruction of an image, which may not exist."""
        return self.path / RunFiles.IMAGES / f"{index}_reconstruction.jpg"


def read_run(folder: Path, *, verify: bool = True) -> RunFolder:
    """Read the folder of a run or of an evaluation (which has no metrics.csv).

    Where it is to `verify`, files are compared with their checksums in run.json. Raises RunError
    where the folder or one of its files is missing, damaged or not as expected.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder}: no such run folder. Give the folder that holds {RunFiles.RECORD}."
        )
    record = files.read_record(folder, verify=verify)
    if verify:
        check_files(folder, record, _READ)
    predictions, classes = files.read_predictions(folder / RunFiles.PREDICTIONS)
    files.check_predictions(folder, record, predictions)
    return RunFolder(
        path=folder,
        record=record,
        epochs=files.read_epochs(folder / RunFiles.EPOCHS),
        predictions=predictions,
        metrics=files.read_metrics(folder),
        classes=classes,
        settings=files.read_settings(folder / RunFiles.CONFIG),
        verify=verify,
    )
