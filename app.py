"""Local web page for images: `python app.py run=...`, `python app.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Serve as configured, until the process is stopped."""
    from capsule_inspection.workflows.app import serve

    serve(config)


if __name__ == "__main__":
    sys.exit(entry.run(main, config_folder=Path(__file__).parent / "conf", name="app"))
