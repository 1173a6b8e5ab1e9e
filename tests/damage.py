"""Damages the files of a folder at random places, and checks what then comes of its answers.

A trial copies a folder, damages one file and opens it in each way that reads it. It ends with the
answers of the undamaged folder or with an InspectionError. Where the checksums are made to fit
(`sealed`) other answers are allowed, since they may be other settings, but no other exception.
"""

from __future__ import annotations

import json
import shutil
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mutations import damage_file, json_bytes

from capsule_inspection.integrity import CHECKSUM, FILES, checksums, seal
from capsule_inspection.types import InspectionError

Open = Callable[[Path], Any]
"""Opens a folder; returns what it answers, as values that can be compared."""


@dataclass(frozen=True)
class Subject:
    """A folder, the ways to open it by name, and which of them read the files of a pattern."""

    name: str
    folder: Path
    files: Mapping[str, Sequence[str]]
    opens: Mapping[str, Open]
    expected: dict[str, Any] = field(default_factory=dict)

    def paths(self) -> dict[Path, Sequence[str]]:
        """The ways that read each file, in a fixed order; a way may be missing of other tasks."""
        found = {
            path.relative_to(self.folder): ways
            for pattern, ways in self.files.items()
            for path in self.folder.glob(pattern)
            if path.is_file()
        }
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Trial:
    """What is damaged, and how: enough to repeat it."""

    subject: str
    file: str
    damage: str
    seed: int
    sealed: bool

    def __str__(self) -> str:
        how = "with checksums that fit" if self.sealed else "as it is"
        return f"{self.subject}: {self.file}: {self.damage} ({how}, seed {self.seed})"


def run_trial(
    subject: Subject, work: Path, *, seed: int, file: Path | None = None
) -> tuple[Trial, dict[str, str]]:
    """Damage one file of a copy and open it; returns how each way ended: equal, refused, changed.

    `file` is drawn where it is not given. Raises AssertionError, with all that repeats the trial.
    """
    rng, ways = np.random.default_rng(seed), subject.paths()
    file = file or list(ways)[int(rng.integers(len(ways)))]
    structured, sealed = rng.random() < 0.6, rng.random() < 0.4
    folder = fresh_copy(subject.folder, work / "damaged")
    damage = damage_file(folder / file, rng, structured=structured)
    if sealed:
        reseal(folder)
    is_sealed = sealed or (structured and not _is_recorded(subject.folder, file))
    trial = Trial(subject.name, file.as_posix(), damage, seed, is_sealed)
    return trial, {way: _end(subject, folder, work / "opened", trial, way) for way in ways[file]}


def fresh_copy(folder: Path, work: Path, without: Sequence[str] = ()) -> Path:
    """A copy of a folder in the place of the former one."""
    shutil.rmtree(work, ignore_errors=True)
    return shutil.copytree(folder, work, ignore=shutil.ignore_patterns(*without))


def _open(subject: Subject, way: str, folder: Path, place: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return subject.opens[way](fresh_copy(folder, place))


def _end(subject: Subject, folder: Path, place: Path, trial: Trial, way: str) -> str:
    if way not in subject.expected:
        subject.expected[way] = _open(subject, way, subject.folder, place)
    try:
        answers = _open(subject, way, folder, place)
    except InspectionError as error:
        length = len(str(error))
        assert 0 < length < 3000, f"{trial}\n{way} ends with a message of {length} characters"
        return "refused"
    except (Exception, SystemExit) as error:
        text = "".join(traceback.format_exception(error))
        raise AssertionError(f"{trial}\n{way} ends with a traceback:\n{text}") from error
    expected = subject.expected[way]
    if answers == expected:
        return "equal"
    assert trial.sealed, f"{trial}\n{way} gives other answers:\n{difference(expected, answers)}"
    return "changed"


def difference(expected: Any, found: Any) -> str:
    """The first difference of two answers, for a message."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *found]:
            if expected.get(key) != found.get(key):
                return f"{key}: " + difference(expected.get(key), found.get(key))
    if isinstance(expected, list | tuple) and len(expected) == len(found):
        at = next(i for i, (a, b) in enumerate(zip(expected, found, strict=True)) if a != b)
        return f"[{at}]: " + difference(expected[at], found[at])
    if isinstance(expected, str) and isinstance(found, str):
        pairs = enumerate(zip(expected, found, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(expected), len(found)))
        first = max(at - 60, 0)
        return f"...{expected[first : at + 60]!r} became ...{found[first : at + 60]!r}"
    return f"{expected!r:.300} became {found!r:.300}"


def reseal(folder: Path) -> None:
    """Let the checksums in a folder's records and rows be those of what is there."""
    for path in [*folder.rglob("*.json"), *folder.glob("*.jsonl")]:
        lines = path.suffix == ".jsonl"
        try:
            text = path.read_text(encoding="utf-8")
            records = [json.loads(part) for part in (text.splitlines() if lines else [text])]
        except (OSError, ValueError, RecursionError):
            continue
        sealed = [_sealed(path.parent, record) for record in records]
        if sealed != records:
            path.write_bytes(b"\n".join(json_bytes(record) for record in sealed))


def _is_recorded(folder: Path, file: Path) -> bool:
    """Whether a checkpoint has a checksum beside its own, which fits the values in it."""
    if file.suffix != ".ckpt":
        return True
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return file.as_posix() in record.get(FILES, {})


def _sealed(folder: Path, record: Any) -> Any:
    if not isinstance(record, dict) or CHECKSUM not in record:
        return record
    if isinstance(record.get(FILES), dict):
        record = {**record, FILES: checksums(folder, [name for name in record[FILES] if name])}
    return seal(record)
