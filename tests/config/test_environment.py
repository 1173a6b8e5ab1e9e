"""A pair of torch and torchvision that does not fit is told in one sentence."""

from __future__ import annotations

from importlib import metadata

import pytest

from capsule_inspection.config.environment import check_torch_pair
from capsule_inspection.types import InspectionError


def check(torch: str | None, torchvision: str | None, pin: str) -> None:
    found = {"torch": torch, "torchvision": torchvision}

    def version(name: str) -> str:
        number = found[name]
        if number is None:
            raise metadata.PackageNotFoundError(name)
        return number

    check_torch_pair(version, lambda name: ["numpy", pin])


def test_a_matching_pair_passes() -> None:
    check_torch_pair()  # the installed one
    check("2.15.0", "0.29.2", "torch==2.15.0")
    check("2.13.0+cpu", "0.28.0+cpu", "torch (==2.13.0)")
    check("2.15.0+cu130", "0.29.2", "torch==2.15.0")


def test_a_misfit_names_both_versions_and_the_remedy() -> None:
    for torch, torchvision, pin in (
        ("2.13.0", "0.29.2", "torch==2.15.0"),
        ("2.13.0+cpu", "0.28.0", "torch==2.13.0"),
        ("2.13.0", "0.28.0+cpu", "torch==2.13.0"),
    ):
        with pytest.raises(InspectionError) as caught:
            check(torch, torchvision, pin)
        assert all(text in str(caught.value) for text in (torch, torchvision, "pip install"))
    with pytest.raises(InspectionError, match="torchvision not installed"):
        check("2.15.0", None, "torch==2.15.0")
