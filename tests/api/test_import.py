"""The names of the API are there without the imports that they need."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import pytest

import capsule_inspection

CODE = """
import sys
import capsule_inspection
print(sorted({"torch", "hydra", "numpy", "matplotlib"} & {*sys.modules}))
print({*capsule_inspection.__all__} <= {*dir(capsule_inspection)})
from capsule_inspection import *
print(callable(load_model), sorted({"torch", "lightning", "pandas"} & {*sys.modules}))
"""


def test_names_are_listed_before_anything_large_is_imported() -> None:
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True", "True []"]


def test_every_name_has_a_docstring_and_functions_have_types() -> None:
    for name in capsule_inspection.__all__:
        found = getattr(capsule_inspection, name)
        assert inspect.getdoc(found), name
        if inspect.isfunction(found):
            assert "return" in typing.get_type_hints(found, localns={"Model": object}), name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fit'"):
        capsule_inspection.fit  # type: ignore[attr-defined]  # noqa: B018
