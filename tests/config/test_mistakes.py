"""A mistake on the command line: one message that helps, exit status 2, before torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf
from quick import check_refusal
from small import REPOSITORY, Door

from capsule_inspection.config.checks import check, refuse_additions
from capsule_inspection.config.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.types import ConfigurationError

Compose = Callable[..., DictConfig]
COMPOSED = {
    "model=resnt18": "Did you mean model=resnet18",
    "modl=resnet18": "Did you mean model",
    "optimizer.lrr=1": "Did you mean optimizer.lr",
    "data.workers=abc": "data.workers: ",
    "optimizer.lr=1e-3s": "optimizer.lr: ",
    "model.depth=50": "model.depths",
    "trainer.max_epoch=3": "trainer.max_epochs",
    "sed=1": "Did you mean seed",
    "experiment=quickstrat": "experiment=quickstart",
    "callbacks.early_stopping.patience=soon": "callbacks.early_stopping.patience",
    "model=resnet18 model.width=8": "model.width: there is no such setting",
    "optimizer=sgd optimizer.betas=[0.9,0.9]": "optimizer.betas: there is no such setting",
}
"""Mistakes that Hydra finds while it composes."""
CHECKED = {
    "task.epochs=0": "expected a value from 1",
    "data.roi=[1,2]": "expected auto, none or [x0,y0,x1,y1]",
    "data.roi=[9,9,1,1]": "x0 < x1",
    "data.on_bad_file=skp": "Did you mean skip?",
    "data.image_size=[1,2,3]": "[height,width]",
    "data.image_size=[8,8]": "16 to 8192",
    "trainer.precision=bf17-mixed": "Did you mean bf16-mixed",
    "trainer.precision=bf16-true": "trainer.precision=bf16-true: not a choice",
    "split.val=0.9": "leave nothing to train on",
    "task.monitor=train/loss": "expected a validation figure",
    "data.root=???": "data.root is needed",
    "model.name=resnet18": "model=custom_resnet has one network only",
    "model.block=botleneck": "bottleneck",
    "model.pool=topk5": "Did you mean topk",
    "data.name=as_trained": "data=as_trained: this stands for that of a finished run",
    "split.name=as_trained": "split=as_trained: this stands for that of a finished run",
    "data.painted=1.5": "data.painted=1.5: expected a value from 0 to 1",
    "data.pasted=-0.1": "data.pasted=-0.1: expected a value from 0 to 1",
    "task.painting.natural=1.5": "task.painting.natural=1.5: expected a value from 0 to 1",
    "data.real_defects=-1": "expected a value from 0 to 1",
    "model.mask_loss=-0.5": "model.mask_loss=-0.5: expected a value from 0",
    "seed=-1": "expected a value from 0",
    "data.tile=[8,8]": "at least 32 pixels each",
    "data.mode=tiles": "task=classification sees whole images",
    "task.name=reconstruction": "model=custom_resnet is for task=classification",
    "split.name=one_class": "of which a classifier learns nothing",
    # Settings that contradict each other.
    "data.painted=0.5 data.pasted=0.4": "leave no share for good images",
    "data.painted=0.5 task.mixup=0.2": "defects of their own",
    "model.mask_loss=0.5 task.mixup=0.2": "not the masks",
    "task.painting.natural=0.5": "patches of other good images",
}
"""Mistakes that the checks of a composed configuration find, of a classifier."""
CHECKED_OF_AUTOENCODERS = {
    "task.corrupted=1.5": "task.corrupted=1.5: expected a value from 0 to 1",
    "data.painted=0.5": "see task.corrupted",
    "data.real_defects=0.5": "learns from good images alone",
    "split.fold=5": "expected 0 to 4",
    "threshold.false_alarm_rate=1": "expected a share of the good images between 0 and 1",
    "task.window=[8,8]": "at least 16 pixels each",
    "task.whole_from=2": "task.whole_from=2: expected a value from 0 to 1.",
    "model.corruption=noise task.loss_weights.l1=0 task.loss_weights.l2=0 task.loss_weights.ssim=0"
    " task.loss_weights.ms_ssim=0 task.loss_weights.gradient=0": "`spoilt` alone teaches nothing",
}


def told_by_hydra(compose: Compose, settings: str, composed: DictConfig | None = None) -> str:
    """The message for settings that do not compose."""
    with pytest.raises(CONFIGURATION_EXCEPTIONS) as caught:
        compose("train", *settings.split())
    return explain(caught.value, composed=composed)


def test_a_setting_that_does_not_exist_is_named_with_the_nearest(compose: Compose) -> None:
    composed = compose("train", "model=custom_resnet")
    for settings, expected in COMPOSED.items():
        told = told_by_hydra(compose, settings, composed)
        assert expected in told, f"{settings}: {told}"
        assert len(told.splitlines()) == 1, told


@pytest.mark.parametrize(
    ("model", "mistakes"),
    [("custom_resnet", CHECKED), ("autoencoder", CHECKED_OF_AUTOENCODERS)],
)
def test_values_that_cannot_be_meant_are_named(
    compose: Compose, model: str, mistakes: dict[str, str]
) -> None:
    composed = compose("train", f"model={model}")
    check(composed)
    for settings, expected in mistakes.items():
        config = composed.copy()
        for setting in OverridesParser.create().parse_overrides(settings.split()):
            OmegaConf.update(config, setting.key_or_group, setting.value())
        with pytest.raises(ConfigurationError) as caught:
            check(config)
        assert expected in str(caught.value), f"{settings}: {caught.value}"
        assert len(str(caught.value).splitlines()) == 1


def test_settings_are_not_added_but_where_a_library_takes_them() -> None:
    for setting in ("+model.foo=1", "+sed=2", "++model.foo=1"):
        with pytest.raises(ConfigurationError, match=r"settings are not added with '\+'"):
            refuse_additions(["seed=1", setting])
    refuse_additions(["+model.options.x=1", "+experiment=quickstart", "+hydra.job.x=1"])


@pytest.mark.parametrize(
    ("argument", "status", "expected"),
    [
        ("model=resnet18 model.depth=50", 2, "model.depth: there is no such setting"),
        ("+model.foo=1", 2, "settings are not added with '+'"),
        ("split.val=0.9", 2, "leave nothing to train on"),
        ("resume=/there/is/none", 1, "expected a run folder"),
    ],
)
def test_a_mistake_ends_the_command_and_leaves_nothing_behind(
    door: Door, tmp_path: Path, argument: str, status: int, expected: str
) -> None:
    answer = door("train", *argument.split())
    check_refusal(answer, expected, status=status)
    assert len(answer.err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("argument", "missing", "extra"),
    [
        ("hydra/launcher=slurm", "launcher/submitit_slurm", "slurm"),
        ("hydra/launcher=submitit_local", "launcher/submitit_local", "slurm"),
        ("hydra/launcher=ray_cluster", "launcher/ray", "ray"),
        ("hparams=optimizer", "sweeper/optuna", "hparams"),
    ],
)
def test_what_is_not_installed_is_named_with_what_to_install(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, argument: str, missing: str, extra: str
) -> None:
    Plugins.instance()  # which registers what is installed
    group, name = missing.split("/")
    known = ConfigStore.instance().repo["hydra"][group]
    monkeypatch.delitem(known, f"{name}.yaml", raising=False)
    told = told_by_hydra(compose, argument)
    assert told.endswith(f"not installed: pip install -e '.[{extra}]'")
    assert len(told.splitlines()) == 1


def test_torch_is_not_imported_for_help_configuration_or_mistakes(tmp_path: Path) -> None:
    script = str(REPOSITORY / "train.py")
    code = (
        "import runpy, sys\n"
        "for argument in (['--help'], ['--cfg', 'job'], ['optimizer.lrr=1']):\n"
        "    sys.argv = ['train.py', *argument]\n"
        "    try:\n"
        f"        runpy.run_path({script!r}, run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        print('status', end.code)\n"
        "print('torch' in sys.modules, 'lightning' in sys.modules, 'pandas' in sys.modules)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    lines = answer.stdout.splitlines()
    assert [line for line in lines if line.startswith("status")] == [
        "status 0",
        "status 0",
        "status 2",
    ]
    assert lines[-1] == "False False False"
    assert "Configuration of `python train.py`" in answer.stdout
    assert "name: custom_resnet" in answer.stdout
    assert "Did you mean optimizer.lr" in answer.stderr


def test_all_settings_are_shown_as_they_are_composed(door: Door, compose: Compose) -> None:
    answer = door("train", "model=unet", "seed=3", "--cfg", "job")
    assert (answer.status, answer.err) == (0, "")
    shown = OmegaConf.create(answer.out)
    assert shown.seed == 3
    assert shown.keys() == compose("train", "model=unet").keys()
    assert shown.model == compose("train", "model=unet").model
