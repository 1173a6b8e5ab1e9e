"""Checks of the settings of Lightning's Trainer beyond their ranges; never torch.

Lightning finds some of these mistakes late or with a traceback, and waits without end for nodes
that nobody starts. What depends on the machine is checked in workflows/hardware.py.
"""

from __future__ import annotations

import os
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.config.schema import PRECISIONS
from capsule_inspection.config.similar_names import suggestion
from capsule_inspection.types import ConfigurationError

_LAUNCHERS = ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "LSB_DJOB_RANKFILE", "NODE_RANK", "GROUP_RANK")
"""Variables of the launchers that start a process on each node: torchrun, Slurm, LSF, by hand."""


def _check_length(config: DictConfig) -> None:
    """Reject a training that has no end, no epoch, or no validation."""
    trainer = config.trainer
    epochs, steps = trainer.max_epochs, trainer.max_steps
    for key, value in (("max_epochs", epochs), ("max_steps", steps)):
        if value is not None and value < 1 and value != -1:
            raise ConfigurationError(
                f"trainer.{key}={value}: expected a number of at least 1, or -1 for no limit."
            )
    has_end = epochs is not None and epochs > 0
    if not has_end and steps == -1:
        raise ConfigurationError(
            f"trainer.max_epochs={_written(epochs)}: the learning rate schedule needs the length "
            "of the training. Set trainer.max_steps too, or as many epochs as trainer.max_time "
            "allows."
        )
    for key in ("min_epochs", "check_val_every_n_epoch"):
        if has_end and trainer[key] is not None and trainer[key] > epochs:
            raise ConfigurationError(
                f"trainer.{key}={trainer[key]}: expected at most the {epochs} epochs of "
                "trainer.max_epochs (task.epochs)."
            )
    time = trainer.max_time
    if time is not None and not (re.fullmatch(r"\d+(:\d\d){3}", time) and time.strip("0:")):
        raise ConfigurationError(
            f"trainer.max_time={time}: expected DD:HH:MM:SS, such as 00:12:00:00 for twelve hours."
        )


def _check_limits(config: DictConfig) -> None:
    for key in ("limit_train_batches", "limit_val_batches"):
        value = config.trainer[key]
        is_fraction = type(value) is float and 0 < value <= 1
        if value is not None and not is_fraction and not _is_count(value):
            raise ConfigurationError(
                f"trainer.{key}={_written(value)}: expected a number of batches of at least 1, or "
                "a fraction of them above 0, at most 1.0."
            )
    run = config.trainer.fast_dev_run
    if not isinstance(run, bool) and not _is_count(run):
        raise ConfigurationError(
            f"trainer.fast_dev_run={_written(run)}: expected true, false or a number of batches."
        )


def _check_devices(config: DictConfig) -> None:
    devices = config.trainer.devices
    numbers = list(devices) if OmegaConf.is_list(devices) else []
    is_list = bool(numbers) and all(type(number) is int and number >= 0 for number in numbers)
    is_list = is_list and len(set(numbers)) == len(numbers)
    if not is_list and not _is_count(devices) and devices not in ("auto", -1):
        raise ConfigurationError(
            f"trainer.devices={_written(devices)}: expected a number of at least 1, -1 for all, a "
            "list of numbers of GPUs such as [0,1], or auto."
        )
    strategy = config.trainer.strategy
    if re.search("spawn|fork|notebook", strategy):
        raise ConfigurationError(
            f"trainer.strategy={strategy}: processes are started as commands. Use ddp."
        )
    nodes = config.trainer.num_nodes
    if nodes > 1 and not any(name in os.environ for name in _LAUNCHERS):
        raise ConfigurationError(
            f"trainer.num_nodes={nodes}: nothing starts the processes on the other nodes, so this "
            "one would wait for them without end. Start it on each node with torchrun or srun, or "
            "use hydra/launcher=slurm."
        )


def _check_precision(config: DictConfig) -> None:
    precision = config.trainer.precision
    if str(precision) not in (*PRECISIONS, "32", "16", "bf16"):
        raise ConfigurationError(
            f"trainer.precision={_written(precision)}: not a choice. "
            f"{suggestion(str(precision), PRECISIONS)}"
        )


def check_trainer(config: DictConfig) -> None:
    """Raise ConfigurationError for a setting of the trainer, in configurations that have one."""
    if "trainer" not in config:
        return
    _check_devices(config)
    _check_limits(config)
    _check_precision(config)
    if "task" in config:  # a training
        _check_length(config)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _written(value: Any) -> Any:
    return "null" if value is None else value
