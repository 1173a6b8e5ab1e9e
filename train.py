"""Train a model: `python train.py model=resnet18`, `python train.py --help`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config.entry import open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> float | None:
    """Train as configured; returns the best value of the monitored figure."""
    from capsule_inspection.workflows.training import train

    return train(config)


def report(sweep_folder: Path) -> None:
    """Compare the finished jobs of a sweep."""
    from capsule_inspection.workflows.comparing import report_sweep

    report_sweep(sweep_folder)


if __name__ == "__main__":
    folder = Path(__file__).parent / "conf"
    open_door(main, config_folder=folder, name="train", after_sweep=report)
