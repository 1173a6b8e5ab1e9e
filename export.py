"""Export of a trained model: `python export.py run=... format=onnx`, `python export.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Export as configured."""
    from capsule_inspection.workflows.export import export

    export(config)


if __name__ == "__main__":
    sys.exit(entry.run(main, config_folder=Path(__file__).parent / "conf", name="export"))
