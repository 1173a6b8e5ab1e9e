"""The six doors as they are called from a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small import REPOSITORY, Answer

NEEDED = {
    "evaluate": "run is needed",
    "predict": "input, run are needed",
    "compare": "runs is needed",
    "export": "run is needed",
}
"""What a door says that is called without what it cannot do without."""


def call(name: str, *arguments: str, folder: Path) -> Answer:
    """`python <name>.py <arguments>`, from another folder than the repository's."""
    command = [sys.executable, str(REPOSITORY / f"{name}.py"), *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_every_script_is_a_door_with_a_configuration() -> None:
    names = {path.stem for path in REPOSITORY.glob("*.py")}
    assert names == {path.stem for path in (REPOSITORY / "conf").glob("*.yaml")}
    assert names == {"train", "app", *NEEDED}


@pytest.mark.parametrize("name", ["train", "app", *NEEDED])
def test_each_door_says_what_it_is_for(name: str, tmp_path: Path) -> None:
    answer = call(name, "--help", folder=tmp_path)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"Configuration of `python {name}.py`: ")


@pytest.mark.parametrize(("name", "expected"), NEEDED.items())
def test_each_door_says_what_it_needs(name: str, expected: str, tmp_path: Path) -> None:
    answer = call(name, folder=tmp_path)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {expected}: say ")
    assert len(answer.err.splitlines()) == 1
