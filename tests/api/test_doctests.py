"""The examples in the docstrings of the API, in a folder that has what they name."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import pytest

from capsule_inspection import load_model
from capsule_inspection.api import model, runs


@pytest.mark.parametrize(("module", "count"), [(model, 3), (runs, 3)])
def test_examples_print_what_the_docstrings_show(
    module: object, count: int, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_home / "bottle", "bottle")
    shutil.copytree(finished_home / "run", "outputs/classification/custom_resnet/example")
    Path("images").mkdir()
    for name in ("crack", "poke"):
        shutil.copy(f"bottle/test/{name}/000.png", f"images/{name}.png")
    used = {"model": load_model(finished_home / "run", threads=1)}
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(tests) == count
    for test in tests:
        test.globs.update(used)
        runner = doctest.DocTestRunner()
        assert runner.run(test).failed == 0
