"""`python -m benchmarks.peers [name=value ...]`: this project and its peers, side by side.

Both sides are processes of their own, run in turns on the same images; a warm-up round comes first,
in which their memory is measured. Prints ratios, ours / peer, and appends them to the results of
the other benchmarks. Settings and what is not compared: benchmarks/README.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks import results
from benchmarks.measurements import HEADER, Measurement, format_line, interleave, is_met, ratios
from benchmarks.peers.commands import Command, Row, run
from benchmarks.peers.images import prepare_images, render
from benchmarks.peers.others import Anomalib, Timm, Ultralytics
from benchmarks.peers.ours import Ours
from benchmarks.peers.rows import ROWS, Sides

TARGET = 1.0
"""Of ours / peer."""


@dataclass
class Data:
    """`root` is a data set in the layout of MVTec AD; without it, capsules are rendered."""

    root: str | None = None


@dataclass
class Settings:
    """Of the command line.

    `environments` is a folder in which the peers stay installed, `checkouts` one with the
    repository of timm.
    """

    rows: list[str] = field(default_factory=lambda: list(ROWS))
    rounds: int = 3
    images: int = 262
    predicted: int = 500
    epochs: int = 5
    bank: int = 1000
    data: Data = field(default_factory=Data)
    environments: str | None = None
    checkouts: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; returns 1 where a target was missed, 2 where a setting is wrong."""
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments)
        root = Path(settings.data.root) if settings.data.root else render(settings.images)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            return compare(settings, root, folder)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def parse(arguments: Sequence[str]) -> Settings:
    """Settings of the command line. Raises ValueError where one is unknown or has a wrong value."""
    try:
        merged = OmegaConf.merge(Settings, OmegaConf.from_cli(list(arguments)))
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        known = ", ".join(Settings.__dataclass_fields__)
        message = str(error).splitlines()[0]
        raise ValueError(f"{message}. Settings are name=value, of {known}.") from error
    assert isinstance(settings, Settings)
    unknown = [name for name in settings.rows if name not in ROWS]
    if unknown:
        raise ValueError(f"rows={unknown}: expected some of {', '.join(ROWS)}.")
    for name in ("rounds", "images", "predicted", "epochs", "bank"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}={getattr(settings, name)}: expected 1 or more.")
    return settings


def compare(settings: Settings, root: Path, folder: Path) -> int:
    """Measure and print the rows; `folder` is for all files."""
    images = prepare_images(
        root, folder / "images", images=settings.images, predicted=settings.predicted
    )
    work = folder / "work"
    work.mkdir()
    environments = Path(settings.environments or folder / "environments").absolute()
    checkouts = Path(settings.checkouts).absolute() if settings.checkouts else None
    sizes = (settings.epochs, settings.bank)
    places = (images, work, environments, checkouts)
    sides = Sides(
        Ours(images, work, *sizes),
        Anomalib(*places, *sizes),
        Ultralytics(*places, *sizes),
        Timm(*places, *sizes),
    )
    print(results.describe_machine())
    print(HEADER)
    missed = False
    file = results.results_path()
    is_full = settings.images == Settings().images and settings.epochs == Settings().epochs
    for name in settings.rows:
        for row in ROWS[name](sides):
            found = measure(row, work, rounds=settings.rounds)
            for one in found:
                print(format_line(one), flush=True)
            results.append_results(file, f"peers: {name}", found, quick=not is_full)
            missed |= any(is_met(one) is False for one in found)
    print(f"Saved to {file}")
    return int(missed)


def measure(row: Row, folder: Path, *, rounds: int) -> list[Measurement]:
    """Time all commands of a row in turns; their memory in a round before."""
    print(f"Running {row.title}", file=sys.stderr, flush=True)
    commands = {**row.ours, **row.peers}
    memory = {
        name: run(command, folder, watch_memory=True)[1].total_peak_bytes
        for name, command in commands.items()
    }
    functions = {name: partial(_seconds, command, folder) for name, command in commands.items()}
    return summarize(row, interleave(functions, rounds=rounds, warm_up=False), memory)


def _seconds(command: Command, folder: Path) -> float:
    return run(command, folder)[0]


def summarize(
    row: Row, seconds: Mapping[str, Sequence[float]], memory: Mapping[str, int]
) -> list[Measurement]:
    """Ratios of each pair, then the values of each command; `memory` in bytes."""
    lines = []
    for peer in row.peers:
        for name in row.ours:
            title = f"{row.title}: {name} / {peer}"
            lines.append(Measurement(title, ratios(seconds[name], seconds[peer]), target=TARGET))
            ratio = memory[name] / max(1, memory[peer])
            lines.append(Measurement(f"{title}, peak memory", (ratio,), target=TARGET))
    for name, values in seconds.items():
        lines.append(
            Measurement(
                f"{row.title}: {name}",
                tuple(values),
                "s",
                note=f"peak memory {memory[name] / 1e9:.2f} GB",
            )
        )
    lines += [
        Measurement(f"{row.title}: {peer}", (), note=reason) for peer, reason in row.missing.items()
    ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
