"""Comparison of runs: `python compare.py runs=[outputs/a,outputs/b]`, `compare.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("compare"))
