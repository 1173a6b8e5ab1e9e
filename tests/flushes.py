"""Records what a command flushes and renames, and what a power cut would have found missing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

NOT_NEEDED = (".log", ".lock", ".part")
"""Messages, locks and unfinished files, which may be cut by a power cut; event files, too."""


class FlushRecord:
    """Follows the flushes and renames below a folder; `faults` lists what was not on the disk.

    A file is on the disk where it was flushed after its last change. A rename needs that of the
    file, or of all files and folders in a folder, and afterwards a flush of the folder it is in.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.faults = root, []
        self.renamed: list[Path] = []
        self._flushed: dict[int, object] = {}
        self._unflushed_folders: dict[Path, Path] = {}
        fsync = os.fsync

        def flush(handle: int) -> None:
            fsync(handle)
            path = Path(f"/proc/self/fd/{handle}").readlink()
            self._flushed[os.fstat(handle).st_ino] = _state(path)
            self._unflushed_folders.pop(path, None)

        patch.setattr(os, "fsync", flush)
        for owner, name in ((os, "replace"), (os, "rename"), (Path, "replace"), (Path, "rename")):
            self._follow(owner, name, patch)

    def _follow(self, owner: Any, name: str, patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        def rename(source: Any, target: Any, **rest: Any) -> Any:
            if Path(target).is_relative_to(self.root) and Path(source).exists():
                self._check_rename(Path(source), Path(target))
            return original(source, target, **rest)

        patch.setattr(owner, name, rename)

    def _check_rename(self, source: Path, target: Path) -> None:
        inside = source.rglob("*") if source.is_dir() else ()
        for path in (source, *inside):
            if not self._is_flushed(path):
                self.faults.append(f"{path}, renamed to {target}: not flushed")
        if target.name == "run.json" and b'"status": "finished"' in source.read_bytes():
            self.faults += [
                f"{path}: not flushed when the run says finished"
                for path in self.unflushed(target.parent)
            ]
        self.renamed.append(target)
        self._unflushed_folders[target.parent] = target

    def unflushed(self, folder: Path) -> list[Path]:
        """Files and folders below a folder that have changed since they were flushed, if ever."""
        paths = (path for path in (folder, *folder.rglob("*")))
        return [path for path in paths if _is_needed(path) and not self._is_flushed(path)]

    def _is_flushed(self, path: Path) -> bool:
        return self._flushed.get(path.stat().st_ino) == _state(path)

    def check(self, folder: Path) -> None:
        """Check all renames, and that every file of a finished folder is on the disk."""
        missing = [
            f"{path}: its folder was not flushed" for path in self._unflushed_folders.values()
        ]
        left = [f"{path}: not flushed at the end" for path in self.unflushed(folder)]
        assert self.renamed
        if found := [*self.faults, *missing, *left]:
            raise AssertionError("\n".join(found))  # no test module: pytest shows no values


def _is_needed(path: Path) -> bool:
    return path.suffix not in NOT_NEEDED and "tfevents" not in path.name


def _state(path: Path) -> object:
    """What has to be equal if nothing has changed: bytes of a file, names in a folder."""
    if path.is_dir():
        entries = (entry for entry in os.scandir(path) if _is_needed(Path(entry.name)))
        return sorted((entry.name, entry.inode()) for entry in entries)
    return hashlib.sha256(path.read_bytes()).digest() if path.is_file() else None
