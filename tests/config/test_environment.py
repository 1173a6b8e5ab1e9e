"""Versions of torch and torchvision that do not fit together."""

from __future__ import annotations

from importlib import metadata

import pytest

from capsule_inspection.config.environment import check_torch_versions
from capsule_inspection.types import InspectionError


def check(torch: str | None, torchvision: str | None, pin: str) -> None:
    found = {"torch": torch, "torchvision": torchvision}

    def version(name: str) -> str:
        number = found[name]
        if number is None:
            raise metadata.PackageNotFoundError(name)
        return number

    check_torch_versions(version, lambda name: ["numpy", pin])


def test_matching_versions_pass() -> None:
    check_torch_versions()  # the installed one
    check("2.15.0", "0.29.2", "torch==2.15.0")
    check("2.13.0+cpu", "0.28.0+cpu", "torch (==2.13.0)")
    check("2.15.0+cu130", "0.29.2", "torch==2.15.0")


def test_mismatched_versions_are_named_with_a_remedy() -> None:
    for torch, torchvision, pin in (
        ("2.13.0", "0.29.2", "torch==2.15.0"),
        ("2.13.0+cpu", "0.28.0", "torch==2.13.0"),
        ("2.13.0", "0.28.0+cpu", "torch==2.13.0"),
    ):
        with pytest.raises(InspectionError) as caught:
            check(torch, torchvision, pin)
        assert all(text in str(caught.value) for text in (torch, torchvision, "pip install"))
    with pytest.raises(InspectionError, match="torchvision is not installed"):
        check("2.15.0", None, "torch==2.15.0")
