"""The settings that mistyped names, and the names of other libraries, are taken for."""

from __future__ import annotations

import pytest

from capsule_inspection.config.schema import settings_of
from capsule_inspection.config.similar_names import nearest

TRAIN = {
    "epochs": "task.epochs", "trainer.max_epochs": "task.epochs", "model.epochs": "task.epochs",
    "lr": "optimizer.lr", "lr0": "optimizer.lr", "batch": "task.batch_size",
    "imgsz": "task.image_size", "image_size": "task.image_size", "num_workers": "data.workers",
    "weights": "model.weights", "data_dir": "data.root", "patience":
    "callbacks.early_stopping.patience", "fold": "split.fold", "width": "model.width",
    "widht": "model.width", "model.widht": "model.width", "optimizer.lrr": "optimizer.lr",
    "sed": "seed", "modl": "model", "gpus": "trainer.devices", "random_state": "seed",
}  # fmt: skip
PREDICT = {
    "source": "input", "images": "input", "data": "input", "model": "run", "conf": "threshold",
    "batch": "batch_size", "num_workers": "workers", "save_dir": "output", "weights": "run",
}  # fmt: skip


@pytest.mark.parametrize(("command", "names"), [("train", TRAIN), ("predict", PREDICT)])
def test_one_setting_is_meant(command: str, names: dict[str, str]) -> None:
    assert {name: nearest(name, settings_of(command))[0] for name in names} == names


def test_one_clear_guess_is_the_only_one() -> None:
    assert nearest("model.widht", settings_of("train")) == ["model.width"]


def test_there_are_no_guesses_for_what_is_like_nothing() -> None:
    for name in ("share", "verbose", "python", "xyz"):
        assert nearest(name, settings_of("app")) == []
