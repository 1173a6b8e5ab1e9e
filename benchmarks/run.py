"""`python benchmarks/run.py [names...] [--rounds N] [--quick]`: measure, print, and save.

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
    "prediction_start": 5,
    "first_step": 5,
    "memory": 1,
    "dataset_scaling": 2,
    "cold_start": 3,
    "overhead": 5,
    "epoch": 5,
    "flops": 5,
    "depthwise": 5,
    "report": 3,
    "comparison_errors": 1,
    "localization": 3,
    "prediction": 5,
    "backends": 5,
    "sweep": 3,
    "gpu": 3,
}
"""Subjects and their default number of rounds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the given subjects; returns 1 where a target was missed, else 0."""
    options = parse(arguments)
    from benchmarks import measurements, results, sizes

    scale = sizes.QUICK if options.quick else sizes.FULL
    file = results.results_path()
    print(results.describe_machine())
    if options.quick:
        print("--quick: sizes of a smoke run; these values mean nothing.")
    print(measurements.HEADER)
    missed = False
    for name in options.names or SUBJECTS:
        rounds = options.rounds or (1 if options.quick else SUBJECTS[name])
        found = importlib.import_module(f"benchmarks.{name}").measure(scale, rounds=rounds)
        for one in found:
            print(measurements.format_line(one), flush=True)
        results.append_results(file, name, found, quick=options.quick)
        missed |= any(measurements.is_met(one) is False for one in found)
    print(f"Saved to {file}")
    return int(missed)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--rounds", type=int, help="replaces the default of each subject")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to check that all subjects run"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in SUBJECTS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: expected names of {', '.join(SUBJECTS)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: expected 1 or more")
    return options


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.ERROR)
    # Makes benchmarks.<name> importable from any working folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main())
