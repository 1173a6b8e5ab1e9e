"""`resume=<run folder>`: everything comes from the run's config.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from capsule_inspection.config.existing_run import (
    load_stored,
    resume_arguments,
    resumed_config,
)
from capsule_inspection.config.stored import to_yaml
from capsule_inspection.types import ConfigurationError, RunError

Compose = Callable[..., DictConfig]


@pytest.fixture
def run(compose: Compose, tmp_path: Path) -> Path:
    """A run folder with nothing but a configuration."""
    config = compose("train", "model=custom_resnet", "seed=7", "task.epochs=2")
    (tmp_path / "config.yaml").write_text(to_yaml(config), "utf-8")
    return tmp_path


def resumed(compose: Compose, run: Path, *overrides: str) -> DictConfig:
    given = [f"resume='{run}'", *overrides]
    return resumed_config(compose("train", *given), given)


def test_resumed_runs_keep_all_but_the_allowed_settings(compose: Compose, run: Path) -> None:
    config = resumed(compose, run, "task.epochs=5", "data.root=/new", "trainer=cpu", "logger=wandb")
    assert (config.seed, config.model.name) == (7, "custom_resnet")
    assert (config.task.epochs, config.trainer.max_epochs) == (5, 5)
    assert (config.data.root, config.trainer.accelerator) == ("/new", "cpu")
    assert config.logger.builder == "wandb"
    assert config.resume == str(run)
    assert resumed(compose, run).trainer.max_epochs == 2


def test_other_settings_are_rejected(compose: Compose, run: Path) -> None:
    config = compose("train", f"resume='{run}'")
    for key in ("optimizer.lr", "model.width", "seed", "data.roi", "split", "model"):
        for setting in (f"{key}=1", f"+{key}=1"):
            with pytest.raises(ConfigurationError, match=rf"^{key} cannot be changed when a run"):
                resumed_config(config, ["task.epochs=3", setting])


def test_folders_without_a_run_are_named(run: Path, tmp_path: Path) -> None:
    assert resume_arguments([f"resume={run}"]) == [f"hydra.run.dir='{run}'"]
    nowhere, empty, sweep = (tmp_path / name for name in ("nowhere", "empty", "sweep"))
    empty.mkdir()
    sweep.mkdir()
    (sweep / "sweep.json").touch()
    for folder, expected in (
        (nowhere, "expected a run folder with config.yaml, found no such folder"),
        (empty, "expected a run folder with config.yaml, found an existing folder"),
        (sweep, "this is a sweep. To resume it: python train.py -m resume="),
    ):
        with pytest.raises(RunError) as caught:
            resume_arguments([f"resume={folder}"])
        assert str(caught.value).startswith(f"resume={folder}: {expected}")


@pytest.mark.parametrize("content", [b'{"a: [\xff', b"a: [", b"- 1\n- 2\n"])
def test_damaged_configurations_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        load_stored(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
