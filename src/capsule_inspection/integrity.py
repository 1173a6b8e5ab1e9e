"""Checksums that find damaged files; no protection from people, who can write new ones.

A record (run.json, export.json) holds the SHA-256 of the files beside it, and a checksum of itself.
Every package may import this module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from capsule_inspection.files import atomic_write_text
from capsule_inspection.types import RunError

CHECKSUM = "checksum"
"""Field of a record with the SHA-256 of its other fields."""
FILES = "files"
"""Field of a record with the SHA-256 of the files beside it, by relative POSIX path."""
_MAX_BYTES = 256 << 20
REMEDY = "Restore it from a copy, or use it all the same with verify=skip."


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of those of the files that exist, by name."""
    return {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}


def content_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of a folder, by relative POSIX path."""
    return checksums(folder, (path.relative_to(folder).as_posix() for path in folder.rglob("*")))


def leads_out(name: str) -> bool:
    """Whether a name in a record is that of a file outside of its folder."""
    return bool(Path(name).anchor) or ".." in Path(name).parts


def check_files(
    folder: Path, record: Mapping[str, Any], names: Iterable[str], *, remedy: str = REMEDY
) -> dict[str, str]:
    """Compare files with the checksums in a record; files without one are not checked.

    Returns the checksums of those that were. Raises RunError, ending with `remedy`, where a file is
    missing or differs, and for a name that leads out of the folder.
    """
    files = record.get(FILES)
    expected, checked = files if isinstance(files, dict) else {}, {}
    for name in filter(leads_out, expected):
        raise RunError(f"{folder}: its record names {name:.80}, which is not in it. {remedy}")
    for name in names:
        if name not in expected:
            continue
        path = folder / name
        if not path.is_file():
            raise RunError(f"{path}: missing, although {folder} had it. {remedy}")
        checked[name] = found = file_sha256(path)
        if found != expected[name]:
            raise RunError(
                f"{path}: damaged or changed since it was written: expected SHA-256 "
                f"{expected[name]!s:.12}..., found {found:.12}... . {remedy}"
            )
    return checked


def check_size(path: Path, *, max_bytes: int | None = None) -> None:
    """Raise ValueError where a file is larger than any of ours, or a device or a pipe."""
    max_bytes = max_bytes or _MAX_BYTES
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    if path.stat().st_size > max_bytes:
        raise ValueError(f"it has more than {max_bytes >> 20} MB")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises OSError, or ValueError with what is wrong with it."""
    check_size(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, found {type(content).__name__}")
    return content


def read_sealed(path: Path) -> dict[str, Any]:
    """The object in a file of `write_sealed`. Raises OSError, or ValueError where it is damaged."""
    content = read_json(path)
    if CHECKSUM not in content or not is_sealed(content):
        raise ValueError("its content does not fit its checksum")
    return content


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as JSON with the checksum of themselves, atomically."""
    text = json.dumps(seal(values), indent=2, ensure_ascii=False, sort_keys=True)
    atomic_write_text(path, text + "\n")


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as plain JSON has them, with the checksum of themselves."""
    plain = json.loads(json.dumps(values, default=str))
    plain.pop(CHECKSUM, None)
    return {**plain, CHECKSUM: _checksum(plain)}


def is_sealed(values: Mapping[str, Any]) -> bool:
    """Whether the values are those that were sealed; true where they hold no checksum."""
    return CHECKSUM not in values or values[CHECKSUM] == _checksum(
        {key: value for key, value in values.items() if key != CHECKSUM}
    )


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
