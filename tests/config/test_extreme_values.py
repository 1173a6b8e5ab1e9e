"""Every setting with values that nobody means: it passes, or one line names it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.checks import check
from capsule_inspection.config.messages import CONFIGURATION_EXCEPTIONS, explain
from capsule_inspection.config.schema import GROUPS, settings
from capsule_inspection.config.values import read_numbers
from capsule_inspection.types import ConfigurationError

Compose = Callable[..., DictConfig]
VALUES = (0, -1, 10**15, 0.5, math.nan, None, "text", [[1]])
COMMANDS: dict[str, list[list[str]]] = {
    "train": [
        ["data=auto", "data.root=/x", "logger=wandb"],
        ["data=folder", "data.root=/x", "scheduler=one_cycle", "split=kfold", "logger=mlflow"],
        ["data=manifest", "data.path=/x", "optimizer=sgd", "split=manifest", "split.path=/x"],
        ["model=unet", "data=visa", "data.root=/x", "split=holdout"],
        ["model=autoencoder", "data=coco", "data.root=/x", "scheduler=plateau", "threshold=sigma"],
        ["model=patchcore"],
        ["model=timm", "model.name=resnet10t", "optimizer=torch", "optimizer.name=NAdam"],
    ],
    "evaluate": [["run=/x"]],
    "predict": [["run=/x", "input=/x"]],
    "app": [[]],
    "export": [["run=/x"]],
    "compare": [["runs=[/x]"]],
}


NOT_SET = {*GROUPS, *(f"{group}.name" for group in GROUPS)} - {"model.name", "optimizer.name"}
"""Groups, and names of choices, which `check_additions` refuses."""


def answer(config: DictConfig, key: str, value: Any) -> str:
    """The message for a value; "" where it passes."""
    try:
        OmegaConf.update(config, key, value)
        check(config)
    except ConfigurationError as error:
        return str(error)
    except CONFIGURATION_EXCEPTIONS as error:
        return explain(error, composed=config)
    return ""


def keys_of(config: DictConfig) -> list[str]:
    """The settings of a configuration, without its groups."""
    parents = {key: OmegaConf.select(config, key.rpartition(".")[0] or "@") for key in settings()}
    parents |= {key: config for key in parents if "." not in key}
    found = [key for key in parents if key.rpartition(".")[2] in (parents[key] or {})]
    return [key for key in found if key not in NOT_SET]


def test_each_setting_passes_or_is_named_in_one_line(compose: Compose) -> None:
    tried: set[str] = set()
    for command, choices in COMMANDS.items():
        for overrides in choices:
            config = compose(command, *overrides)
            check(config)
            for key in sorted({*keys_of(config)} - tried):
                tried.add(key)
                for value in VALUES:
                    found = answer(config.copy(), key, value)
                    is_named = key.rpartition(".")[2].removesuffix("value") in found
                    assert not found or is_named, f"{key}={value!r}: {found}"
                    assert len(found.splitlines()) <= 1, f"{key}={value!r}: {found}"
    assert tried == {*settings()} - NOT_SET


def test_whole_numbers_may_be_written_as_fractions() -> None:
    for given, read in (
        ("data.max_pixels=1e9", "data.max_pixels=1000000000"),
        ("task.epochs=10.0", "task.epochs=10"),
        ("task.batch_size=8.5", "task.batch_size=8.5"),
        ("task.batch_size=1e1,1.6e1,range(1,1e2)", "task.batch_size=10,16,range(1,100)"),
        ("data.image_size=[224.0,2e2]", "data.image_size=[224,200]"),
        ("data.counts={good:1e1}", "data.counts={good:10}"),
        ("optimizer.lr=1e3", "optimizer.lr=1e3"),
        ("model.name=1.0", "model.name=1.0"),
        ("data.root='1.0/a'", "data.root='1.0/a'"),
        ("task.epochs=1e999", "task.epochs=1e999"),
        ("-m", "-m"),
    ):
        assert read_numbers([given]) == [read]


def test_numbers_are_neither_true_nor_false() -> None:
    assert read_numbers(["save_weights=1"]) == ["save_weights=1"]
    with pytest.raises(ConfigurationError, match="save_weights=7: expected true or false"):
        read_numbers(["save_weights=7"])
