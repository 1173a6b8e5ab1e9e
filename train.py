"""Train a model: `python train.py model=resnet18`, `python train.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> float | None:
    """Train as configured; returns the best value of the monitored metric.

    With `inspect=true` the data set is only read and described.
    """
    if config.inspect:
        from capsule_inspection.workflows.inspect import inspect_dataset

        inspect_dataset(config)
        return None
    from capsule_inspection.workflows.train import train

    return train(config)


def report(sweep_folder: Path) -> None:
    """Compare the finished jobs of a sweep."""
    from capsule_inspection.workflows.compare import report_sweep

    report_sweep(sweep_folder)


if __name__ == "__main__":
    folder = Path(__file__).parent / "conf"
    sys.exit(entry.run(main, config_folder=folder, name="train", after_sweep=report))
