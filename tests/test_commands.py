"""The console command `capsule-inspection`, which needs no clone of the repository."""

from __future__ import annotations

import pickle
import sys
import tomllib
from pathlib import Path

import pytest
from small import REPOSITORY

from capsule_inspection import commands
from capsule_inspection.config.quoting import format_command

Called = tuple[int, str, str]


@pytest.fixture
def call(
    clean_hydra: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Called:
        monkeypatch.setattr(sys, "argv", ["/bin/capsule-inspection", *arguments])
        status = commands.main()
        return status, *capsys.readouterr()

    return run


def test_commands_are_listed_with_their_purpose(call) -> None:
    status, out, err = call()
    assert (status, err) == (0, "")
    assert call("--help") == call("-h") == call("help") == (0, out, "")
    for name in commands.ACTIONS:
        assert f"\n  {name} " in out
    assert {path.stem for path in (REPOSITORY / "conf").glob("*.yaml")} == set(commands.ACTIONS)
    assert call("--version")[1].startswith("capsule-inspection ")
    assert call("train", "--version") == call("--version")


def test_an_unknown_command_is_named(call) -> None:
    for given in ("trian", "train.py"):
        status, out, err = call(given)
        assert (status, out) == (2, "")
        assert err == (
            f"error: capsule-inspection {given}: there is no such command. Did you mean train?\n"
        )


def test_commands_are_printed_in_the_form_that_was_used(
    call, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["../train.py", "resume=a b"]
    assert format_command(command) == "python ../train.py 'resume=a b'"
    for name in ("CAPSULE_PROGRAM", "CAPSULE_COMMAND"):
        monkeypatch.setenv(name, "")  # what the call sets is removed afterwards
    status, out, err = call("train", "model=resnet18,unet")
    assert (status, out) == (2, "")
    assert "needs -m: capsule-inspection train -m model=resnet18,unet ..." in err
    assert format_command(command) == "capsule-inspection train 'resume=a b'"
    assert format_command(["-m", "benchmarks.run"]) == "python -m benchmarks.run"
    assert format_command([]) == ""


def test_a_process_of_lightning_repeats_the_command_of_its_parent(
    call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("CAPSULE_COMMAND", "evaluate")
    monkeypatch.setenv("CAPSULE_PROGRAM", "")
    status, _, err = call("subset=val")
    assert (status, err) == (2, "error: run is required: add run=latest to the command line.\n")


def test_actions_reach_the_processes_of_a_sweep() -> None:
    assert pickle.loads(pickle.dumps(commands.ACTIONS)) == commands.ACTIONS


def test_a_wheel_has_the_command_and_its_configuration() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {
        "capsule-inspection": "capsule_inspection.commands:main"
    }
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"conf": "capsule_inspection/conf"}
    assert REPOSITORY / "conf" == commands.CONF  # in a clone, where the package has none
