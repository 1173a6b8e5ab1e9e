"""How the tasks of tests learn."""

from __future__ import annotations

from functools import partial

import torch

from capsule_inspection.tasks.optimization import (
    FineTuningConfig,
    OptimizationConfig,
    constant_schedule,
)


def optimization(
    *, rate: float = 0.02, monitor: str = "val/loss", mode: str = "min"
) -> OptimizationConfig:
    """One constant rate for all layers, nothing frozen and nothing smoothed."""
    return OptimizationConfig(
        optimizer=partial(torch.optim.Adam, lr=rate),
        learning_rate=rate,
        schedule=constant_schedule,
        fine_tuning=FineTuningConfig(0, 1.0, 1.0),
        monitor=monitor,
        mode=mode,
        smoothing=0.0,
    )
