"""Small data, and a finished run to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from quick import QUICK, draw_mvtec
from small import Door


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A small category in the MVTec layout: 8 good, 5 crack, 5 poke, with masks."""
    return draw_mvtec(tmp_path / "bottle")


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out drawing, which takes longer than all the rest of a small training."""
    from capsule_inspection.reports import run_page, run_pictures
    from capsule_inspection.runs import tensorboard

    monkeypatch.setattr(run_pictures, "write_run_pictures", lambda folder: None)
    monkeypatch.setattr(run_page, "write_run_page", lambda folder: None)
    monkeypatch.setattr(tensorboard, "show_results", lambda *given, **named: None)


@pytest.fixture(scope="session")
def finished_once() -> list[Path]:
    """The run that `finished` copies, once there is one."""
    return []


@pytest.fixture
def finished_home(
    door: Door, finished_once: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with a finished run of two epochs, `run`, its images `bottle` and its `cache`.

    Shared by all tests, which may add to the cache alone; `cache as built` is what it began with.
    """
    if not finished_once:
        home = tmp_path_factory.mktemp("finished")
        root = draw_mvtec(home / "bottle")
        settings = [f"data.root={root}", f"data.cache_folder={home / 'cache'}", "task.epochs=2"]
        run = home / "run"
        answer = door("train", *QUICK, "data=mvtec", *settings, f"hydra.run.dir={run}")
        assert answer.status == 0, answer.err
        shutil.copytree(home / "cache", home / "cache as built")
        finished_once.append(home)
    return finished_once[0]


@pytest.fixture
def finished(finished_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged; it knows its images by their whole path."""
    return shutil.copytree(finished_home / "run", tmp_path / "run")
