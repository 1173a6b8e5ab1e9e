"""How a run was trained: which images served for what, on which machine, by which command.

From the record of a run, of which any part may be missing. Plain text; the template escapes it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports.comparison.words import duration, listed
from capsule_inspection.reports.run_folder import CHOSE, SEEN, RunFolder
from capsule_inspection.types import CALIBRATION, STAGES, TEST, TRAIN, VAL

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
    one_class = not run.classes and not run.marks_pixels
    threshold = run.threshold
    by_val = threshold is not None and threshold.rule == F1
    seen, chose = run.record.get(SEEN), run.record.get(CHOSE)
    if stage == TEST and (seen or chose):
        what = (
            f"{seen} were seen in training"
            if seen
            else f"{chose} had a part in choosing the epoch, the threshold or the decision"
        )
        return f"Measured the figures on this page; {what}: optimistic."
    if stage == TEST and run.record.get("optimistic"):
        chosen = "the best epoch" + _chosen_too(run, by_val=by_val)
        return f"Measured the figures on this page, and, which is optimistic, chose {chosen}"
    return {
        TRAIN: "The model learned from them" + (": good ones only." if one_class else "."),
        VAL: "Chose the best epoch" + _chosen_too(run, by_val=by_val),
        CALIBRATION: "Good ones kept for a threshold, and not used: labelled defects set it."
        if by_val
        else "Good ones that set the threshold, and nothing else.",
        TEST: "Measured the figures on this page; nothing was learned from or chosen on them.",
    }[stage]


def _chosen_too(run: RunFolder, *, by_val: bool) -> str:
    """What the validation images chose beside the epoch."""
    if run.marks_pixels:
        return ", from which probability on a pixel counts, and how large a region must be."
    if run.temperature_scaling is not None:
        return ", and how sure the model may be."
    return " and, with its defects, the threshold." if by_val else "."


def facts(run: RunFolder) -> list[str]:
    """What else is known of the training, a sentence each."""
    record = run.record
    told = [
        _CORRUPTIONS.get(str(record.get("corruption")), ""),
        _mixed(run),
        _began(record),
        _epochs(record),
        _scaled(run),
        _machine(_mapping(record.get("hardware"))),
        f"Seed {record['seed']}." if "seed" in record else "",
        f"An evaluation of the run {record['run']}." if "run" in record else "",
    ]
    return [sentence for sentence in told if sentence]


def _mixed(run: RunFolder) -> str:
    """Of what a run that marks pixels learned; "" where it is not known."""
    asked = {
        "good ones with a painted defect": run.settings.get("data.painted"),
        "good ones with a defect of another image pasted in": run.settings.get("data.pasted"),
        "real defects": run.settings.get("task.defects"),
    }
    known = {what: share for what, share in asked.items() if isinstance(share, int | float)}
    if not run.marks_pixels or len(known) < len(asked):
        return ""
    known["good ones as they are"] = 1 - sum(known.values())
    told = [f"{round(100 * share)} {what}" for what, share in known.items() if round(100 * share)]
    return f"Of 100 images that it was shown, there were {listed(told)}."


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


def _scaled(run: RunFolder) -> str:
    """What was done to a classifier's answers after its training."""
    scaling = run.temperature_scaling
    if scaling is None:
        return ""
    change = "raised" if scaling.good_shift >= 0 else "lowered"
    return (
        f"Its logits are divided by {scaling.temperature:.2f}, and that of “{run.good}” is "
        f"{change} by {abs(scaling.good_shift):.2f}, as {scaling.images} validation images showed "
        "to be right."
    )


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
