"""Optimizer, schedule and fine-tuning, from a configuration."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from capsule_inspection.tasks.base import Learning
from capsule_inspection.tasks.optimizers import FineTuning
from capsule_inspection.workflows.windows import judged_from


def build_learning(config: DictConfig) -> Learning:
    """Optimizer, schedule and fine-tuning as configured."""
    tuning = config.finetune
    return Learning(
        optimizer=instantiate(config.optimizer, _partial_=True, _convert_="all"),
        learning_rate=config.optimizer.lr,
        schedule=instantiate(config.scheduler, _partial_=True, _convert_="all"),
        tuning=FineTuning(tuning.head_epochs, tuning.layer_decay, tuning.head_lr_factor),
        monitor=config.task.monitor,
        mode=config.task.monitor_mode,
        smoothing=config.task.monitor_smoothing,
        judged_from=judged_from(config),
    )
