"""Pixels of the image cache, each row compared with its CRC-32 when it is first used.

A large cache is so never read as a whole, and a damaged row is made again from its image. cache.py
defines the file.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.cache_folder import report_write_errors
from capsule_inspection.data.parallel import in_order
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)


class CheckedRows:
    """Memory-mapped rows, read-only; `checksums` (N,) are their CRC-32, `names` (N,) for messages.

    `rebuild` gives the bytes of a row anew, or raises BadFileError. Each process checks for itself.
    """

    def __init__(
        self,
        path: Path,
        *,
        offset: int,
        dtype: np.dtype,
        checksums: np.ndarray,
        names: Sequence[str],
        rebuild: Callable[[int], bytes],
    ) -> None:
        self.path, self.checksums, self.names, self.rebuild = path, checksums, names, rebuild
        shape = (len(checksums),)
        self.values = np.memmap(path, dtype, "r", offset, shape).view(np.ndarray)
        self._bytes = self.values.view(np.uint8).reshape(len(checksums), -1)
        self._offset = offset
        self._is_checked = np.zeros(len(checksums), bool)

    def check(self, key: Any) -> None:
        """Check the rows that an index of NumPy selects, those that are not checked yet.

        A damaged row is made again, with a warning; raises DataError where this fails.
        """
        if np.all(self._is_checked[key]):
            return
        for row in np.atleast_1d(np.arange(len(self.checksums))[key]):
            if not self._is_checked[row]:
                if not self._is_sound(row):
                    self._repair(int(row))
                self._is_checked[row] = True

    def check_all(self, *, workers: int) -> None:
        """Check every row, in threads."""
        for _ in in_order(self.check, range(len(self.checksums)), workers=workers):
            pass

    def _is_sound(self, row: int) -> bool:
        return zlib.crc32(self._bytes[row]) == self.checksums[row]

    def _repair(self, row: int) -> None:
        """Write the row in its place: what was damaged cannot become worse by a power cut."""
        start = f"{self.path}: the entry of {self.names[row]} is damaged"
        try:
            content, reason = self.rebuild(row), "the image gives other pixels now"
        except BadFileError as error:
            content, reason = b"", str(error)
        if zlib.crc32(content) == self.checksums[row]:
            with report_write_errors(self.path), self.path.open("r+b") as file:
                file.seek(self._offset + row * len(content))
                file.write(content)
            log.warning("%s; it was made again from the image.", start)
        if not self._is_sound(row):
            raise DataError(
                f"{start}, and cannot be made again: {reason}. Restore the image from a copy; or, "
                f"to use the images as they are now, delete {self.path.name} and start again."
            )


class CachedArray:
    """One field of the rows, as an array that checks the rows which are taken from it."""

    def __init__(self, rows: CheckedRows, field: str) -> None:
        self._rows, self._values = rows, rows.values[field]
        self.shape: tuple[int, ...] = self._values.shape

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: Any) -> np.ndarray:
        self._rows.check(key[0] if isinstance(key, tuple) else key)
        found: np.ndarray = self._values[key]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)
