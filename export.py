"""A trained model as a file of its own: `python export.py run=... format=onnx`, `--help`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config.entry import open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Export as configured."""
    from capsule_inspection.workflows.exporting import export

    export(config)


if __name__ == "__main__":
    open_door(main, config_folder=Path(__file__).parent / "conf", name="export")
