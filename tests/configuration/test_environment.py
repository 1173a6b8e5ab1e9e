"""A pair of torch and torchvision that does not fit is told in one sentence."""

from __future__ import annotations

from importlib import metadata

import pytest

from capsule_inspection.configuration.environment import check_torch_pair
from capsule_inspection.contracts import InspectionError


def check(torch: str | None, torchvision: str | None, pin: str) -> None:
    found = {"torch": torch, "torchvision": torchvision}

    def version(name: str) -> str:
        number = found[name]
        if number is None:
            raise metadata.PackageNotFoundError(name)
        return number

    check_torch_pair(version, lambda name: ["numpy", pin])


def test_the_installed_pair_fits() -> None:
    check_torch_pair()


def test_a_matching_pair_passes() -> None:
    check("2.15.0", "0.29.2", "torch==2.15.0")
    check("2.13.0+cpu", "0.28.0+cpu", "torch (==2.13.0)")
    check("2.15.0+cu130", "0.29.2", "torch==2.15.0")


@pytest.mark.parametrize(
    ("torch", "torchvision", "pin"),
    [
        ("2.13.0", "0.29.2", "torch==2.15.0"),
        ("2.13.0+cpu", "0.28.0", "torch==2.13.0"),
        ("2.13.0", "0.28.0+cpu", "torch==2.13.0"),
    ],
)
def test_a_misfit_names_both_versions_and_the_remedy(
    torch: str, torchvision: str, pin: str
) -> None:
    with pytest.raises(InspectionError) as caught:
        check(torch, torchvision, pin)
    message = str(caught.value)
    assert torch in message
    assert torchvision in message
    assert "pip install" in message


def test_a_missing_torchvision_is_named() -> None:
    with pytest.raises(InspectionError, match="torchvision not installed"):
        check("2.15.0", None, "torch==2.15.0")
