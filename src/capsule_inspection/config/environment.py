"""Checks that torch and torchvision fit together, from their metadata, without importing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import Version

from capsule_inspection.types import InspectionError

_REMEDY = (
    "Install them together, in one command and from one index: "
    "pip install --force-reinstall torch torchvision"
)


def check_torch_versions(
    version: Callable[[str], str] = metadata.version,
    requires: Callable[[str], Iterable[str] | None] = metadata.requires,
) -> None:
    """Raise InspectionError if torch or torchvision is missing, or they do not fit together."""
    found: dict[str, Version] = {}
    for name in ("torch", "torchvision"):
        try:
            found[name] = Version(version(name))
        except metadata.PackageNotFoundError as error:
            raise InspectionError(f"{name} is not installed. {_REMEDY}") from error
    torch, torchvision = found["torch"], found["torchvision"]
    pins = [pin for pin in map(Requirement, requires("torchvision") or ()) if pin.name == "torch"]
    fits = all(pin.specifier.contains(torch.public, prereleases=True) for pin in pins)
    if not fits or (torch.local == "cpu") != (torchvision.local == "cpu"):
        built = f" (built for {', '.join(map(str, pins))})" if pins else ""
        raise InspectionError(
            f"torch {torch} and torchvision {torchvision}{built} do not fit together. {_REMEDY}"
        )
