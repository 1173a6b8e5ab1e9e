"""Every configuration file composes, and values stand in one place."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import hydra
import lightning as L
import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.checks import check
from capsule_inspection.config.resolvers import register_resolvers
from capsule_inspection.config.schema import Trainer, register_schemas
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import building, hardware

Compose = Callable[..., DictConfig]
CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
CHOICES = sorted(
    f"{path.parent.relative_to(CONF).as_posix()}={path.stem}"
    for path in FILES
    if path.parent != CONF and path.parts[len(CONF.parts)] not in ("hydra", "parts")
)
TARGETS = 17
APART = ("autoencoder", "unet", "one_class", "reconstruction", "segmentation", "as_trained")
"""Choices that do not go with a classifier."""
NEEDED = {
    "data=mvtec": ["data.root=/x"],
    "data=folder": ["data.root=/x"],
    "data=manifest": ["data.path=/x.csv"],
    "split=manifest": ["split.path=/x.csv"],
    "model=timm": ["model.name=resnet10t"],
    "model=torchvision": ["model.name=resnet18"],
    "optimizer=timm": ["optimizer.name=lamb"],
    "optimizer=torch": ["optimizer.name=NAdam"],
}


def classifiers() -> list[list[str]]:
    """Choices of groups that do not depend on each other: the first of each, the second, ..."""
    of_group: dict[str, list[str]] = {}
    for choice in CHOICES:
        group, _, name = choice.partition("=")
        if group not in ("experiment", "hparams", "threshold") and name not in APART:
            of_group.setdefault(group, []).append(choice)
    return [[choice for choice in row if choice] for row in zip_longest(*of_group.values())]


COMPOSED = [
    *classifiers(),
    *(
        ["model=autoencoder", "task=reconstruction", "split=one_class", f"threshold={rule}"]
        for rule in ("conformal", "f1", "sigma")
    ),
    ["model=unet", "task=segmentation"],
    *([choice] for choice in CHOICES if choice.startswith(("experiment=", "hparams="))),
    ["data=as_trained", "split=as_trained"],
]
"""Choices that are composed together; all choices are among them."""


def test_all_files_are_found() -> None:
    assert len(CHOICES) == 61
    assert len(FILES) == len(CHOICES) + 13
    assert {choice for choices in COMPOSED for choice in choices} == set(CHOICES)


@pytest.mark.parametrize("choices", COMPOSED, ids=" ".join)
def test_choices_compose_and_pass_their_checks(compose: Compose, choices: list[str]) -> None:
    if "data=as_trained" in choices:
        config = compose("evaluate", *choices, "run=/x")
    else:
        needed = [setting for choice in choices for setting in NEEDED.get(choice, [])]
        config = compose("train", *choices, *needed)
    check(config)
    assert "???" not in OmegaConf.to_yaml(config, resolve=True)


def test_each_file_opens_with_what_it_is() -> None:
    for path in FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        first = lines[1] if lines[0].startswith("# @package") else lines[0]
        assert re.match(r"# \S+ ", first), f"{path}: {first}"


def test_each_target_can_be_imported() -> None:
    found = (re.findall(r"_target_: (\S+)", path.read_text(encoding="utf-8")) for path in FILES)
    targets = {target for of_file in found for target in of_file}
    assert len(targets) == TARGETS
    for target in sorted(targets):
        assert callable(get_object(target)), target


def test_a_logger_that_is_not_installed_is_named_with_what_to_install(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigurationError) as caught:
        building.build_loggers(compose("train", "logger=wandb"), tmp_path, first_epoch=0)
    told = str(caught.value)
    assert told.startswith("logger: lightning.pytorch.loggers.WandbLogger cannot be used (")
    assert told.endswith("pip install -e '.[mlflow]' or '.[wandb]', or leave `logger` out.")
    assert len(told.splitlines()) == 1


def test_the_trainer_that_looks_for_faults_has_two_short_epochs(compose: Compose) -> None:
    config = compose("train", "trainer=debug", "task.epochs=5")
    choices = hardware.choose(config.trainer)
    trainer = building.build_trainer(config, choices, callbacks=[], loggers=[])
    assert (trainer.max_epochs, trainer.limit_train_batches) == (2, 2)
    assert trainer._detect_anomaly
    assert choices.device == "cpu"


def test_trainer_settings_have_the_names_of_lightnings_trainer() -> None:
    known = inspect.signature(L.Trainer.__init__).parameters
    own = {"channels_last", "threads"}
    assert set(Trainer.__dataclass_fields__) - own <= set(known)


def test_values_stand_in_one_place_and_the_command_line_wins(compose: Compose) -> None:
    given = ("task.epochs=7", "task.image_size=[32,64]", "model=custom_resnet")
    config = compose("train", "experiment=quickstart", *given)
    assert (config.task.epochs, config.trainer.max_epochs) == (7, 7)
    assert list(config.data.image_size) == [32, 64]
    assert config.model.name == "custom_resnet"


@pytest.mark.parametrize(
    ("choice", "settings"),
    [
        ("local_parallel", {"n_jobs": 2}),
        ("slurm", {"gpus_per_node": 1, "mem_gb": 32, "timeout_min": 240, "max_num_timeout": 10}),
        ("ray_cluster", {"ray.init.include_dashboard": False, "ray.remote.num_cpus": 1}),
    ],
)
def test_each_launcher_composes_and_takes_its_settings(
    clean_hydra: None, choice: str, settings: dict[str, object]
) -> None:
    register_schemas()
    register_resolvers()
    (first, *_) = settings
    overrides = [f"hydra/launcher={choice}", f"hydra.launcher.{first}={settings[first]}"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", overrides=overrides, return_hydra_config=True)
    for key, value in settings.items():
        assert OmegaConf.select(config.hydra.launcher, key) == value
