"""Cuts the power of a simulated disk anywhere, and checks what is left; needs root, and Linux.

`python -m benchmarks.power_cut --cuts 20` runs each command on ext4 in a file. Before some of its
file operations, and after it has ended, another program's fsync commits the journal, names and
all, and the disk is copied. A copy is mounted as after a power cut: a file that has other bytes
than the program had seen is a fault, unless the program appends to it. Then the command goes on as
in kill_loop.py. The file system lacks what it does for programs that do not flush.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks import forked
from benchmarks.kill_cases import Case, make_cases, prepare_shared
from benchmarks.kill_loop import Killer, Trial, share_trials, table

SIZE_MB = 192
ORDERED = "noauto_da_alloc"
END = "the end"
WRITEBACK = "noauto_da_alloc,nodelalloc,data=writeback"
APPENDED = re.compile(r"(^|/)(\w+\.(log|jsonl|txt)|[\w.]+\.lock|.*tfevents.*|other|lost\+found)$")
IN_PLACE = re.compile(r"(^|/)images/\w+\.jpg$")
UNNAMED = re.compile(r"(^|/)(\.[^/]*\.part|.*\.partial)(/|$)")
"""Files that may be cut: appended to, until the end written in place, or not renamed yet."""


class Disk:
    """A file system in a file, mounted at `place`."""

    def __init__(self, image: Path, place: Path, options: str) -> None:
        self.image, self.place, self.options = image, place, options

    def make(self) -> None:
        """Make it empty."""
        self.image.unlink(missing_ok=True)
        self.image.touch()
        os.truncate(self.image, SIZE_MB << 20)
        _call("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)

    @contextmanager
    def mounted(self, image: Path) -> Iterator[None]:
        """Mount this disk or a copy; unmounted at the end."""
        _call("mount", "-o", f"loop,{self.options}", image, self.place)
        try:
            yield
        finally:
            _call("umount", self.place)

    def copy(self, name: str) -> Path:
        """A copy of the disk, just after another program has flushed a file of its own."""
        handle = os.open(self.place / "other", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, b"x")
        os.fsync(handle)
        os.close(handle)
        copied = self.image.with_name(name)
        _call("cp", "--sparse=always", self.image, copied)
        return copied


def cut_power(case: Case, disk: Disk, *, cuts: int, seed: int) -> list[Trial]:
    """Run a command, cut the power of copies of its disk, and go on with each."""
    disk.make()
    with disk.mounted(disk.image):
        killer = Killer(case, disk.place)
    disk.make()
    chosen = random.Random(f"{case.name} {seed}").sample(range(killer.operations), cuts - 1)
    with disk.mounted(disk.image):
        copies = _copies(killer, disk, chosen)
    return [_check(killer, disk, moment, *copy) for moment, copy in copies.items()]


def _copies(
    killer: Killer, disk: Disk, chosen: Sequence[int]
) -> dict[str, tuple[Path, dict[str, bytes]]]:
    """Copies of the disk with the bytes of the files at that moment, by moment."""
    here, there = multiprocessing.get_context("fork").Pipe()
    copies = {}

    def take(moment: str) -> None:
        name = moment.replace(" ", "_")
        copies[moment] = (disk.copy(name), named_content(disk.place))

    process = forked.start(
        killer.case.command,
        folder=killer.home,
        log=killer.log,
        at_operation=lambda number: _wait(there, number) if number in chosen else None,
    )
    while process.is_alive():
        if here.poll(0.05):
            number = here.recv()
            os.killpg(process.pid, signal.SIGSTOP)  # also threads that write other files
            take(f"operation {number}")
            os.killpg(process.pid, signal.SIGCONT)
            here.send(None)
    take(END)
    return copies


def _wait(pipe: Connection, number: int) -> None:
    pipe.send(number)
    pipe.recv()


def _check(killer: Killer, disk: Disk, moment: str, image: Path, before: dict[str, bytes]) -> Trial:
    with disk.mounted(image):
        after = named_content(disk.place)
        damaged = [
            f"{name}: {len(after.get(name, b''))} bytes, expected {len(content)}"
            for name, content in before.items()
            if after.get(name) != content and (moment == END or not IN_PLACE.search(name))
        ]
        trial = killer.recover(moment, has_ended=moment == END)
    image.unlink()
    if damaged:
        trial.fault += "\n".join(["on the disk:", *damaged])
        print(f"{trial.command}, {moment}: {trial.fault}", flush=True)
    return trial


def named_content(folder: Path) -> dict[str, bytes]:
    """The bytes of all files that have their names for good, and are not appended to, by name."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: path.read_bytes()
        for name, path in paths.items()
        if path.is_file() and not APPENDED.search(name) and not UNNAMED.search(name)
    }


def _call(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Cut the power; returns 1 where something is lost."""
    known = tuple(make_cases(Path(), Path()))[:-1]
    parser = argparse.ArgumentParser(prog="power_cut", description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=100, help="of all commands together")
    parser.add_argument("--command", nargs="+", choices=known, default=known)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writeback", action="store_true", help=f"mount with {WRITEBACK}")
    given = parser.parse_args(arguments)
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        print("skipped: mounting a disk needs root and mkfs.ext4")
        return 0
    forked.import_all(plots=False)
    home = Path(tempfile.mkdtemp(prefix="power_cut.", dir="/dev/shm")).resolve()
    (home / "place").mkdir()
    disk = Disk(home / "disk", home / "place", WRITEBACK if given.writeback else ORDERED)
    trials = []
    try:
        prepare_shared(home / "shared")
        cases = make_cases(home / "shared", home / "place" / "work")
        for name, cuts in share_trials(given.cuts, given.command).items():
            trials += cut_power(cases[name], disk, cuts=cuts, seed=given.seed)
    finally:
        shutil.rmtree(home)
    print(table(trials))
    return int(any(trial.fault for trial in trials))


if __name__ == "__main__":
    sys.exit(main())
