"""How a run was trained: which images served for what, on which machine, by which command.

From the record of a run, of which any part may be missing. Plain text; the template escapes it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from capsule_inspection.contracts import CALIBRATION, STAGES, TEST, TRAIN, VAL
from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports.comparison.words import duration
from capsule_inspection.reports.run_folder import RunFolder

_CORRUPTIONS = {
    "painted": "Defects were painted onto the good images, and the model learned to remove them.",
    "noise": "Noise was put onto the good images, and the model learned to remove it.",
    "cutout": "Pieces were cut out of the good images, and the model learned to fill them.",
    "none": "The model learned to draw the good images again as they are.",
}
_WEIGHTS = {
    "random": "began from random weights",
    "imagenet": "began from weights that were trained on ImageNet",
    "painted": "began from weights that were trained on drawn capsules",
    "file": "began from the weights of a file",
}


@dataclass(frozen=True)
class Part:
    """One part of the images, and what it was for."""

    name: str
    images: str
    purpose: str


def parts(run: RunFolder) -> list[Part]:
    """The parts of the images, in the order in which they served."""
    counts = _mapping(run.record.get("data")).get("images")
    order = (TRAIN, VAL, CALIBRATION, TEST)
    assert set(order) == set(STAGES)
    return [
        Part(stage, str(_mapping(counts)[stage]), _purpose(run, stage))
        for stage in order
        if _mapping(counts).get(stage)
    ]


def _purpose(run: RunFolder, stage: str) -> str:
    one_class = not run.classes
    threshold = run.threshold
    by_val = threshold is not None and threshold.rule == F1
    if stage == TEST and run.record.get("optimistic"):
        return "Measured the figures on this page, and chose the best epoch too: optimistic."
    return {
        TRAIN: "The model learned from them" + (": good ones only." if one_class else "."),
        VAL: "Chose the best epoch" + (" and, with its defects, the threshold." if by_val else "."),
        CALIBRATION: "Good ones kept for a threshold, and not used: labelled defects set it."
        if by_val
        else "Good ones that set the threshold, and nothing else.",
        TEST: "Measured the figures on this page; nothing was learned from or chosen on them.",
    }[stage]


def facts(run: RunFolder) -> list[str]:
    """What else is known of the training, a sentence each."""
    record = run.record
    told = [
        _CORRUPTIONS.get(str(record.get("corruption")), ""),
        _began(record),
        _epochs(record),
        _machine(_mapping(record.get("hardware"))),
        f"Seed {record['seed']}." if "seed" in record else "",
        f"An evaluation of the run {record['run']}." if "run" in record else "",
    ]
    return [sentence for sentence in told if sentence]


def _began(record: Any) -> str:
    source = str(_mapping(record.get("weights")).get("source", ""))
    if not source:
        return ""
    return f"The model {record.get('model', '')} {_WEIGHTS.get(source, f'began from {source}')}."


def _epochs(record: Any) -> str:
    seconds, epochs, best = (record.get(k) for k in ("training_time_s", "epochs", "best_epoch"))
    if not isinstance(epochs, int) or not isinstance(seconds, int | float):
        return ""
    chosen = "" if best is None else f"; epoch {best} was the best (the first is 0)"
    return f"{epochs} epochs in {duration(seconds)}{chosen}."


def _machine(hardware: dict[str, Any]) -> str:
    named = [str(hardware[key]) for key in ("device", "gpu", "processor") if hardware.get(key)]
    return f"Trained on {', '.join(named)}." if named else ""


def command(run: RunFolder) -> str:
    """What to type to train it again; "" where it is not known."""
    stored = run.record.get("command")
    if not isinstance(stored, list) or not stored:
        return ""
    return shlex.join(["python", *map(str, stored)])


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
