"""Runs a script with its arguments and prints last the number of slow libraries that it imports."""

from __future__ import annotations

import contextlib
import runpy
import sys

SLOW = ("torch", "lightning", "timm", "torchvision")

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    with contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
    print(sum(name in sys.modules for name in SLOW))
