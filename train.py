"""Train a model: `python train.py model=resnet18`, `python train.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("train"))
