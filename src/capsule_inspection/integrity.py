"""Checksums that find damaged files; no protection from people, who can write new ones.

A record (run.json, export.json) holds the SHA-256 of the files beside it, and a checksum of itself.
Standard library only; every package may import this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from capsule_inspection.types import RunError

CHECKSUM = "checksum"
"""Field of a record with the SHA-256 of its other fields."""
FILES = "files"
"""Field of a record with the SHA-256 of the files beside it, by relative POSIX path."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of those of the files that exist, by name."""
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def check_files(
    folder: Path, record: Mapping[str, Any], names: Iterable[str], *, remedy: str
) -> None:
    """Compare files with the checksums in a record; files without one are not checked.

    Raises RunError, ending with `remedy`, where a file is missing or differs.
    """
    expected = record.get(FILES) or {}
    for name in names:
        if name not in expected:
            continue
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path}: missing, although the run had it. {remedy}")
        found = file_sha256(path)
        if found != expected[name]:
            raise RunError(
                f"{path}: damaged or changed since it was written: expected SHA-256 "
                f"{expected[name]:.12}..., found {found:.12}... . {remedy}"
            )


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the checksum of themselves."""
    plain = json.loads(_canonical(values))
    plain.pop(CHECKSUM, None)
    return {**plain, CHECKSUM: _checksum(plain)}


def is_sealed(values: Mapping[str, Any]) -> bool:
    """Whether the values are those that were sealed; true where they hold no checksum."""
    return CHECKSUM not in values or values[CHECKSUM] == _checksum(
        {key: value for key, value in values.items() if key != CHECKSUM}
    )


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(values).encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, default=str)
