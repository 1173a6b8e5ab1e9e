"""Annotations to masks: `python convert.py input=... output=...`, `python convert.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("convert"))
