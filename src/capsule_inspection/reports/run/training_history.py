"""Facts of the training of a run; the sentences stand in templates/run_text.j2.

From the record and the settings of a run, of which any field may be missing.
"""

from __future__ import annotations

import shlex
from typing import Any

from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import CALIBRATION, TEST, TRAIN, VAL

_MIXTURE = ("synthetic_defects", "copy_paste", "real_defects")


def count_splits(run: RunFolder) -> dict[str, int]:
    """Number of images of each split that has some."""
    counts = as_mapping(as_mapping(run.record.get("data")).get("images"))
    return {stage: counts[stage] for stage in (TRAIN, VAL, CALIBRATION, TEST) if counts.get(stage)}


def find_mixture(run: RunFolder) -> dict[str, int]:
    """Kinds of 100 training images of a segmentation model; empty where they are unknown.

    The keys are those of `data`, and `unchanged` for the other good images.
    """
    known = {key: run.settings.get(f"data.{key}") for key in _MIXTURE}
    fractions = {key: of for key, of in known.items() if isinstance(of, int | float)}
    if not run.has_masks or len(fractions) < len(_MIXTURE):
        return {}
    fractions["unchanged"] = 1 - sum(fractions.values())
    return {key: count for key, of in fractions.items() if (count := round(100 * of))}


def list_hardware(run: RunFolder) -> list[str]:
    """What it was trained on."""
    hardware = as_mapping(run.record.get("hardware"))
    return [str(hardware[key]) for key in ("device", "gpu", "processor") if hardware.get(key)]


def format_command(run: RunFolder) -> str:
    """The command that repeats the training, for a shell; "" where it is unknown."""
    stored = run.record.get("command")
    if not isinstance(stored, list) or not stored:
        return ""
    return " ".join(["python", *(_quote(str(argument)) for argument in stored)])


def _quote(argument: str) -> str:
    """Quoted for a shell; Hydra's own quotes stay readable."""
    if "'" in argument and not set(argument) & set('"$`\\!'):
        return f'"{argument}"'
    return shlex.quote(argument)


def as_mapping(value: object) -> dict[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}
