"""Local web page for images: `python app.py run=...`, `python app.py --help`."""

from __future__ import annotations

import sys

from capsule_inspection import commands

if __name__ == "__main__":
    sys.exit(commands.run("app"))
