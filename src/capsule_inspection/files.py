"""Files that are there whole or not at all, and locks. Every room may import it; no torch."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_UNFINISHED = ".part"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well, removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it when the block ends well, removed when not.

    There may be an empty folder at `path`; raises OSError where it holds anything.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = unfinished_folder(path)
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unfinished_folder(path: Path) -> Path:
    """A new temporary folder beside `path`, which exists once and is the caller's to rename."""
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent))


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of a whole file or folder; for who holds its lock."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write text so that readers see the old content or the new, never a part.

    Names of files may hold bytes that are no UTF-8; those are written as JSON would escape them.
    """
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file now; nothing is left behind by looking."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a copy that may only be read: whoever trains elsewhere has its own
        return False


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or what it came from, says that there is no room left."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
