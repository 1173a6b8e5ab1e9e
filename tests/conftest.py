"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small import REAL_CAPSULES, REPOSITORY, Cli, CommandResult, restored_hydra, run_command

# Each worker has one core. It is set before anything imports numpy or torch.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that run whole commands, so that no worker ends with a long one."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session")
def real_capsules() -> Path:
    """Folder of the real capsule photographs; skips the test where they are missing."""
    if not (REAL_CAPSULES / "train" / "good").is_dir():
        pytest.skip(f"the real photographs are not at {REAL_CAPSULES}")
    return REAL_CAPSULES


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where drawn data and caches of all tests go, so that they are made once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture
def clean_hydra() -> Iterator[None]:
    """Restore the state that Hydra changes in the process."""
    with restored_hydra():
        yield


@pytest.fixture
def cli(
    clean_hydra: None,
    tmp_path: Path,
    drawn_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Cli:
    """Runs a command within this process: `cli("train", "seed=1")`, from an empty folder.

    Drawn data and caches are shared by all tests unless the arguments say otherwise.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(name: str, *arguments: str) -> CommandResult:
        shared = []
        if name == "train" and not any(a.startswith(("data=", "resume=")) for a in arguments):
            shared += ["data=synthetic", f"data.root={drawn_folder / 'drawn'}"]
        if name == "train" and not any("cache_folder=" in a or a == "-m" for a in arguments):
            shared.append(f"data.cache_folder={drawn_folder / 'cache'}")
        capfd.readouterr()
        status = run_command(name, *shared, *arguments)
        printed = capfd.readouterr()
        return CommandResult(status, printed.out, printed.err)

    return call


@pytest.fixture
def compose(clean_hydra: None) -> Callable[..., object]:
    """Composes a configuration: `compose("train", "seed=1")`."""
    import hydra

    from capsule_inspection.config.resolvers import register_resolvers
    from capsule_inspection.config.schema import register_schemas

    def call(name: str, *overrides: str) -> object:
        register_schemas()
        register_resolvers()
        with hydra.initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
            return hydra.compose(name, overrides=list(overrides))

    return call
