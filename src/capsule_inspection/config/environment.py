"""Do torch and torchvision fit together? Asked of their metadata, without importing them."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata

from capsule_inspection.types import InspectionError

REMEDY = (
    "Install them together, in one command and from one index: "
    "pip install --force-reinstall torch torchvision"
)


def check_torch_pair(
    version: Callable[[str], str] = metadata.version,
    requires: Callable[[str], list[str] | None] = metadata.requires,
) -> None:
    """Raise InspectionError where torch and torchvision are missing or do not fit."""
    found = {name: _version(version, name) for name in ("torch", "torchvision")}
    missing = [name for name, number in found.items() if number is None]
    if missing:
        raise InspectionError(f"{' and '.join(missing)} not installed. {REMEDY}")
    torch, torchvision = str(found["torch"]), str(found["torchvision"])
    wanted = _wanted_torch(requires("torchvision") or [])
    fits = wanted is None or torch.partition("+")[0] == wanted.partition("+")[0]
    if not fits or _is_cpu_only(torch) != _is_cpu_only(torchvision):
        raise InspectionError(misfit(torch, torchvision, wanted))


def misfit(torch: str, torchvision: str, wanted: str | None = None) -> str:
    """One sentence for a pair that does not fit."""
    built = f" (built for torch {wanted})" if wanted else ""
    return f"torch {torch} and torchvision {torchvision}{built} do not fit together. {REMEDY}"


def _version(version: Callable[[str], str], name: str) -> str | None:
    try:
        return version(name)
    except metadata.PackageNotFoundError:
        return None


def _wanted_torch(requirements: list[str]) -> str | None:
    """What torchvision pins, as in `torch==2.15.0` or `torch (==2.15.0)`."""
    for requirement in requirements:
        found = re.match(r"torch\s*\(?==\s*([0-9][^\s;)]*)", requirement)
        if found:
            return found[1]
    return None


def _is_cpu_only(version: str) -> bool:
    return version.endswith("+cpu")
