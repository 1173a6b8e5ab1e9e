"""A local page to drop photographs on: `python app.py run=...`, `python app.py --help`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config.entry import open_door

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Serve as configured, until it is stopped."""
    from capsule_inspection.workflows.serving import serve

    serve(config)


if __name__ == "__main__":
    open_door(main, config_folder=Path(__file__).parent / "conf", name="app")
