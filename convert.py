"""Annotations to masks: `python convert.py input=... output=...`, `python convert.py --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.config import entry

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(config: DictConfig) -> None:
    """Convert as configured."""
    from capsule_inspection.workflows.convert import convert

    convert(config)


if __name__ == "__main__":
    sys.exit(entry.run(main, config_folder=Path(__file__).parent / "conf", name="convert"))
