"""Predictions for images: `python predict.py run=... input=...`, `python predict.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("predict"))
