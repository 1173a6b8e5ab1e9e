"""One finished run of each task, made once for all workers, and small data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from quick import AUTOENCODER, CLASSIFIER, UNET, draw_mvtec
from small import SMALL, restored_hydra, run_command


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """A small category in the MVTec layout: 8 good, 5 crack, 5 poke, with masks."""
    return draw_mvtec(tmp_path / "bottle")


@pytest.fixture(autouse=True)
def without_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out plots and pages, which take longer than a small training, unless `pictures`."""
    if request.node.get_closest_marker("pictures"):
        return
    from capsule_inspection.reports.run import page, plots
    from capsule_inspection.workflows import loggers

    monkeypatch.setattr(plots, "write_run_plots", lambda folder: None)
    monkeypatch.setattr(page, "write_run_page", lambda folder: None)
    monkeypatch.setattr(loggers, "log_results", lambda *given, **named: None)


@pytest.fixture(scope="session")
def train_once(shared_folder: Path) -> Callable[..., Path]:
    """Trains with plots and pages, once for all workers: `train_once("name", *settings)`."""

    def train(name: str, *settings: str, prepare: Callable[[Path], object] = Path.mkdir) -> Path:
        home = shared_folder / name
        made = home / "made"
        with FileLock(shared_folder / f"{name}.lock"):
            if not made.exists():
                prepare(home)
                own = (f"data.cache_folder={home / 'cache'}", f"hydra.run.dir={home / 'run'}")
                with restored_hydra():
                    os.environ.pop("HYDRA_FULL_ERROR", None)
                    assert run_command("train", *settings, *own) == 0
                # Missing where a test asks for the run only once `without_pictures` has begun.
                assert (home / "run" / "report.html").is_file()
                made.touch()
        return home

    return train


@pytest.fixture(scope="session")
def finished_home(train_once: Callable[..., Path], shared_folder: Path) -> Path:
    """Folder with a finished classifier of two epochs, `run`, its images `bottle` and its `cache`.

    Shared by all tests, which may add to the cache alone. The images are those of `mvtec`.
    """
    return train_once(
        "finished",
        *CLASSIFIER,
        f"data.root={shared_folder / 'finished' / 'bottle'}",
        prepare=lambda home: draw_mvtec(home / "bottle"),
    )


@pytest.fixture
def finished(finished_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished classifier, to be damaged; it knows its images by their whole path."""
    return shutil.copytree(finished_home / "run", tmp_path / "run")


@pytest.fixture(scope="session")
def autoencoder_home(train_once: Callable[..., Path], shared_folder: Path) -> Path:
    """Folder with a finished autoencoder of drawn capsules, `run`; shared and read-only."""
    root = f"data.root={shared_folder / 'autoencoder' / 'drawn'}"
    return train_once("autoencoder", *SMALL, *AUTOENCODER, root)


@pytest.fixture
def autoencoder_run(autoencoder_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished autoencoder, to be damaged."""
    return shutil.copytree(autoencoder_home / "run", tmp_path / "run")


@pytest.fixture(scope="session")
def unet_home(train_once: Callable[..., Path], shared_folder: Path) -> Path:
    """Folder with a finished U-Net of drawn capsules, `run`; shared and read-only."""
    return train_once("unet", *SMALL, *UNET, f"data.root={shared_folder / 'unet' / 'drawn'}")


@pytest.fixture
def unet_run(unet_home: Path, tmp_path: Path) -> Path:
    """A copy of the finished U-Net, to be damaged."""
    return shutil.copytree(unet_home / "run", tmp_path / "run")
