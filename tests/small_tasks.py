"""How the tasks of tests learn."""

from __future__ import annotations

from functools import partial

import torch

from capsule_inspection.tasks.base import Learning
from capsule_inspection.tasks.optimizers import FineTuning
from capsule_inspection.tasks.schedulers import constant


def learning(*, rate: float = 0.02, monitor: str = "val/loss", mode: str = "min") -> Learning:
    """One constant rate for all layers, nothing frozen and nothing smoothed."""
    return Learning(
        optimizer=partial(torch.optim.Adam, lr=rate),
        learning_rate=rate,
        schedule=constant,
        tuning=FineTuning(0, 1.0, 1.0),
        monitor=monitor,
        mode=mode,
        smoothing=0.0,
    )
