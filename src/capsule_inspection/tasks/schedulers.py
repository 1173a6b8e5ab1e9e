"""Learning rates over the training, from torch's own schedulers.

Each function takes the optimizer and the number of steps, and returns a `Schedule`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)


@dataclass(frozen=True)
class Schedule:
    """A scheduler, and whether it steps with the optimizer or with the monitored figure."""

    scheduler: LRScheduler
    each_step: bool = True


def cosine(
    optimizer: Optimizer, *, total_steps: int, mode: str, warmup: float, final: float
) -> Schedule:
    """Linear warm-up over a share of the steps, then half a cosine to `final` of the rate."""
    factor = partial(cosine_factor, total=total_steps, warmup=warmup, final=final)
    return Schedule(LambdaLR(optimizer, factor))


def cosine_factor(step: int, *, total: int, warmup: float, final: float) -> float:
    """Share of the full rate at a step, in [0, 1]."""
    warm = max(1, round(warmup * total))
    if step < warm:
        return (step + 1) / warm
    progress = min(1.0, (step - warm) / max(1, total - warm))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: int,
    mode: str,
    warmup: float,
    initial: float,
    final: float,
) -> Schedule:
    """Up to the rate and down again (Smith and Topin 2018); momentum stays as it is."""
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
    """torch's, whose length is that of the training at hand: a resumed one may be longer."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        length = {"total_steps": self.total_steps, "_schedule_phases": self._schedule_phases}
        super().load_state_dict({**state_dict, **length})


def plateau(
    optimizer: Optimizer,
    *,
    total_steps: int,
    mode: str,
    factor: float,
    patience: int,
    min_lr: float,
) -> Schedule:
    """Lower the rate by `factor` after `patience` epochs without a better monitored figure."""
    scheduler = ReduceLROnPlateau(
        optimizer,
        mode="min" if mode == "min" else "max",
        factor=factor,
        patience=patience,
        min_lr=min_lr,
    )
    return Schedule(scheduler, each_step=False)


def constant(optimizer: Optimizer, *, total_steps: int, mode: str) -> Schedule:
    """The same rate throughout."""
    return Schedule(ConstantLR(optimizer, factor=1.0, total_iters=0))
