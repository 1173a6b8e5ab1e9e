"""A mistake on the command line: one message that helps, exit status 2, before torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from small import REPOSITORY, Door


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("model=resnt18", "Did you mean model=resnet18"),
        ("modl=resnet18", "Did you mean model"),
        ("optimizer.lrr=1", "optimizer.lr"),
        ("data.workers=abc", "data.workers: "),
        ("optimizer.lr=1e-3s", "optimizer.lr: "),
        ("+model.foo=1", "settings are not added with '+'"),
        ("+sed=2", "settings are not added with '+'"),
        ("model.depth=50", "model.depths"),
        ("task.epochs=0", "expected a value from 1"),
        ("data.roi=[1,2]", "expected auto, none or [x0,y0,x1,y1]"),
        ("data.roi=[9,9,1,1]", "x0 < x1"),
        ("data.on_bad_file=skp", "Did you mean skip?"),
        ("data.image_size=[1,2,3]", "[height,width]"),
        ("data.image_size=[8,8]", "16 to 8192"),
        ("trainer.max_epoch=3", "trainer.max_epochs"),
        ("trainer.precision=bf17-mixed", "Did you mean bf16-mixed"),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true: not a choice"),
        ("split.val=0.9", "leave nothing to train on"),
        ("task.monitor=train/loss", "expected a validation figure"),
        ("data=mvtec", "data.root is needed"),
        ("data.painted=1.5", "data.painted=1.5: expected a value from 0 to 1"),
        ("data.pasted=-0.1", "data.pasted=-0.1: expected a value from 0 to 1"),
        ("task.painting.natural=1.5", "task.painting.natural=1.5: expected a value from 0 to 1"),
        (
            "model=autoencoder task.corrupted=1.5",
            "task.corrupted=1.5: expected a value from 0 to 1",
        ),
        ("data=as_trained", "data=as_trained: this stands for that of a finished run"),
        ("split=as_trained", "split=as_trained: this stands for that of a finished run"),
        ("data.real_defects=-1", "expected a value from 0 to 1"),
        ("model.pool=topk5", "Did you mean topk"),
        ("model.mask_loss=-0.5", "model.mask_loss=-0.5: expected a value from 0"),
        ("sed=1", "Did you mean seed"),
        ("experiment=quickstrat", "experiment=quickstart"),
        ("seed=-1", "expected a value from 0"),
        ("resume=/there/is/none", "expected a run folder"),
        ("callbacks.early_stopping.patience=soon", "callbacks.early_stopping.patience"),
    ],
)
def test_each_mistake_is_named(door, argument: str, expected: str) -> None:
    answer = door("train", *argument.split())
    assert answer.status == (1 if argument.startswith("resume") else 2)
    assert expected in answer.err
    assert answer.err.startswith("error: ")
    assert len(answer.err.strip().splitlines()) == 1
    assert "Traceback" not in answer.err + answer.out


def test_a_setting_of_another_model_is_refused(door) -> None:
    answer = door("train", "model=resnet18", "model.width=8")
    assert answer.status == 2
    assert "model.width: there is no such setting" in answer.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("data.painted=0.5", "data.pasted=0.4"), "leave no share for good images"),
        (("data.painted=0.5", "task.mixup=0.2"), "defects of their own"),
        (("model.mask_loss=0.5", "task.mixup=0.2"), "not the masks"),
        (("task.painting.natural=0.5",), "patches of other good images"),
        (("model=autoencoder", "data.painted=0.5"), "see task.corrupted"),
        (("model=autoencoder", "data.real_defects=0.5"), "learns from good images alone"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    door, arguments: tuple[str, ...], expected: str
) -> None:
    answer = door("train", *arguments)
    assert answer.status == 2
    assert expected in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_fold_beyond_the_folds_is_refused(door) -> None:
    answer = door("train", "split=kfold", "split.fold=5")
    assert answer.status == 2
    assert "expected 0 to 4" in answer.err


def test_nothing_is_left_behind_by_a_mistake(door, tmp_path: Path) -> None:
    door("train", "modl=resnet18")
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["--help"], 0, "Configuration of `python train.py`"),
        (["--cfg", "job"], 0, "name: custom_resnet"),
        (["optimizer.lrr=1"], 2, "Did you mean optimizer.lr"),
    ],
)
def test_torch_is_not_imported_for_help_configuration_or_mistakes(
    arguments: list[str], status: int, expected: str, tmp_path: Path
) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['train.py', *{arguments!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(REPOSITORY / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code)\n"
        "print('torch' in sys.modules, 'lightning' in sys.modules, 'pandas' in sys.modules)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert answer.stdout.splitlines()[-2:] == [f"{status}", "False False False"]
    assert expected in answer.stdout + answer.stderr


def test_all_settings_are_shown_as_they_are_composed(
    door: Door, compose: Callable[..., DictConfig]
) -> None:
    answer = door("train", "model=unet", "seed=3", "--cfg", "job")
    assert (answer.status, answer.err) == (0, "")
    shown = OmegaConf.create(answer.out)
    assert shown.seed == 3
    assert shown.keys() == compose("train", "model=unet").keys()
    assert shown.model == compose("train", "model=unet").model
