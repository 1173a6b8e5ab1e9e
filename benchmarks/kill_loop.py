"""Kills commands anywhere, goes on as their messages say, and compares the final files.

`python -m benchmarks.kill_loop --trials 100` kills each command at random moments of its duration
and right before random file operations, in turn; every fourth time the recovery is killed, too.
Then the same command runs again, and where that is refused, the one that resumes. A trial is lost
where neither ends well, one shows a traceback, or the files differ from an undisturbed run's.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import forked
from benchmarks.kill_cases import Case, make_cases, normalised_content, prepare_shared

BEFORE, AFTER = "killed", "ended before"
SAME, RESUMED, COMPLETE, LOST = "same command", "resumed", "complete", "lost"
_HANGS_S = 300
"""A command that takes longer hangs."""
_MAX_SHOWN = 3000
_MAX_LINE = 200
_MAX_CHANGES = 9
_COLUMNS = ("trials", BEFORE, AFTER, SAME, RESUMED, COMPLETE, "equal", LOST)


@dataclass
class Trial:
    """One command that was killed at `moments`; `fault` says why it is lost.

    Killed after its last write it may be complete: its files are equal, and going on is refused.
    """

    command: str
    moments: list[str] = field(default_factory=list)
    recovered: str = ""
    fault: str = ""
    refusal: str = ""

    def columns(self) -> Iterator[str]:
        """The columns of the table that count this trial."""
        yield "trials"
        yield BEFORE if self.moments else AFTER
        if self.recovered:
            yield self.recovered
        yield LOST if self.fault else "equal"


class Killer:
    """Runs a case in a folder of its own, first undisturbed, then for each trial."""

    def __init__(self, case: Case, home: Path) -> None:
        """Raises RuntimeError where the undisturbed command fails."""
        self.case, self.home, self.work, self.log = case, home, home / "work", home / "log.txt"
        operations = multiprocessing.get_context("fork").Value("q", lock=False)

        def count(number: int) -> None:
            operations.value = max(operations.value, number + 1)

        began = time.monotonic()
        status = self._run(case.command, at_operation=count)
        self.duration_s, self.operations = time.monotonic() - began, operations.value
        if status != 0:
            raise RuntimeError(f"{case.name}, undisturbed: {self.printed()}")
        self.expected = normalised_content(self.work)

    def trial(self, numbers: random.Random, *, kills: int, by_operation: bool) -> Trial:
        """Kill, recover and compare."""
        shutil.rmtree(self.work, ignore_errors=True)
        trial = Trial(self.case.name)
        is_done, commands = False, [self.case.command]
        for attempt in range(kills + 1):
            if not is_done and not trial.fault:
                choose = numbers if attempt < kills else None
                is_done = self._attempt(commands, trial, choose, by_operation=by_operation)
            commands = self._commands
        self._compare(trial)
        return trial

    def recover(self, moment: str, *, has_ended: bool) -> Trial:
        """Go on with what is in the folder, unless the command had ended, and compare."""
        trial = Trial(self.case.name, [] if has_ended else [moment])
        if not has_ended:
            self._attempt(self._commands, trial, None)
        self._compare(trial)
        return trial

    @property
    def _commands(self) -> list[tuple[str, ...]]:
        return [self.case.command, *([self.case.again] if self.case.again else [])]

    def _attempt(
        self,
        commands: Sequence[Sequence[str]],
        trial: Trial,
        numbers: random.Random | None,
        *,
        by_operation: bool = False,
    ) -> bool:
        """Run the first command that is not refused, and kill it; whether it ended well."""
        for command, name in zip(commands, (SAME, RESUMED), strict=False):
            if numbers is None:
                status = self._run(command)
            elif by_operation:
                moment = numbers.randrange(self.operations)
                status = self._run(command, at_operation=partial(_die_at, moment))
            else:
                moment = round(numbers.uniform(0, self.duration_s), 3)
                status = self._run(command, timeout_s=moment)
            if status == -signal.SIGKILL and numbers is not None:
                trial.moments.append(f"operation {moment}" if by_operation else f"{moment} s")
                return False
            if status == 0:
                trial.recovered, trial.refusal = name if trial.moments else "", ""
                return True
            trial.refusal = f"{' '.join(command[:2])}: status {status}\n{self.printed()}"
            if "Traceback" in trial.refusal or status < 0:
                trial.fault = trial.refusal
                break
        return True

    def _compare(self, trial: Trial) -> None:
        """Note which files differ, and print what has become of the trial."""
        found = normalised_content(self.work)
        names = sorted(self.expected.keys() | found.keys())
        for name in names:
            if self.expected.get(name) != found.get(name):
                lines = _changes(self.expected.get(name, b""), found.get(name, b""))
                trial.fault += "\n".join([f"{name} differs", *lines, ""])
        if trial.refusal and not trial.fault:
            trial.recovered = COMPLETE
        elif trial.refusal:
            trial.fault = f"{trial.refusal}\n{trial.fault}"
        moments = " and ".join(trial.moments) or "not killed"
        print(f"{trial.command}, {moments}: {trial.fault or 'equal'}", flush=True)

    def printed(self) -> str:
        """The end of what the last command has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-_MAX_SHOWN:]

    def _run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float = _HANGS_S,
        at_operation: forked.AtOperation | None = None,
    ) -> int:
        """Run, and kill after a time; returns the exit status."""
        self.log.unlink(missing_ok=True)
        process = forked.start(command, folder=self.home, log=self.log, at_operation=at_operation)
        process.join(timeout_s)
        return forked.kill_group(process)


def _die_at(moment: int, number: int) -> None:
    if number == moment:
        os.killpg(0, signal.SIGKILL)


def _changes(expected: bytes, found: bytes) -> Iterator[str]:
    """The first lines that differ, shortened."""
    if b"\0" in expected + found:
        return iter([f"{len(found)} bytes, expected {len(expected)}"])
    lines = (one.decode(errors="replace").splitlines() for one in (expected, found))
    changes = difflib.unified_diff(*lines, n=0, lineterm="")
    return (line[:_MAX_LINE] for line in itertools.islice(changes, 3, _MAX_CHANGES))


def run_case(name: str, home: Path, trials: int, seed: int) -> list[Trial]:
    """All trials of a command, half of them at random moments."""
    place = home / name
    place.mkdir()
    killer = Killer(make_cases(home / "shared", place / "work")[name], place)
    numbers = random.Random(f"{name} {seed}")
    found = []
    for number in range(trials):
        kills = 2 if number % 4 == 3 else 1
        found.append(killer.trial(numbers, kills=kills, by_operation=number % 2 == 1))
    return found


def share_trials(total: int, names: Sequence[str]) -> dict[str, int]:
    """Trials of each command: equal numbers, the rest for the first ones."""
    each, rest = divmod(total, len(names))
    return {name: each + (number < rest) for number, name in enumerate(names)}


def table(trials: Sequence[Trial]) -> str:
    """A line for each command, and their sum."""
    lines = ["command       " + "".join(f"{name:>14}" for name in _COLUMNS)]
    for command in (*dict.fromkeys(trial.command for trial in trials), "all"):
        own = [trial for trial in trials if command in ("all", trial.command)]
        counts = Counter(column for trial in own for column in trial.columns())
        lines.append(f"{command:<14}" + "".join(f"{counts[name]:>14}" for name in _COLUMNS))
    kills = sum(len(trial.moments) for trial in trials)
    return "\n".join([*lines, f"{kills} kills in {len(trials)} trials"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials; returns 1 where one is lost."""
    known = tuple(make_cases(Path(), Path()))
    parser = argparse.ArgumentParser(prog="kill_loop", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100, help="of all commands together")
    parser.add_argument("--command", nargs="+", choices=known, default=known[:-1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="commands killed at the same time")
    parser.add_argument("--plots", action="store_true", help="draw them; else they are blank")
    given = parser.parse_args(arguments)
    forked.import_all(plots=given.plots)
    home = Path(tempfile.mkdtemp(prefix="kill_loop.")).resolve()
    try:
        trials = _run_all(given, home)
    finally:  # no TemporaryDirectory, which each child would remove at its end
        shutil.rmtree(home)
    print(table(trials))
    return int(any(trial.fault for trial in trials))


def _run_all(given: argparse.Namespace, home: Path) -> list[Trial]:
    prepare_shared(home / "shared")
    shares = share_trials(given.trials, given.command)
    lanes = ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("fork"))
    with lanes:
        found = [
            lanes.submit(run_case, name, home, trials, given.seed)
            for name, trials in shares.items()
        ]
        return [trial for case in found for trial in case.result()]


if __name__ == "__main__":
    sys.exit(main())
