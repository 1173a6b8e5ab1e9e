"""A training made ready and not begun: its data, network and task, as `train` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from capsule_inspection.config import checks
from capsule_inspection.tasks.adapter import Fitted
from capsule_inspection.types import Estimate
from capsule_inspection.workflows import evaluate, train
from capsule_inspection.workflows.finish import Training, fit_network
from capsule_inspection.workflows.load_run import build_predictor

Compose = Callable[..., Any]
Prepare = Callable[..., Training]


def preparing(compose: Compose, folder: Path, *common: str) -> Prepare:
    """What checks settings and makes all that a training needs; its split goes into the folder."""

    def prepare(*settings: str) -> Training:
        config = compose("train", *common, *settings)
        checks.check(config)
        folder.mkdir(parents=True, exist_ok=True)
        return train._prepare(config, folder, None, None)

    return prepare


def drawn_in(folder: Path) -> tuple[str, str]:
    """Settings for drawn capsules that tests share, and their cache."""
    return f"data.root={folder / 'drawn'}", f"data.cache_folder={folder / 'cache'}"


def fit(made: Training) -> Fitted | None:
    """What the task fits to this network."""
    return fit_network(made, made.runtime)


def evaluate_made(made: Training) -> dict[str, Estimate]:
    """Fit a network and evaluate it: metrics, and files in the folder of its split."""
    fitted = fit(made)
    predictor = build_predictor(
        made.config,
        made.task.network,
        fitted.state() if fitted else {},
        classes=made.data.index.classes,
        runtime=made.runtime,
        where=made.folder,
    )
    return evaluate.evaluate_splits(
        made.folder,
        predictor,
        made.data,
        splits_of=evaluate.final_splits(made.config, made.data),
        config=made.config,
    )
