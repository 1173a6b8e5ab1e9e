"""`python benchmarks/run.py [names...] [--rounds N] [--quick]`: measure, print, and keep the rows.

Each subject is a module of this folder with a function `measure`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

SUBJECTS = {
    "startup": 5,
    "first_step": 5,
    "memory": 1,
    "growth": 2,
    "cold_start": 3,
    "overhead": 5,
    "epoch": 5,
    "flops": 5,
    "depthwise": 5,
    "report": 3,
    "localisation": 3,
    "prediction": 5,
    "backends": 5,
    "sweep": 3,
    "gpu": 3,
}
"""Each subject with its rounds, unless --rounds says otherwise."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the subjects that are asked for; 1 where a target was missed, else 0."""
    asked = parse(arguments)
    from benchmarks import figures, results, sizes

    chosen = sizes.QUICK if asked.quick else sizes.FULL
    file = results.file_of_today()
    print(results.describe_machine())
    if asked.quick:
        print("--quick: sizes of a smoke run; these figures mean nothing.")
    print(figures.HEADER)
    missed = False
    for name in asked.names or SUBJECTS:
        rounds = asked.rounds or (1 if asked.quick else SUBJECTS[name])
        rows = importlib.import_module(f"benchmarks.{name}").measure(chosen, rounds=rounds)
        for row in rows:
            print(figures.line(row), flush=True)
        results.append(file, name, rows, quick=asked.quick)
        missed |= any(figures.is_met(row) is False for row in rows)
    print(f"Kept in {file}")
    return int(missed)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ends the process where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--rounds", type=int, help="instead of each subject's own number")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it all run?")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in SUBJECTS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: expected names of {', '.join(SUBJECTS)}")
    if asked.rounds is not None and asked.rounds < 1:
        parser.error("--rounds: expected 1 or more")
    return asked


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    # Modules are found as benchmarks.<name>, also from a folder elsewhere.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
