"""A training made ready and not begun: its data, network and task, as `train` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from capsule_inspection.config import checks
from capsule_inspection.types import Figure
from capsule_inspection.workflows import evaluating, training
from capsule_inspection.workflows.kinds import kind_of
from capsule_inspection.workflows.training import Training

Compose = Callable[..., Any]
Prepare = Callable[..., Training]


def preparing(compose: Compose, folder: Path, *common: str) -> Prepare:
    """What checks settings and makes all that a training needs; its split goes into the folder."""

    def prepare(*settings: str) -> Training:
        config = compose("train", *common, *settings)
        checks.check(config)
        folder.mkdir(parents=True, exist_ok=True)
        return training._prepare(config, folder, None, None)

    return prepare


def drawn_in(folder: Path) -> tuple[str, str]:
    """Settings for drawn capsules that tests share, and their cache."""
    return f"data.root={folder / 'drawn'}", f"data.cache_folder={folder / 'cache'}"


def calibrate(made: Training) -> dict[str, Any]:
    """Fit what belongs to a trained network to this one; returns what run.json would say."""
    kind = kind_of(made.config)
    return kind.calibrate(made.task, made.data, choices=made.choices, config=made.config)


def judge(made: Training) -> dict[str, Figure]:
    """Figures and predictions of a calibrated network, written into the folder of its split."""
    stages = evaluating.final_stages(made.config, made.data)
    return evaluating.evaluate_stages(
        made.folder, made.task, made.data, stages=stages, choices=made.choices, config=made.config
    )
