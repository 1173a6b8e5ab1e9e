"""The error of one file that cannot be used."""

from __future__ import annotations

from pathlib import Path

from capsule_inspection.types import DataError


class BadFileError(DataError):
    """One file that cannot be used; `reason` is one line and does not repeat the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class TooManyPixelsError(BadFileError):
    """An image that is too large to be decoded; `found` is the text of its size."""

    def __init__(self, path: Path, found: str, *, max_pixels: int) -> None:
        super().__init__(path, f"{found}; data.max_pixels allows {max_pixels}")
        self.found = found
