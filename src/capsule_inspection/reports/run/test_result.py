"""The test result of a model in two rates, for whoever predicts with it.

Read from a finished run; stored as plain values in the metadata of an exported model, which may
come from elsewhere. Its numbers are those of the run's page.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from capsule_inspection.integrity import check_files, check_size
from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.stored_values import from_stored
from capsule_inspection.metrics.thresholds import operating_points
from capsule_inspection.reports.formatting import format_limits, format_percent
from capsule_inspection.reports.run import files
from capsule_inspection.reports.run.files import GROUP, PROBABILITY
from capsule_inspection.reports.run.run_folder import (
    MASK_POSTPROCESSING,
    SELECTION_OVERLAP,
    TRAINING_OVERLAP,
)
from capsule_inspection.reports.run.usability import UNUSABLE, rate_usability, verdict_of
from capsule_inspection.types import (
    ARGMAX,
    GOOD_LABEL,
    SPLITS,
    TEST,
    VAL,
    Estimate,
    RunError,
    RunFiles,
)

log = logging.getLogger(__name__)

NO_RESULT = "This model has no test result: how many defects it misses is not known."
_NOT_TESTED = "It was not tested; on its validation images"
_MAX_IMAGES = 20_000
"""Scores of more images are not kept: metadata stays small."""


@dataclass(frozen=True)
class ErrorRate(Estimate):
    """Wrong decisions among the images of one side; n is the number of groups of these images."""

    images: int

    @property
    def wrong(self) -> int:
        """The number of images that are decided wrongly."""
        return round(self.value * self.images)

    def describe(self, what: str) -> str:
        """`24 of 100 defects (24%, 95% interval 16% to 33%)`."""
        text = f"{self.wrong} of {self.images} {what} ({format_percent(self.value)}"
        if self.ci_low is not None:
            text += f", 95% interval {format_limits(self.ci_low, self.ci_high, format_percent)}"
        return text + (f", {self.n} parts)" if self.n < self.images else ")")


@dataclass(frozen=True)
class ScoredImages:
    """The tested images, where one score decides; images of one part have the same group.

    `argmax_defect`, whether the most probable class is a defect, is empty where there are no
    probabilities of classes.
    """

    is_defect: tuple[bool, ...]
    score: tuple[float, ...]
    group: tuple[int, ...]
    argmax_defect: tuple[bool, ...]

    @property
    def is_valid(self) -> bool:
        count = len(self.score)
        known = len(self.is_defect) == len(self.group) == count
        return known and 0 < count <= _MAX_IMAGES and len(self.argmax_defect) in (0, count)

    def rates(self, threshold: float | str) -> tuple[ErrorRate | None, ErrorRate | None]:
        """The missed defects and the rejected good images at a threshold, or by argmax."""
        point = operating_points(
            np.array(self.is_defect),
            np.array(self.score),
            np.array(self.group),
            chosen=None if threshold == ARGMAX else float(threshold),
            argmax_defect=np.array(self.argmax_defect) if self.argmax_defect else None,
            rates=(),
        )[0]
        defects = sum(self.is_defect)
        return (
            _of_images(point.missed, defects),
            _of_images(point.rejected, len(self.score) - defects),
        )


@dataclass(frozen=True)
class TestResult:
    """How many defects a model missed and how many good parts it rejected, by its own decision.

    `stage` is test, or val where there were no test images. A rate is None where there were no such
    images. `optimistic`: the images took part in training or in choices. `scored` is None where no
    single score decides, as with masks. `threshold` is the given one of `at`, None for the own.
    `is_quantized`: the model was quantized to int8 after its test.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    stage: str
    optimistic: bool
    missed: ErrorRate | None
    rejected: ErrorRate | None
    auroc: Estimate | None = None
    scored: ScoredImages | None = None
    threshold: float | str | None = None
    is_quantized: bool = False

    def at(self, threshold: float | str) -> TestResult | None:
        """The result at another threshold, or by argmax; None where that is not known."""
        scored = self.scored
        if scored is None or (threshold == ARGMAX and not scored.argmax_defect):
            return None
        missed, rejected = scored.rates(threshold)
        return replace(self, missed=missed, rejected=rejected, threshold=threshold)

    @property
    def metrics(self) -> dict[str, Estimate]:
        """The estimates by the names of their metrics, as far as they are known."""
        rates = {
            names.FALSE_NEGATIVE_RATE: self.missed,
            names.FALSE_POSITIVE_RATE: self.rejected,
            names.AUROC: self.auroc,
        }
        return {name: rate for name, rate in rates.items() if rate is not None}

    @property
    def verdict(self) -> str:
        """Part of a sentence: `not shown to be usable: it is not distinguishable from guessing`."""
        return verdict_of(self.metrics)

    @property
    def is_usable(self) -> bool:
        """False where the result is no better than a guess, or too bad for a pre-sort."""
        return rate_usability(self.metrics) not in UNUSABLE

    def sentence(self) -> str:
        """The result with its limits, one to three sentences."""
        found = []
        if self.missed is not None:
            found.append("missed " + self.missed.describe("defects"))
        if self.rejected is not None:
            found.append("rejected " + self.rejected.describe("good parts"))
        if not found:
            return NO_RESULT
        start = "In its test" if self.stage == TEST else _NOT_TESTED
        at = "" if self.threshold is None else f", at threshold={self.threshold},"
        text = f"{start}{at} it {' and '.join(found)}."
        if self.missed is None:
            text += " No defect was tested, so how many it misses is unknown."
        if self.rejected is None:
            text += " No good part was tested, so how many it rejects is unknown."
        if self.optimistic or self.stage != TEST:
            text += " Choices were made on these images: expect worse."
        if self.is_quantized:
            text += " That is before it was quantized to int8, which may change predictions."
        return text if self.is_usable else f"{text} Verdict: {self.verdict}."

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for `stored_result`."""
        return asdict(self)

    def __post_init__(self) -> None:
        """Raise ValueError where a value is none that a run has."""
        rates = [rate for rate in (self.missed, self.rejected) if rate is not None]
        is_valid = {
            "stage": self.stage in SPLITS,
            "counts": all(of.n <= of.images for of in rates),
            "rates": all(
                0 <= (of.ci_low or 0) <= of.value <= (1 if of.ci_high is None else of.ci_high) <= 1
                for of in self.metrics.values()
            ),
            "scored": self.scored is None or self.scored.is_valid,
            "threshold": not isinstance(self.threshold, str) or self.threshold == ARGMAX,
        }
        if wrong := [name for name, valid in is_valid.items() if not valid]:
            raise ValueError(f"{', '.join(wrong)} not as expected")


def describe_result(result: TestResult | None) -> str:
    """The sentence on a model's test, also where there is no result."""
    return NO_RESULT if result is None else result.sentence()


def stored_result(run: Mapping[str, Any], *, where: str) -> TestResult | None:
    """The result in `ModelMetadata.run`, None where it has none. Raises RunError if unexpected."""
    stored = run.get("test")
    if stored is None:
        return None
    try:
        result = from_stored(TestResult, stored)
    except (TypeError, ValueError) as error:
        raise RunError(
            f"{where}: expected the test result of the model, found something else ({error}). "
            "Export the run again."
        ) from error
    return replace(result, is_quantized=bool(run.get("int8")))


def read_test_result(folder: Path, *, verify: bool = True) -> TestResult | None:
    """The result of a finished run, on its test images, else on its validation images.

    None, with a warning, where metrics or predictions are missing or damaged.
    """
    try:
        return _read(folder, verify=verify)
    except (RunError, OSError, LookupError, TypeError, ValueError, csv.Error) as error:
        log.warning("The test result of the model cannot be read: %s", error)
        return None


def _read(folder: Path, *, verify: bool) -> TestResult | None:
    # With csv: pandas would take as long to import as an image to predict.
    record = files.read_record(folder, verify=verify)
    if verify:
        check_files(folder, record, (RunFiles.METRICS, RunFiles.PREDICTIONS))
    table = folder / RunFiles.PREDICTIONS
    check_size(table)
    with table.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), reader.fieldnames or ()
    stages = {row["split"] for row in rows}
    stage = next((stage for stage in (TEST, VAL) if stage in stages), None)
    if stage is None:
        return None
    rows = [row for row in rows if row["split"] == stage]
    probabilities = [name for name in columns if name.startswith(PROBABILITY)]
    classes = [name.removeprefix(PROBABILITY) for name in probabilities]
    good = (classes or record["data"]["classes"])[GOOD_LABEL]
    is_defect = [row["label"] != good for row in rows]
    metrics = names.metrics_of_stage(files.read_metrics(folder), stage)
    fields = "optimistic", TRAINING_OVERLAP, SELECTION_OVERLAP
    decides_by_score = MASK_POSTPROCESSING not in record and len(rows) <= _MAX_IMAGES
    return TestResult(
        stage,
        any(record.get(field) for field in fields),
        _of_images(metrics.get(names.FALSE_NEGATIVE_RATE), is_defect.count(True)),
        _of_images(metrics.get(names.FALSE_POSITIVE_RATE), is_defect.count(False)),
        metrics.get(names.AUROC),
        _scored(rows, is_defect, probabilities) if decides_by_score else None,
    )


def _scored(
    rows: list[dict[str, str]], is_defect: list[bool], probabilities: list[str]
) -> ScoredImages:
    parts = np.array([row.get(GROUP) or f"\0{row['index']}" for row in rows])
    good = probabilities[GOOD_LABEL] if probabilities else ""
    best = (max(probabilities, key=lambda name: float(row[name])) for row in rows)
    return ScoredImages(
        tuple(is_defect),
        tuple(float(row["score"]) for row in rows),
        tuple(intervals.group_numbers(parts, len(parts)).tolist()),
        tuple(name != good for name in best) if probabilities else (),
    )


def _of_images(rate: Estimate | None, images: int) -> ErrorRate | None:
    return None if rate is None else ErrorRate(**asdict(rate), images=images)
