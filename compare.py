"""Which model may I trust? `python compare.py runs=[outputs/a,outputs/b]`, `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config.entry import open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Compare as configured."""
    from capsule_inspection.workflows.comparing import compare_runs

    compare_runs(config)


if __name__ == "__main__":
    open_door(main, config_folder=Path(__file__).parent / "conf", name="compare")
