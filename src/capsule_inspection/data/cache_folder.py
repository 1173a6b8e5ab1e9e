"""Writing into folders that several processes share: one lock, and one message for errors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capsule_inspection.types import DataError

log = logging.getLogger(__name__)


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
