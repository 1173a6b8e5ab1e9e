"""The training of a run: splits, initial weights, epochs, hardware and command.

Plain text, from the record of a run, of which any field may be missing.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from capsule_inspection.metrics.thresholds import F1
from capsule_inspection.reports.formatting import format_duration, format_list
from capsule_inspection.reports.run.run_folder import SELECTION_OVERLAP, TRAINING_OVERLAP, RunFolder
from capsule_inspection.types import CALIBRATION, SPLITS, TEST, TRAIN, VAL

_CORRUPTIONS = {
    "synthetic_defects": "The model learned to remove synthetic defects from good images.",
    "noise": "The model learned to remove noise from good images.",
    "cutout": "The model learned to fill cut-out regions of good images.",
    "none": "The model learned to reconstruct good images without corruption.",
}
_WEIGHTS = {
    "random": "began from random weights",
    "imagenet": "began from weights that were trained on ImageNet",
    "synthetic": "began from weights that were trained on synthetic capsules",
    "file": "began from the weights of a file",
}


@dataclass(frozen=True)
class Split:
    """One split, and its purpose."""

    name: str
    images: str
    purpose: str


def list_splits(run: RunFolder) -> list[Split]:
    """The splits with their numbers of images."""
    counts = _mapping(run.record.get("data")).get("images")
    order = (TRAIN, VAL, CALIBRATION, TEST)
    assert set(order) == set(SPLITS)
    return [
        Split(stage, str(_mapping(counts)[stage]), _describe_purpose(run, stage))
        for stage in order
        if _mapping(counts).get(stage)
    ]


def _describe_purpose(run: RunFolder, stage: str) -> str:
    is_one_class = not run.classes and not run.has_masks
    threshold = run.threshold
    is_fitted_on_val = threshold is not None and threshold.rule == F1
    trained, selected = run.record.get(TRAINING_OVERLAP), run.record.get(SELECTION_OVERLAP)
    if stage == TEST and (trained or selected):
        overlap = (
            f"{trained} were used for training"
            if trained
            else f"{selected} were used to select the epoch or to fit the post-processing"
        )
        return f"Measured the metrics on this page; {overlap}: optimistic."
    if stage == TEST and run.record.get("optimistic"):
        chosen = "the best epoch" + _describe_selection(run, is_fitted_on_val=is_fitted_on_val)
        return f"Measured the metrics on this page, and, which is optimistic, selected {chosen}"
    return {
        TRAIN: "The model learned from them" + (": good ones only." if is_one_class else "."),
        VAL: "Selected the best epoch"
        + _describe_selection(run, is_fitted_on_val=is_fitted_on_val),
        CALIBRATION: "Good images for the threshold, unused: it was fitted with labelled defects."
        if is_fitted_on_val
        else "Good images that set the threshold, and nothing else.",
        TEST: "Measured the metrics on this page, and nothing else.",
    }[stage]


def _describe_selection(run: RunFolder, *, is_fitted_on_val: bool) -> str:
    """What else the validation images determined."""
    if run.has_masks:
        return ", and fitted thresholds and smallest area of the masks."
    if run.temperature_scaling is not None:
        return ", and fitted the temperature of the probabilities."
    return " and, with its defects, fitted the threshold." if is_fitted_on_val else "."


def list_facts(run: RunFolder) -> list[str]:
    """Other facts of the training, a sentence each."""
    record = run.record
    sentences = [
        _CORRUPTIONS.get(str(record.get("corruption")), ""),
        _describe_mixture(run),
        _describe_weights(record),
        _describe_epochs(record),
        _describe_scaling(run),
        _describe_hardware(_mapping(record.get("hardware"))),
        f"Seed {record['seed']}." if "seed" in record else "",
        f"An evaluation of the run {record['run']}." if "run" in record else "",
    ]
    return [sentence for sentence in sentences if sentence]


def _describe_mixture(run: RunFolder) -> str:
    """The mixture of images in the training of a segmentation model; "" where it is unknown."""
    settings = {
        "good ones with a synthetic defect": run.settings.get("data.synthetic_defects"),
        "good ones with a defect copied from another image": run.settings.get("data.copy_paste"),
        "real defects": run.settings.get("data.real_defects"),
    }
    known = {label: value for label, value in settings.items() if isinstance(value, int | float)}
    if not run.has_masks or len(known) < len(settings):
        return ""
    known["unchanged good ones"] = 1 - sum(known.values())
    counts = {label: round(100 * fraction) for label, fraction in known.items()}
    listed = format_list([f"{count} {label}" for label, count in counts.items() if count])
    return f"Of 100 training images, there were {listed}."


def _describe_weights(record: Any) -> str:
    source = str(_mapping(record.get("weights")).get("source", ""))
    if not source:
        return ""
    return f"The model {record.get('model', '')} {_WEIGHTS.get(source, f'began from {source}')}."


def _describe_epochs(record: Any) -> str:
    seconds, epochs, best = (record.get(k) for k in ("training_time_s", "epochs", "best_epoch"))
    if not isinstance(epochs, int) or not isinstance(seconds, int | float):
        return ""
    chosen = "" if best is None else f"; epoch {best} was the best (the first is 0)"
    return f"{epochs} epochs in {format_duration(seconds)}{chosen}."


def _describe_scaling(run: RunFolder) -> str:
    """The temperature scaling of a classifier."""
    scaling = run.temperature_scaling
    if scaling is None:
        return ""
    change = "raised" if scaling.good_shift >= 0 else "lowered"
    return (
        f"Its logits are divided by {scaling.temperature:.2f}, and that of “{run.normal_class}” is "
        f"{change} by {abs(scaling.good_shift):.2f}, as fitted on {scaling.images} validation "
        "images."
    )


def _describe_hardware(hardware: dict[str, Any]) -> str:
    named = [str(hardware[key]) for key in ("device", "gpu", "processor") if hardware.get(key)]
    return f"Trained on {', '.join(named)}." if named else ""


def format_command(run: RunFolder) -> str:
    """The command to train it again; "" where it is unknown."""
    stored = run.record.get("command")
    if not isinstance(stored, list) or not stored:
        return ""
    return shlex.join(["python", *map(str, stored)])


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
