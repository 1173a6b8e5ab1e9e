"""Files in folders that several processes share: one lock, one message for errors, checksums."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from capsule_inspection.files import atomic_write_text
from capsule_inspection.integrity import read_sealed, seal
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)

CHECKSUM_BYTES = 4


@contextmanager
def hold_lock(path: Path, *, setting: str = "data.cache_folder") -> Iterator[None]:
    """Lock a file that is to be written; its folder is made first.

    Waits, with a message, while another process holds the lock. Raises DataError, naming
    `setting`, where the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_suffix(".lock"))
    with report_write_errors(path, setting=setting):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another run writes %s; waiting for it.", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def report_write_errors(path: Path, *, setting: str = "data.cache_folder") -> Iterator[None]:
    """Turn an OSError into a DataError that names the setting of the folder."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). "
            f"Make room, or choose another folder with {setting}."
        ) from error


def read_value(path: Path) -> Any:
    """What `write_value` has stored; None where nothing is or, with a warning, where damaged."""
    try:
        return read_sealed(path)[path.stem]  # so that no other file is taken for it
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s: damaged (%s); it is made again.", path, error)
        return None


def write_value(path: Path, value: Any) -> None:
    """Store plain values as JSON, with a checksum. Raises OSError where this fails."""
    atomic_write_text(path, json.dumps(seal({path.stem: value})))


def named_checksum(path: Path, content: bytes | memoryview) -> bytes:
    """CRC-32 of a file's name, so that no other file is taken for it, and of its content."""
    crc32 = zlib.crc32(content, zlib.crc32(path.name.encode()))
    return crc32.to_bytes(CHECKSUM_BYTES, "little")
