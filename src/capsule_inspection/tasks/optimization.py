"""Optimizers by name, parameter groups, learning rate schedules and the smoothed monitor.

Sources: layer-wise decay from Howard and Ruder 2018, section 3.2; no weight decay on vectors
(biases and normalisation) from He et al. 2019, "Bag of tricks", section 3.1.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

from capsule_inspection.types import ConfigurationError

log = logging.getLogger(__name__)

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


@dataclass(frozen=True)
class FineTuningConfig:
    """How the layers are trained; see `conf/finetune/`. `head_epochs` of -1 means always."""

    head_epochs: int
    layer_decay: float
    head_lr_mult: float


@dataclass(frozen=True)
class Schedule:
    """A scheduler, and whether it steps with the optimizer or with the monitored metric."""

    scheduler: LRScheduler
    each_step: bool = True


@dataclass(frozen=True)
class OptimizationConfig:
    """Optimizer, schedule, and the metric that selects the best epoch.

    `schedule` is called with optimizer, total_steps and mode. `monitor` is a key such as
    val/balanced_accuracy. Its moving average, `monitor_key`, selects the epoch; the average starts
    anew at the epoch `select_from_epoch`.
    """

    optimizer: OptimizerFactory
    learning_rate: float
    schedule: Callable[..., Schedule]
    fine_tuning: FineTuningConfig
    monitor: str
    mode: str
    smoothing: float
    select_from_epoch: int = 0

    @property
    def monitor_key(self) -> str:
        return f"{self.monitor}_smoothed"


def build_optimization(config: DictConfig, *, select_from_epoch: int = 0) -> OptimizationConfig:
    """Optimizer, schedule and fine-tuning of a configuration."""
    fine_tuning = config.finetune
    epochs = config.trainer.max_epochs or -1
    if fine_tuning.head_epochs >= epochs > 0:
        log.warning(
            "finetune.head_epochs=%d and trainer.max_epochs=%d: the head alone is trained. Raise "
            "the epochs, or set finetune.head_epochs=0.",
            fine_tuning.head_epochs,
            epochs,
        )
    return OptimizationConfig(
        optimizer=_choose(OPTIMIZERS, config.optimizer),
        learning_rate=config.optimizer.lr,
        schedule=_choose(SCHEDULES, config.scheduler),
        fine_tuning=FineTuningConfig(
            fine_tuning.head_epochs, fine_tuning.layer_decay, fine_tuning.head_lr_mult
        ),
        monitor=config.task.monitor,
        mode=config.task.monitor_mode,
        smoothing=config.task.monitor_smoothing,
        select_from_epoch=select_from_epoch,
    )


def _choose(table: Mapping[str, Callable[..., Any]], settings: DictConfig) -> Callable[..., Any]:
    """The function that `builder` names, with the other settings as its arguments."""
    arguments: Any = OmegaConf.to_container(settings, resolve=True)
    return partial(table[arguments.pop("builder")], **arguments)


@dataclass
class EMAMetric:
    """Exponential moving average with bias correction at its start, as in Adam."""

    decay: float
    total: float = 0.0
    weight: float = 0.0

    def update(self, value: float) -> float:
        """Add the value of an epoch; returns the average."""
        self.total = self.decay * self.total + (1 - self.decay) * value
        self.weight = self.decay * self.weight + (1 - self.decay)
        return self.total / self.weight

    def state_dict(self) -> dict[str, float]:
        return {"total": self.total, "weight": self.weight}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.total, self.weight = state["total"], state["weight"]


def parameter_groups(
    layers: Sequence[Sequence[nn.Parameter]], *, learning_rate: float, fine_tuning: FineTuningConfig
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, in the order of `layers`: from the input to the head.

    Each layer has up to two groups: tensors of two or more dimensions, and vectors, which have no
    weight decay. Groups with equal settings are merged: fewer groups are faster to step.
    """
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for distance, layer in zip(range(len(layers) - 1, -1, -1), layers, strict=True):
        rate = learning_rate * fine_tuning.layer_decay**distance
        if distance == 0:
            rate *= fine_tuning.head_lr_mult
        for is_vector in (False, True):
            parameters = [parameter for parameter in layer if (parameter.ndim <= 1) is is_vector]
            if not parameters:
                continue
            no_decay = {"weight_decay": 0.0} if is_vector else {}
            new = {"params": [], "lr": rate, **no_decay}
            groups.setdefault((rate, is_vector), new)["params"] += parameters
    return list(groups.values())


def torch_optimizer(
    parameters: Iterable[dict[str, Any]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> Optimizer:
    """An optimizer of torch.optim by its class name."""
    optimizers: dict[str, Callable[..., Optimizer]] = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    _require_known(name, optimizers, library="torch")
    if "weight_decay" in inspect.signature(optimizers[name]).parameters:
        create = partial(optimizers[name], lr=lr, weight_decay=weight_decay)
        return _create(create, parameters, name, options)
    optimizer = _create(partial(optimizers[name], lr=lr), parameters, name, options)
    if weight_decay:
        raise ConfigurationError(
            f"optimizer.weight_decay={weight_decay:g}: {name} has none. Set it to 0."
        )
    return optimizer


def timm_optimizer(
    parameters: Iterable[dict[str, Any]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> Optimizer:
    """An optimizer of timm by its name."""
    from timm.optim import create_optimizer_v2, list_optimizers

    _require_known(name, [str(optimizer) for optimizer in list_optimizers()], library="timm")
    create = partial(create_optimizer_v2, opt=name, lr=lr, weight_decay=weight_decay)
    return _create(create, parameters, name, options)


def _create(
    create: Callable[..., Optimizer],
    parameters: Iterable[dict[str, Any]],
    name: str,
    options: Mapping[str, Any],
) -> Optimizer:
    """The optimizer, after a step with stand-ins of the parameters. Raises ConfigurationError."""
    groups = list(parameters)
    error = _find_error(create, groups, options)
    if error is not None and options and _find_error(create, groups, {}) is None:
        raise ConfigurationError(
            f"optimizer.options: {name} does not accept them ({_first_line(error)}). Remove the "
            "unknown ones, and correct the others."
        ) from error
    if error is not None:
        raise ConfigurationError(
            f"optimizer.name={name} does not suit this network: {_first_line(error)}. Use another "
            "one, such as optimizer=adamw or optimizer=sgd."
        ) from error
    return create(groups, **options)


def _find_error(
    create: Callable[..., Optimizer], groups: Iterable[dict[str, Any]], options: Mapping[str, Any]
) -> Exception | None:
    """What creating or stepping the optimizer raises for tensors with as many dimensions."""
    stand_ins = []
    for group in groups:
        shapes = {parameter.ndim: (2,) * parameter.ndim for parameter in group["params"]}
        stand_ins.append(
            {**group, "params": [nn.Parameter(torch.ones(s)) for s in shapes.values()]}
        )
    for group in stand_ins:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    try:
        with torch.random.fork_rng(devices=[]):  # some draw random numbers
            create(stand_ins, **options).step()
    except Exception as error:  # whatever a library raises
        return error
    return None


def _first_line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")


def _require_known(name: str, valid: Iterable[str], *, library: str) -> None:
    by_lower = {key.lower(): key for key in valid}
    if name in by_lower.values():
        return
    close = difflib.get_close_matches(name.lower(), by_lower, n=3)
    near = [by_lower[key] for key in close] or sorted(by_lower.values())
    raise ConfigurationError(
        f"optimizer.name={name}: {library} has no such optimizer. Did you mean {' or '.join(near)}?"
    )


def cosine_schedule(
    optimizer: Optimizer, *, total_steps: int, mode: str, warmup: float, final: float
) -> Schedule:
    """Linear warm-up over a fraction of the steps, then half a cosine to `final` of the rate."""
    factor = partial(_cosine_factor, total=total_steps, warmup=warmup, final=final)
    return Schedule(LambdaLR(optimizer, factor))


def _cosine_factor(step: int, *, total: int, warmup: float, final: float) -> float:
    """Fraction of the full rate at a step, in [0, 1]."""
    warm = max(1, round(warmup * total))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, total - warm))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def one_cycle_schedule(
    optimizer: Optimizer,
    *,
    total_steps: int,
    mode: str,
    warmup: float,
    initial: float,
    final: float,
) -> Schedule:
    """One cycle of the learning rate (Smith and Topin 2018); the momentum is constant."""
    steps = max(total_steps, 2) + 1  # Lightning steps once more after the last batch
    scheduler = _OneCycle(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=steps,
        pct_start=max(warmup, 2 / steps),
        div_factor=1 / initial,
        final_div_factor=initial / final,
        cycle_momentum=False,
    )
    return Schedule(scheduler)


class _OneCycle(OneCycleLR):
    """Keeps its own length when a state is loaded: a resumed training may be longer."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        length = {"total_steps": self.total_steps, "_schedule_phases": self._schedule_phases}
        super().load_state_dict({**state_dict, **length})


def plateau_schedule(
    optimizer: Optimizer,
    *,
    total_steps: int,
    mode: str,
    factor: float,
    patience: int,
    min_lr: float,
) -> Schedule:
    """Multiply the rate by `factor` after `patience` epochs without a better monitored metric."""
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode="min" if mode == "min" else "max",
        factor=factor,
        patience=patience,
        min_lr=min_lr,
    )
    return Schedule(scheduler, each_step=False)


def constant_schedule(optimizer: Optimizer, *, total_steps: int, mode: str) -> Schedule:
    """A constant learning rate."""
    return Schedule(ConstantLR(optimizer, factor=1.0, total_iters=0))


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "torch": torch_optimizer,
    "timm": timm_optimizer,
}
"""Every value of `optimizer.builder`."""
SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "cosine": cosine_schedule,
    "one_cycle": one_cycle_schedule,
    "plateau": plateau_schedule,
    "none": constant_schedule,
}
"""Every value of `scheduler.builder`."""
