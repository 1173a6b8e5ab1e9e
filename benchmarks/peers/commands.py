"""A command and what it needs; the rows of a comparison consist of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import ProcessResult, run_command

CLASSIFIER_PX, CLASSIFIER_BATCH = 224, 32
ANOMALY_PX, ANOMALY_BATCH = 256, 8
EPOCHS_OF_AUTOENCODERS = 2
"""The last one is timed."""


class MissingPeerError(Exception):
    """A peer cannot be run here; the message says why."""


@dataclass(frozen=True)
class Command:
    """A command, and what has to be there before.

    `output` is removed before each run, and so is what `cold` names. `needs` is run once where its
    output is missing. With `prints_seconds` the last line of its output is the measured time.
    """

    arguments: tuple[str, ...]
    output: Path | None = None
    cold: Path | None = None
    needs: Command | None = None
    statuses: tuple[int, ...] = (0,)
    environment: Mapping[str, str] = field(default_factory=dict)
    prints_seconds: bool = False


@dataclass(frozen=True)
class Row:
    """Commands of both sides; each of `ours` is compared with each of `peers`.

    `missing` are peers that cannot be run, with the reason.
    """

    title: str
    ours: Mapping[str, Command]
    peers: Mapping[str, Command]
    missing: Mapping[str, str] = field(default_factory=dict)


def run(
    command: Command, folder: Path, *, watch_memory: bool = False
) -> tuple[float, ProcessResult]:
    """Run in `folder`; returns the seconds that count, and the whole result.

    Raises RuntimeError with the end of its output where the command fails.
    """
    needed = command.needs
    if needed is not None and (needed.output is None or not needed.output.exists()):
        run(needed, folder)
    for path in (command.output, command.cold):
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
    done = run_command(
        command.arguments,
        folder=folder,
        statuses=command.statuses,
        watch_memory=watch_memory,
        environment=command.environment,
    )
    return (float(done.out.split()[-1]) if command.prints_seconds else done.seconds), done
