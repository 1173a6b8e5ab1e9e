"""A failed command leaves nothing, and takes away nothing that is of worth or of others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from capsule_inspection.config import left_overs

MADE = (
    *("train.log", "run.json", "run.lock", "config.yaml", "split.csv", "metrics.csv"),
    "checkpoints/",
    *("events.out.tfevents.1.host", "predict.log", "output.json", "predictions.jsonl"),
)
"""What commands have made when they are refused; the last one is empty."""
OF_WORTH = ("checkpoints/best.ckpt", "metrics.json", "predictions.csv", "mine.png", "figures/a.png")


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    left_overs.reset()
    yield
    left_overs.reset()


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("" if name == MADE[-1] else "content")


def test_a_run_folder_and_the_parents_made_for_it_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "classification" / "time"
    left_overs.watch(folder)
    make(folder, *MADE)
    left_overs.remove()
    assert not list(tmp_path.iterdir())


def test_parents_that_were_there_or_have_other_runs_stay(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    folder = tmp_path / "outputs" / "classification" / "time"
    left_overs.watch(folder)
    make(folder, "train.log")
    left_overs.remove()
    assert [path.name for path in tmp_path.rglob("*")] == ["outputs"]
    left_overs.reset()
    left_overs.watch(folder)
    make(folder, "train.log")
    make(folder.parent / "other", "train.log")  # a command that runs now
    left_overs.remove()
    assert [path.name for path in folder.parent.iterdir()] == ["other"]
    assert (folder.parent / "other" / "train.log").is_file()


@pytest.mark.parametrize("name", OF_WORTH)
def test_a_folder_with_anything_of_worth_stays_whole(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    left_overs.watch(folder)
    make(folder, *MADE, name)
    left_overs.remove()
    assert all((folder / each).exists() for each in (*MADE, name))


def test_what_was_in_a_folder_before_stays(tmp_path: Path) -> None:
    make(tmp_path / "run", "config.yaml", "run.json")
    left_overs.watch(tmp_path / "run")
    make(tmp_path / "run", "train.log", "events.out.tfevents.2.host")
    left_overs.remove()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "run.json"]
    (tmp_path / "empty").mkdir()
    left_overs.watch(tmp_path / "empty")
    make(tmp_path / "empty", "train.log")
    left_overs.remove()
    assert not list((tmp_path / "empty").iterdir())


def test_further_processes_of_a_training_remove_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    left_overs.watch(tmp_path / "run")
    make(tmp_path / "run", "train.log")
    left_overs.remove()
    assert (tmp_path / "run" / "train.log").is_file()


def test_a_folder_that_another_command_uses_stays(tmp_path: Path) -> None:
    left_overs.watch(tmp_path / "run")  # before the other command made it
    make(tmp_path / "run", "train.log", "run.json")
    with FileLock(tmp_path / "run" / "run.lock"):
        left_overs.remove()
    assert (tmp_path / "run" / "run.json").is_file()
    left_overs.remove()
    assert not (tmp_path / "run").exists()
