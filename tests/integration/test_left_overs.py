"""A command that fails leaves no run folder; tests/config/test_left_overs.py has what is kept."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from quick import QUICK, check_error
from small import Cli

from capsule_inspection.workflows import training_images

FAILURES = {
    "evaluate subset=calibration output=a/b": "no calibration images",
    "evaluate data=folder data.root=nosuch split=test_only": "nosuch",
    "evaluate split=auto": "only for train.py",
    "predict input=nosuch output=a/b": "input=nosuch",
    "predict input=empty": "expected images",
    "compare runs=[nosuch] output=a/b": "nosuch",
    "compare runs=[empty]": "found neither",
    "export format=onnx data.root=nosuch output=a/b": "nosuch",
    "convert input=empty output=a/b/c": "empty",
    "train data=mvtec data.root=empty": "empty",
    "train -m model=typo,resnet18": "model=typo",
    "train model.weights=nosuch.safetensors": "nosuch.safetensors",
}


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("command", FAILURES)
def test_a_refused_command_leaves_no_folder(
    cli: Cli, finished: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "empty").mkdir()
    before = names_below(tmp_path)
    name, *settings = command.split()
    if name in ("evaluate", "predict", "export"):
        settings.append(f"run={finished}")
    result = cli(name, *settings)
    assert FAILURES[command] in result.err
    assert result.status in (1, 2)
    assert names_below(tmp_path) == before


def test_sigterm_ends_a_command_as_ctrl_c_does(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(training_images, "find_images", terminate)
    result = cli("train", "data.root=x", f"hydra.run.dir={tmp_path / 'runs' / 'first'}")
    check_error(result, "Interrupted", status=130)
    assert names_below(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("what", ["interruption", "full disk"])
def test_a_training_that_ends_before_its_first_epoch_leaves_no_folder(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def fill(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if what == "full disk":
        monkeypatch.setattr(torch, "save", fill)
    else:
        monkeypatch.setattr(L.LightningModule, "on_train_epoch_start", interrupt)
    data = ["data=mvtec", f"data.root={finished_home / 'bottle'}"]
    place = f"hydra.run.dir={tmp_path / 'runs' / 'first'}"
    result = cli("train", *QUICK, *data, place)
    check_error(
        result,
        {"full disk": "disk is full", "interruption": "Interrupted"}[what],
        status={"full disk": 1, "interruption": 130}[what],
    )
    assert "resume=" not in result.err + result.out
    assert not (tmp_path / "runs").exists()
