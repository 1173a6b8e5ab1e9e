"""Description of the machine, and the file of its results."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measurements import Measurement, is_met
from benchmarks.sizes import REPOSITORY, WORK_FOLDER
from capsule_inspection.files import atomic_write_text
from capsule_inspection.workflows import hardware
from capsule_inspection.workflows.record import git_commit, installed_versions


def results_path() -> Path:
    """outputs/benchmarks/<date>_<machine>.json; results of one day are appended to it."""
    name = re.sub(r"[^A-Za-z0-9-]+", "-", platform.node()).strip("-") or "machine"
    return WORK_FOLDER / f"{datetime.now(UTC):%Y-%m-%d}_{name}.json"


def append_results(
    file: Path, subject: str, measurements: Sequence[Measurement], *, quick: bool
) -> None:
    """Add the measurements of a subject to the file, with the machine and versions."""
    entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    entry = {
        "subject": subject,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": describe_environment(),
        "rows": [{**asdict(one), "value": one.value, "met": is_met(one)} for one in measurements],
    }
    atomic_write_text(file, json.dumps([*entries, entry], indent=1) + "\n")


def describe_environment() -> dict[str, Any]:
    """Hardware and versions, as plain values."""
    runtime = hardware.RuntimeConfig("cpu", "32-true", True, hardware.available_cores())
    described = hardware.describe_hardware(runtime)
    keys = ("processor", "cores", "gpus", "platform", "capability")
    return {
        **{key: described[key] for key in keys},
        "bf16": hardware.supports_bf16("cpu"),
        "commit": git_commit(REPOSITORY),
        "versions": installed_versions(),
    }


def describe_machine() -> str:
    """The machine in one line."""
    found = describe_environment()
    bf16 = "in hardware" if found["bf16"] else "not in hardware: trained in float32"
    gpus = ", ".join(found["gpus"]) or "none"
    return (
        f"{found['processor'].strip()}, {found['cores']} cores, bfloat16 {bf16}; GPU: {gpus}; "
        f"torch {found['versions']['torch']}"
    )
