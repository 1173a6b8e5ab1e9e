"""Metrics of a finished run: `python evaluate.py run=outputs/...`, `python evaluate.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("evaluate"))
