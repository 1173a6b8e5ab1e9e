"""train, evaluate and compare: the results of the commands, and a process that stays as it was."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from quick import CLASSIFIER, QUICK, accept_changes, draw_mvtec, metrics_of, rows_of
from small import REPOSITORY, Cli

from capsule_inspection import ComparedRuns, EvaluatedRun, compare, evaluate, load_model, train
from capsule_inspection.types import ConfigurationError, DataError, RunError


def process_state() -> dict[str, Any]:
    """What a notebook expects to find again after a call."""
    return {
        "folder": Path.cwd(),
        "arguments": list(sys.argv),
        "environment": dict(os.environ),
        "handlers": list(logging.root.handlers),
        "level": logging.root.level,
        "hydra": GlobalHydra.instance().hydra,
        "hydra_config": HydraConfig.instance().cfg,
        "filters": list(warnings.filters),
        "main": sys.modules["__main__"],
        "threads": torch.get_num_threads(),
    }


def test_two_trainings_in_a_process_are_those_of_the_command_and_leave_it_as_it_was(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(3)  # more than the trainings use
    log = logging.FileHandler(tmp_path / "own.log", mode="w")
    logging.root.addHandler(log)
    settings = [*CLASSIFIER, f"data.root={finished_home / 'bottle'}"]
    settings.append(f"data.cache_folder={finished_home / 'cache'}")
    with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        before = process_state()
        first = train(settings)
        second = train([*settings, "seed=1"])
        with pytest.raises(ConfigurationError):
            train([*settings, "nonsense=1"])
        assert process_state() == before
    logging.getLogger("own").error("after the trainings")
    log.close()
    logging.root.removeHandler(log)
    assert (tmp_path / "own.log").read_text(encoding="utf-8") == "after the trainings\n"

    assert first.folder.parent == second.folder.parent
    assert first.folder.is_absolute()
    assert metrics_of(first.folder) == metrics_of(finished_home / "run")
    assert metrics_of(second.folder) != metrics_of(first.folder)
    assert "Traceback" not in (first.folder / "train.log").read_text(encoding="utf-8")
    table = first.to_pandas()
    stored = metrics_of(first.folder)
    assert table.loc["test/auroc"].to_dict() == pytest.approx(stored["test/auroc"])
    assert list(table.index) == list(stored)
    assert len(first.epochs) == 2
    assert len(first.predictions) == len(rows_of(first.folder))
    assert "<table" in first._repr_html_()
    assert first.report.name == "report.html"
    assert first.load_model().classes == ("good", "crack", "poke")

    compared = compare([first, second.folder], ["compare.primary=auroc"])
    assert compared.report.is_file()
    assert compared.to_pandas().loc["custom_resnet", "runs"] == 2
    assert compared.recommendation
    assert "custom_resnet" in compared._repr_html_()


def test_a_training_that_was_resumed_is_the_run_itself(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train([f"resume={finished}", "task.epochs=3"])
    assert run.folder == finished
    assert len(run.epochs) == 3


def test_an_evaluation_is_that_of_the_command(
    cli: Cli, finished_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, settings = finished_home / "run", ["trainer=cpu", "trainer.threads=1", "subset=val"]
    result = cli("evaluate", f"run={run}", f"output={tmp_path / 'command'}", *settings)
    assert result.status == 0, result.err
    found = evaluate(run, [*settings, f"output={tmp_path / 'api'}"])
    assert found == EvaluatedRun(tmp_path / "api")
    assert metrics_of(tmp_path / "api") == metrics_of(tmp_path / "command")
    assert {name.partition("/")[0] for name in found.metrics} == {"val"}
    with pytest.raises(RunError, match="this is an evaluation, which has no model"):
        load_model(found)


def test_pairs_of_a_comparison_are_a_table(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(
        '{"recommendation": {"text": "Use b."}, "pairs": [{"first": "a", "second": "b", '
        '"images": 9, "groups": 9, "verdict": "better", "better": "b", "differences": '
        '{"auroc": {"value": 0.1, "p": 0.01}, "accuracy": {"value": 0.2, "p": 0.02}}}]}',
        encoding="utf-8",
    )
    compared = ComparedRuns(tmp_path)
    assert compared.recommendation == "Use b."
    expected = pd.DataFrame(
        {
            "first": ["a", "a"],
            "second": ["b", "b"],
            "images": [9, 9],
            "verdict": ["better", "better"],
            "better": ["b", "b"],
            "metric": ["auroc", "accuracy"],
            "value": [0.1, 0.2],
            "p": [0.01, 0.02],
        }
    )
    pd.testing.assert_frame_equal(compared.pairs, expected)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("model=unet", "expected a list of settings as texts"),
        ({"model": "unet"}, "expected a list of settings as texts"),
        ((each for each in ["model=unet"]), "expected a list of settings as texts"),
        (["trainer.devices=auto"], "trainer.devices=auto: from Python one device is used"),
        (["seed=x"], "seed=x"),
        (["modell=unet"], "Did you mean model"),
        (["-m", "model=resnet18,unet"], "-m: expected <key>=<value>. From Python one model"),
        (["model=resnet18,unet"], "model=resnet18,unet"),
        (["experiment=few_good"], "experiment=few_good: these settings are a sweep. From Python"),
        (["experiment=[quickstart,few_good]"], "these settings are a sweep"),
        (["seed=1", "hydra.mode=MULTIRUN"], "these settings are a sweep"),
        (["inspect=true"], "inspect=true: trains no model"),
        (["trainer.devices=2", "trainer.strategy=ddp"], "cannot be used in a sweep or from Python"),
    ],
)
def test_mistakes_are_exceptions_and_leave_nothing_behind(
    overrides: Any, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = process_state()
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        train(overrides)
    assert process_state() == before
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from capsule_inspection import commands
from capsule_inspection.config import calls

def act(config):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()

calls.call(act, ["runs=[a]"], config_folder=commands.CONF, name="compare")
print("once")
"""


def test_a_script_needs_no_guard_against_its_own_processes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr


def test_errors_of_data_and_runs_have_their_own_types(
    cli: Cli, finished: Path, tmp_path: Path
) -> None:
    settings = [*QUICK, "data=mvtec", f"data.root={tmp_path / 'nowhere'}"]
    with pytest.raises(DataError, match=r"nowhere: there is no such file or folder\. Check data"):
        train(settings)
    assert cli("train", *settings).err.startswith(f"error: {tmp_path / 'nowhere'}: there is no")
    with pytest.raises(RunError, match="expected a run folder"):
        evaluate(tmp_path / "nowhere")
    with pytest.raises(RunError, match="name at least one run folder"):
        compare([])
    with pytest.raises(ConfigurationError, match="expected a list of runs"):
        compare(str(finished))
    draw_mvtec(tmp_path / "few", counts={"good": 1})
    with pytest.raises(DataError):
        train([*QUICK, "data=mvtec", f"data.root={tmp_path / 'few'}"])
    accept_changes(finished, status="running")
    with pytest.raises(RunError, match="this run is not finished"):
        compare([finished])


def test_an_interrupted_training_raises_keyboard_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules["capsule_inspection.commands"].ACTIONS, "train", interrupt)
    before = process_state()
    with pytest.raises(KeyboardInterrupt):
        train()
    assert process_state() == before
