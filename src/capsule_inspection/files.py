"""Atomic and durable writes of files and folders, and file locks; every package may import this.

What gets its name by a rename is on the disk before: after a power cut a file is whole, old or
missing, but never empty.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PARTIAL_SUFFIX = ".part"
_FLUSHING_THREADS = 8
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end, removed after an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.name}.", suffix=_PARTIAL_SUFFIX, dir=path.parent
    )
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        durable_rename(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path, *, aside: Path | None = None) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end, removed after an exception.

    With `aside`, `path` exists and gets that name at the end. Raises OSError if it exists otherwise
    and is not an empty folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = make_partial_dir(path)
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        if aside is not None:
            flush(part)
            path.rename(aside)
        durable_rename(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def durable_rename(source: Path, target: Path) -> None:
    """Rename a file or a folder within its file system, after all of it is on the disk."""
    flush(source)
    source.replace(target)
    flush_entry(target.parent)


def flush(path: Path) -> None:
    """Wait until a file, or all files of a folder and the folders themselves, are on the disk."""
    if path.is_dir():
        paths = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        with ThreadPoolExecutor(_FLUSHING_THREADS) as pool:  # file systems join their waits
            list(pool.map(flush_entry, paths))
        for folder, _, _ in os.walk(path, topdown=False):
            flush_entry(Path(folder))
    else:
        flush_entry(path)


def flush_entry(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_partial_dir(path: Path) -> Path:
    """A new temporary folder beside `path`, for the caller to rename."""
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PARTIAL_SUFFIX, dir=path.parent))


def partials(path: Path) -> list[Path]:
    """Temporary files and folders of `path` that are being written, or of killed processes."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL_SUFFIX}"))


def remove_partial(path: Path) -> None:
    """Remove temporary files and folders of killed processes; only while holding the lock."""
    for part in partials(path):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write text atomically; bytes of file names that are not UTF-8 are escaped as in JSON."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def exists(path: Path | str) -> bool:
    """Whether there is such a path; False for a text that is too long for one."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for those


def missing_folders(folder: Path) -> list[Path]:
    """The folder and its parents that do not exist, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


@contextmanager
def transient_lock(path: Path) -> Iterator[None]:
    """Wait for a lock file and hold it; it is removed at the end, and new parents without files."""
    missing = missing_folders(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file
                path.unlink()  # who waits for it takes a new one
            for folder in missing:
                with suppress(OSError):
                    folder.rmdir()


def is_locked(path: Path) -> bool:
    """Whether a process holds this lock file; does not create it."""
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a read-only copy of a run folder
        return False


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and the exceptions that caused it, the last one first."""
    visited: list[BaseException] = []
    while error is not None and error not in visited:
        visited.append(error)
        yield error
        error = error.__cause__ or error.__context__


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, reports a full disk."""
    return any(
        isinstance(one, OSError) and one.errno in _NO_SPACE for one in exception_chain(error)
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, or torch on a processor or a GPU, could not allocate memory."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
