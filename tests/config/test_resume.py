"""`resume=<run folder>`: everything comes from the run's config.yaml, also of older runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.checks import check
from capsule_inspection.config.resume import (
    extra_arguments,
    load_stored,
    stored_configuration,
)
from capsule_inspection.types import ConfigurationError, RunError

Compose = Callable[..., DictConfig]
CLASSIFIER = """
task: {name: classification, sampling: balanced, mixup: 0.0}
model: {name: resnet18, _target_: capsule_inspection.models.classifier.build_timm, pool: own}
data: {mode: resize, painted: null, pasted: null}
split: {name: holdout, val: 0.2, test: 0.2}
"""
ANOTHER = """
task: {name: reconstruction}
model: {name: autoencoder, _target_: capsule_inspection.models.autoencoder.build_autoencoder}
data: {mode: resize, painted: null, pasted: null}
"""


@pytest.fixture
def run(compose: Compose, tmp_path: Path) -> Path:
    """A run folder with a configuration alone."""
    config = compose("train", "model=custom_resnet", "seed=7", "task.epochs=2")
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True), "utf-8")
    return tmp_path


def resumed(compose: Compose, run: Path, *overrides: str) -> DictConfig:
    given = [f"resume='{run}'", *overrides]
    return stored_configuration(compose("train", *given), given)


def test_a_resumed_run_is_what_it_was_but_for_what_may_change(compose: Compose, run: Path) -> None:
    config = resumed(compose, run, "task.epochs=5", "data.root=/new", "trainer=cpu", "logger=wandb")
    assert (config.seed, config.model.name) == (7, "custom_resnet")
    assert (config.task.epochs, config.trainer.max_epochs) == (5, 5)
    assert (config.data.root, config.trainer.accelerator) == ("/new", "cpu")
    assert config.logger.extra._target_.endswith("WandbLogger")
    assert config.resume == str(run)
    assert resumed(compose, run).trainer.max_epochs == 2


def test_what_may_not_change_is_refused(compose: Compose, run: Path) -> None:
    config = compose("train", f"resume='{run}'")
    for key in ("optimizer.lr", "model.width", "seed", "data.roi", "split", "model"):
        for setting in (f"{key}=1", f"+{key}=1"):
            with pytest.raises(ConfigurationError, match=rf"^{key} cannot be changed when a run"):
                stored_configuration(config, ["task.epochs=3", setting])


def test_what_is_no_run_is_named(run: Path, tmp_path: Path) -> None:
    assert extra_arguments([f"resume={run}"]) == [f"hydra.run.dir='{run}'"]
    nowhere, empty, sweep = (tmp_path / name for name in ("nowhere", "empty", "sweep"))
    empty.mkdir()
    sweep.mkdir()
    (sweep / "sweep.json").touch()
    for folder, expected in (
        (nowhere, "expected a run folder with config.yaml, found no such folder"),
        (empty, "expected a run folder with config.yaml, found an existing folder"),
        (sweep, "this is a sweep. To go on with it: python train.py -m resume="),
    ):
        with pytest.raises(RunError) as caught:
            extra_arguments([f"resume={folder}"])
        assert str(caught.value).startswith(f"resume={folder}: {expected}")


@pytest.mark.parametrize("content", [b'{"a: [\xff', b"a: [", b"- 1\n- 2\n"])
def test_a_damaged_configuration_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        load_stored(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_an_older_classifier_learnt_from_labels_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CLASSIFIER, encoding="utf-8")
    config = load_stored(tmp_path / "config.yaml")
    assert (config.model.mask_loss, config.data.painted, config.data.pasted) == (0, 0, 0)
    assert (config.task.views, config.data.real_defects) == (1, 1)
    check(config)


@pytest.mark.parametrize("text", [CLASSIFIER, ANOTHER])
def test_what_a_run_has_itself_stays(tmp_path: Path, text: str) -> None:
    own = OmegaConf.create(text)
    own.data.real_defects = 0.5
    if own.task.name == "classification":
        own.model.mask_loss = 2.0
    OmegaConf.save(own, tmp_path / "config.yaml")
    found = load_stored(tmp_path / "config.yaml")
    assert found.data.real_defects == 0.5
    if own.task.name == "classification":
        assert found.model.mask_loss == 2.0
    else:
        assert found.data.painted is None
