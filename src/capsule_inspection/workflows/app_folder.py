"""Where the page keeps its files: a folder of this process alone."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from capsule_inspection.files import is_locked

_PREFIX = "capsule-inspection-app-"
_LOCK = "lock"
_STARTING_S = 5
"""A younger folder may not be locked yet."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that other users cannot read, removed at the end.

    Folders of processes that were killed are removed, too.
    """
    user = getattr(os, "getuid", lambda: 0)()
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another process removes it, too
            status = old.lstat()
            is_new = time.time() - status.st_mtime < _STARTING_S
            if status.st_uid == user and not is_new and not is_locked(old / _LOCK):
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
    try:
        with FileLock(folder / _LOCK):
            (folder / "files").mkdir()
            yield folder / "files"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
