"""Export of a trained model: `python export.py run=... format=onnx`, `python export.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("export"))
