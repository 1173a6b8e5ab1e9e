"""Parameter groups with their own rates, and optimizers of libraries by name.

Layer-wise decay: Howard and Ruder 2018, section 3.2. No weight decay on vectors (biases and
normalisation), after He et al. 2019, "Bag of tricks", section 3.1.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from capsule_inspection.types import ConfigurationError

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


@dataclass(frozen=True)
class FineTuning:
    """How the layers learn; see `conf/finetune/`. `head_epochs` of -1 means always."""

    head_epochs: int
    layer_decay: float
    head_lr_factor: float


def parameter_groups(
    layers: Sequence[Sequence[nn.Parameter]], *, learning_rate: float, tuning: FineTuning
) -> list[dict[str, Any]]:
    """Groups for an optimizer, from the input to the head, which comes last.

    `layers` runs from the input to the head. Each layer makes up to two groups: tensors of two or
    more dimensions, and vectors, which get no weight decay.
    """
    groups: list[dict[str, Any]] = []
    for distance, layer in zip(range(len(layers) - 1, -1, -1), layers, strict=True):
        rate = learning_rate * tuning.layer_decay**distance
        if distance == 0:
            rate *= tuning.head_lr_factor
        matrices = [parameter for parameter in layer if parameter.ndim > 1]
        vectors = [parameter for parameter in layer if parameter.ndim <= 1]
        if matrices:
            groups.append({"params": matrices, "lr": rate})
        if vectors:
            groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return merge_equal(groups)


def merge_equal(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join groups that differ in their parameters only: fewer groups are faster to step."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for group in groups:
        key = tuple(sorted((name, value) for name, value in group.items() if name != "params"))
        if key in merged:
            merged[key]["params"] = [*merged[key]["params"], *group["params"]]
        else:
            merged[key] = group
    return list(merged.values())


def torch_optimizer(
    parameters: Iterable[dict[str, Any]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> Optimizer:
    """Any optimizer of torch.optim by its class name. Raises ConfigurationError for no such one."""
    optimizers = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer
    }
    if name not in optimizers:
        raise _unknown(name, optimizers, library="torch")
    return _construct(optimizers[name], name)(
        parameters, lr=lr, weight_decay=weight_decay, **options
    )


def timm_optimizer(
    parameters: Iterable[dict[str, Any]],
    *,
    name: str,
    lr: float,
    weight_decay: float,
    options: Mapping[str, Any],
) -> Optimizer:
    """Any optimizer of timm by its name. Raises ConfigurationError for no such one."""
    from timm.optim import create_optimizer_v2, list_optimizers

    valid = [str(optimizer) for optimizer in list_optimizers()]
    if name not in valid:
        raise _unknown(name, valid, library="timm")
    create = _construct(create_optimizer_v2, name)
    return create(list(parameters), opt=name, lr=lr, weight_decay=weight_decay, **options)


def _construct(factory: Callable[..., Optimizer], name: str) -> Callable[..., Optimizer]:
    def construct(*arguments: Any, **options: Any) -> Optimizer:
        try:
            return factory(*arguments, **options)
        except TypeError as error:
            raise ConfigurationError(
                f"optimizer.options: {name} does not take them ({error}). "
                "Drop what it does not know."
            ) from error

    return construct


def _unknown(name: str, valid: Iterable[str], *, library: str) -> ConfigurationError:
    by_lower = {key.lower(): key for key in valid}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3)
    near = [by_lower[key] for key in close] or sorted(valid)
    return ConfigurationError(
        f"optimizer.name={name}: {library} has no such optimizer. Did you mean {' or '.join(near)}?"
    )
