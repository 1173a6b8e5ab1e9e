"""Writing into folders that several processes share: one lock, and one message for errors.

Their arrays have the header of a .npy file. It is compared, not read: all of it is known.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

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


def array_header(dtype: np.dtype, count: int) -> bytes:
    """The header of a .npy file of one axis; its length does not depend on the count."""
    stream = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_2_0(
        stream, {"descr": descr, "fortran_order": False, "shape": (count,)}
    )
    return stream.getvalue()


def named_checksum(path: Path, content: bytes | memoryview) -> bytes:
    """CRC-32 of a file's name, so that no other file is taken for it, and of its content."""
    crc32 = zlib.crc32(content, zlib.crc32(path.name.encode()))
    return crc32.to_bytes(CHECKSUM_BYTES, "little")
