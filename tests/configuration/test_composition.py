"""Every configuration file composes; mistakes are named with what would be valid."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from quick import check_refusal, rows_of
from small import SMALL, SMALL_NETWORK, Door

from capsule_inspection.configuration.checks import check
from capsule_inspection.configuration.schema import Trainer

CONF = Path(__file__).parents[2] / "conf"
CHOICES = sorted(
    (path.parent.relative_to(CONF).as_posix(), path.stem)
    for path in CONF.rglob("*.yaml")
    if path.parent != CONF and path.parts[len(CONF.parts)] not in ("hydra", "parts")
)
TARGETS = 17
NEEDED = {
    ("data", "mvtec"): ["data.root=/x"],
    ("data", "folder"): ["data.root=/x"],
    ("data", "manifest"): ["data.path=/x.csv"],
    ("split", "manifest"): ["split.path=/x.csv"],
    ("model", "timm"): ["model.name=resnet10t"],
    ("model", "torchvision"): ["model.name=resnet18"],
    ("task", "reconstruction"): ["model=autoencoder"],
    ("task", "segmentation"): ["model=unet"],
    ("split", "one_class"): ["model=autoencoder"],
    ("threshold", "conformal"): ["model=autoencoder"],
    ("threshold", "sigma"): ["model=autoencoder"],
    ("threshold", "f1"): ["model=autoencoder"],
    ("optimizer", "timm"): ["optimizer.name=lamb"],
    ("optimizer", "torch"): ["optimizer.name=NAdam"],
}


def test_all_files_are_found() -> None:
    assert len(CHOICES) == 61
    assert len(list(CONF.rglob("*.yaml"))) == len(CHOICES) + 13


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_each_choice_composes_and_passes_its_checks(
    compose: Callable[..., DictConfig], group: str, choice: str
) -> None:
    if choice == "as_trained":
        config = compose("evaluate", f"{group}={choice}", "run=/x")
    else:
        config = compose("train", f"{group}={choice}", *NEEDED.get((group, choice), []))
    check(config)
    assert "???" not in OmegaConf.to_yaml(config, resolve=True)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: p.name)
def test_each_file_opens_with_what_it_is(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert re.match(r"# \S+ ", first), f"{path}: {first}"


def test_each_target_can_be_imported() -> None:
    found = {
        path: re.findall(r"_target_: (\S+)", path.read_text(encoding="utf-8"))
        for path in CONF.rglob("*.yaml")
    }
    targets = {target for of_file in found.values() for target in of_file}
    assert len(targets) == TARGETS
    for target in sorted(targets):
        assert callable(get_object(target)), target


def test_a_logger_that_is_not_installed_is_named_with_what_to_install(
    door: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    answer = door("train", *SMALL, *SMALL_NETWORK, "logger=wandb", f"hydra.run.dir={tmp_path}")
    check_refusal(
        answer,
        "logger: lightning.pytorch.loggers.WandbLogger cannot be used (",
        "pip install -e '.[mlflow]' or '.[wandb]', or leave `logger` out.",
        status=2,
    )
    assert len(answer.err.splitlines()) == 1


def test_the_trainer_that_looks_for_faults_trains_two_short_epochs(
    door: Door, tmp_path: Path
) -> None:
    settings = [setting for setting in SMALL if setting != "trainer=cpu"]
    run = f"hydra.run.dir={tmp_path / 'run'}"
    answer = door("train", *settings, *SMALL_NETWORK, "task.epochs=5", "trainer=debug", run)
    assert answer.status == 0, answer.err
    assert [row["epoch"] for row in rows_of(tmp_path / "run", "metrics.csv")] == ["0", "1"]


def test_trainer_settings_have_the_names_of_lightnings_trainer() -> None:
    import inspect

    import lightning as L

    known = inspect.signature(L.Trainer.__init__).parameters
    own = {"channels_last", "threads"}
    assert set(Trainer.__dataclass_fields__) - own <= set(known)


def test_values_stand_in_one_place(compose: Callable[..., DictConfig]) -> None:
    config = compose("train", "task.epochs=7", "task.image_size=[32,64]")
    assert config.trainer.max_epochs == 7
    assert list(config.data.image_size) == [32, 64]


def test_a_value_on_the_command_line_wins_over_an_experiment(
    compose: Callable[..., DictConfig],
) -> None:
    config = compose("train", "experiment=quickstart", "task.epochs=3", "model=custom_resnet")
    assert config.task.epochs == 3
    assert config.model.name == "custom_resnet"


@pytest.mark.parametrize(
    ("choice", "settings"),
    [
        ("local_parallel", {"n_jobs": 2}),
        ("slurm", {"gpus_per_node": 1, "mem_gb": 32, "timeout_min": 240, "max_num_timeout": 10}),
        ("ray_cluster", {"ray.init.include_dashboard": False, "ray.remote.num_cpus": 1}),
    ],
)
def test_each_launcher_composes_and_its_settings_can_be_said(
    clean_hydra: None, choice: str, settings: dict[str, object]
) -> None:
    import hydra

    from capsule_inspection.configuration.resolvers import register_resolvers
    from capsule_inspection.configuration.schema import register_schemas

    register_schemas()
    register_resolvers()
    (first, *_) = settings
    overrides = [f"hydra/launcher={choice}", f"hydra.launcher.{first}={settings[first]}"]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", overrides=overrides, return_hydra_config=True)
    for key, value in settings.items():
        assert OmegaConf.select(config.hydra.launcher, key) == value


@pytest.mark.parametrize(
    ("argument", "missing", "extra"),
    [
        ("hydra/launcher=slurm", "launcher/submitit_slurm", "slurm"),
        ("hydra/launcher=submitit_local", "launcher/submitit_local", "slurm"),
        ("hydra/launcher=ray_cluster", "launcher/ray", "ray"),
        ("hparams=optimizer", "sweeper/optuna", "hparams"),
        ("hparams=stored", "sweeper/optuna", "hparams"),
    ],
)
def test_what_is_not_installed_is_named_with_what_to_install(
    door: Door, monkeypatch: pytest.MonkeyPatch, argument: str, missing: str, extra: str
) -> None:
    Plugins.instance()  # which registers what is installed
    group, name = missing.split("/")
    known = ConfigStore.instance().repo["hydra"][group]
    monkeypatch.delitem(known, f"{name}.yaml", raising=False)
    answer = door("train", "-m", argument, "seed=0")
    check_refusal(answer, f"not installed: pip install -e '.[{extra}]'", status=2)
    assert len(answer.err.splitlines()) == 1
