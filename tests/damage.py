"""Damages the files of a folder at random places, and checks what then comes of its answers.

A trial copies a folder, damages one file and opens it in each way that reads it. It ends with the
answers of the undamaged folder or with an InspectionError. Where the checksums are made to fit,
other answers are allowed, since they may be other settings, but no other exception.
"""

from __future__ import annotations

import difflib
import json
import pprint
import shutil
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mutations import damage_file

from capsule_inspection.integrity import CHECKSUM, FILES, checksums, seal
from capsule_inspection.types import InspectionError

Open = Callable[[Path], Any]
"""Opens a folder; returns what it answers, as values that can be compared."""


@dataclass(frozen=True)
class Subject:
    """A folder, and what opens the files in it, by pattern."""

    name: str
    folder: Path
    files: Mapping[str, Sequence[Open]]
    expected: dict[Open, Any] = field(default_factory=dict)

    def paths(self) -> dict[Path, Sequence[Open]]:
        """What opens each file, in a fixed order."""
        found = {
            path.relative_to(self.folder): ways
            for pattern, ways in self.files.items()
            for path in self.folder.glob(pattern)
            if path.is_file()
        }
        return dict(sorted(found.items()))


def run_trial(subject: Subject, work: Path, *, seed: int) -> None:
    """Damage one file of a copy and open it; the seed decides which, and how.

    Raises AssertionError, with all that repeats the trial.
    """
    rng, ways = np.random.default_rng(seed), subject.paths()
    file = list(ways)[seed % len(ways)]
    structured, sealed = rng.random() < 0.6, rng.random() < 0.4
    folder = fresh_copy(subject.folder, work / "damaged")
    damage = damage_file(folder / file, rng, structured=structured)
    if sealed:
        reseal(folder)
    may_differ = sealed or (structured and not _is_recorded(subject.folder, file))
    trial = f"{subject.name}: {file}: {damage} (seed {seed}, checksums fit: {sealed})"
    for way in ways[file]:
        if way not in subject.expected:
            subject.expected[way] = _open(way, subject.folder, work / "opened")
        expected = subject.expected[way]
        try:
            answers = _open(way, folder, work / "opened")
        except InspectionError as error:
            if 0 < len(str(error)) < 3000:
                continue
            raise AssertionError(f"{trial}\n{way} ends with no short message: {error}") from error
        except (Exception, SystemExit) as error:
            text = "".join(traceback.format_exception(error))
            raise AssertionError(f"{trial}\n{way} ends with a traceback:\n{text}") from error
        if answers != expected and not may_differ:
            lines = [pprint.pformat(found).splitlines() for found in (expected, answers)]
            difference = "\n".join(islice(difflib.unified_diff(*lines, n=0), 20))
            raise AssertionError(f"{trial}\n{way} gives other answers:\n{difference:.3000}")


def fresh_copy(folder: Path, work: Path, without: Sequence[str] = ()) -> Path:
    """A copy of a folder in the place of the former one."""
    shutil.rmtree(work, ignore_errors=True)
    return shutil.copytree(folder, work, ignore=shutil.ignore_patterns(*without))


def _open(way: Open, folder: Path, place: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return way(fresh_copy(folder, place))


def reseal(folder: Path) -> None:
    """Let the checksums in a folder's records and rows be those of what is there."""
    for path in [*folder.rglob("*.json"), *folder.glob("*.jsonl")]:
        try:
            text = path.read_text(encoding="utf-8")
            parts = text.splitlines() if path.suffix == ".jsonl" else [text]
            records = [json.loads(part) for part in parts]
        except (OSError, ValueError, RecursionError):
            continue
        sealed = [_sealed(path.parent, record) for record in records]
        if sealed != records:
            path.write_text("\n".join(map(json.dumps, sealed)), encoding="utf-8")


def _sealed(folder: Path, record: Any) -> Any:
    if not isinstance(record, dict) or CHECKSUM not in record:
        return record
    if isinstance(record.get(FILES), dict):
        record = {**record, FILES: checksums(folder, [name for name in record[FILES] if name])}
    return seal(record)


def _is_recorded(folder: Path, file: Path) -> bool:
    """Whether a checkpoint has a checksum beside its own, which fits the values in it."""
    if file.suffix != ".ckpt":
        return True
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return file.as_posix() in record.get(FILES, {})
