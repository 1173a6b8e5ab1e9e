"""Every configuration file composes and passes its checks."""

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
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.checks import check
from capsule_inspection.config.existing_run import load_stored
from capsule_inspection.config.resolvers import register_resolvers
from capsule_inspection.config.schema import GROUPS, Trainer, register_schemas
from capsule_inspection.config.stored import to_yaml
from capsule_inspection.models.factory import BUILDERS
from capsule_inspection.tasks.optimization import OPTIMIZERS, SCHEDULES
from capsule_inspection.types import ConfigurationError
from capsule_inspection.workflows import hardware, loggers
from capsule_inspection.workflows.trainer import build_trainer

Compose = Callable[..., DictConfig]
CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
CHOICES = sorted(
    f"{path.parent.relative_to(CONF).as_posix()}={path.stem}"
    for path in FILES
    if path.parent != CONF and path.parts[len(CONF.parts)] not in ("hydra", "base")
)
APART = (
    *("autoencoder", "patchcore", "unet", "one_class", "from_run"),
    *("anomaly_detection", "anomaly_detection_patches", "segmentation"),
)
"""Choices that do not fit a classifier."""
NEEDED = {
    **{
        f"data={name}": ["data.root=/x"]
        for name in (
            *("auto", "folder", "mvtec", "visa"),
            *("coco", "yolo", "labelme", "voc", "cvat", "label_studio"),
        )
    },
    "data=manifest": ["data.path=/x.csv"],
    "split=manifest": ["split.path=/x.csv"],
    "model=timm": ["model.name=resnet10t"],
    "model=torchvision": ["model.name=resnet18"],
    "optimizer=timm": ["optimizer.name=lamb"],
    "optimizer=torch": ["optimizer.name=NAdam"],
}


def classifiers() -> list[list[str]]:
    """Choices of independent groups: the first of each group, the second, ..."""
    of_group: dict[str, list[str]] = {}
    for choice in CHOICES:
        group, _, name = choice.partition("=")
        if group not in ("experiment", "hparams_search", "threshold") and name not in APART:
            of_group.setdefault(group, []).append(choice)
    return [[choice for choice in row if choice] for row in zip_longest(*of_group.values())]


COMPOSED = [
    *classifiers(),
    *(
        ["model=autoencoder", "task=anomaly_detection", "split=one_class", f"threshold={rule}"]
        for rule in ("conformal", "f1", "sigma")
    ),
    ["model=patchcore", "task=anomaly_detection_patches"],
    *(["model=resnet18", f"threshold={rule}"] for rule in ("operating_point", "argmax")),
    ["model=unet", "task=segmentation"],
    *([choice] for choice in CHOICES if choice.startswith(("experiment=", "hparams_search="))),
    ["data=from_run", "split=from_run"],
]
"""Choices that are composed together; all choices are among them."""


def test_all_files_are_found() -> None:
    assert len(CHOICES) == 78
    assert len(FILES) == len(CHOICES) + 16
    assert {choice for choices in COMPOSED for choice in choices} == set(CHOICES)


@pytest.mark.parametrize("choices", COMPOSED, ids=" ".join)
def test_choices_compose_pass_their_checks_and_load_from_a_run(
    compose: Compose, choices: list[str], tmp_path: Path
) -> None:
    if "data=from_run" in choices:
        config = compose("evaluate", *choices, "run=/x")
    else:
        needed = [setting for choice in choices for setting in NEEDED.get(choice, [])]
        config = compose("train", *choices, *needed)
    check(config)
    assert "???" not in OmegaConf.to_yaml(config, resolve=True)
    if "data=from_run" not in choices:
        path = tmp_path / "config.yaml"
        path.write_text(to_yaml(config), encoding="utf-8")
        assert load_stored(path) == OmegaConf.create(OmegaConf.to_container(config, resolve=True))


def test_each_file_starts_with_a_description() -> None:
    for path in FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        first = lines[1] if lines[0].startswith("# @package") else lines[0]
        assert re.match(r"# \S+ ", first), f"{path}: {first}"


def test_configurations_choose_from_closed_tables_and_name_no_code() -> None:
    for group, table in (
        ("model", BUILDERS),
        ("optimizer", OPTIMIZERS),
        ("scheduler", SCHEDULES),
        ("logger", {"tensorboard": None, **loggers.LOGGERS}),
    ):
        assert set(table) == set(GROUPS[group])
    found = [path for path in FILES if "_target_:" in path.read_text(encoding="utf-8")]
    callbacks = [CONF / f"{name}.yaml" for name in ("compare", "evaluate", "predict", "train")]
    assert sorted(found) == callbacks  # Hydra's own callbacks, of the command line
    source = CONF.parent / "src"
    for path in source.rglob("*.py"):
        assert not re.search(r"hydra\.utils|\binstantiate\(", path.read_text("utf-8")), path


def test_each_choice_has_a_schema_of_its_name() -> None:
    for choice in CHOICES:
        group, _, name = choice.partition("=")
        if group in GROUPS and len(GROUPS[group]) > 1:
            text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
            stated = re.search(r"^(?:builder|name): (\w+)", text, re.MULTILINE)
            own = stated is None or stated[1] in GROUPS[group]  # else it extends another choice
            assert own, choice


def test_missing_loggers_are_named_with_their_extra(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigurationError) as caught:
        loggers.build_loggers(compose("train", "logger=wandb"), tmp_path, first_epoch=0)
    message = str(caught.value)
    assert message.startswith("logger: wandb cannot be used (")
    assert message.endswith("pip install -e '.[wandb]', or leave `logger` out.")
    assert len(message.splitlines()) == 1


def test_the_debug_trainer_has_two_short_epochs(compose: Compose) -> None:
    config = compose("train", "trainer=debug", "task.epochs=5")
    choices = hardware.resolve_runtime(config.trainer)
    trainer = build_trainer(config, choices, callbacks=[], loggers=[])
    assert (trainer.max_epochs, trainer.limit_train_batches) == (2, 2)
    assert trainer._detect_anomaly
    assert choices.device == "cpu"


def test_trainer_settings_have_the_names_of_lightnings_trainer() -> None:
    known = inspect.signature(L.Trainer.__init__).parameters
    own = {"channels_last", "threads"}
    assert set(Trainer.__dataclass_fields__) - own <= set(known)


def test_values_are_interpolated_and_the_command_line_wins(compose: Compose) -> None:
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
