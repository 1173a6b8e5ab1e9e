"""A run folder whose configuration holds more than settings is refused by each command."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from quick import check_error
from small import Cli

from capsule_inspection.types import RunError
from capsule_inspection.workflows.load_run import load_run


def change(run: Path, **settings: object) -> None:
    path = run / "config.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    values["model"] |= settings
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def test_code_in_a_configuration_is_refused_by_each_command_and_not_run(
    cli: Cli, finished: Path, finished_home: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    code = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "0": "x"}}
    change(finished, dropout={"_target_": "os.system", "command": f"touch {canary}", "x": code})
    images = f"input={finished_home / 'bottle'}"
    for command, *arguments in (
        ("predict", f"run={finished}", images, f"output={tmp_path / 'd'}", "verify=skip"),
        ("evaluate", f"run={finished}", f"output={tmp_path / 'a'}", "verify=skip"),
        ("export", f"run={finished}", f"output={tmp_path / 'b'}", "verify=skip"),
        ("compare", f"runs=[{finished}]", f"output={tmp_path / 'c'}", "verify=skip"),
        ("train", f"resume={finished}", "task.epochs=9"),
    ):
        result = cli(command, *arguments)
        check_error(result, "config.yaml: expected the plain settings of a run: model.dropout._tar")
        assert "Traceback" not in result.err
    assert not canary.exists()


def test_a_network_far_larger_than_its_checkpoint_is_refused_before_it_fills_the_memory(
    finished: Path,
) -> None:
    change(finished, width=1024, depths=[9, 9, 9, 9])
    with pytest.raises(RunError, match=r"the network of config\.yaml has far more parameters than"):
        load_run(finished, verify=False)
    change(finished, width=8, depths=[1, 1, 1, 1])  # hardly larger
    with pytest.raises(RunError, match="the checkpoint is of another model"):
        load_run(finished, verify=False)
