"""The files that the cells of a table name, spelled as the disk has them.

A name that is not found is looked up with the separators and the Unicode form of other systems.
What differs in more is a fault, which names the file that is nearly the same.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from capsule_inspection.data.layouts.samples import relative_posix

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_INDIRECT = re.compile(r"^/|//|/$|(?:^|/)\.{1,2}/")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_MAX_FOLDERS = 100
"""Folders below the root that are tried for a hint where they may be what the paths start from."""


class Found(NamedTuple):
    """What a cell names, relative to the root where it lies below it; or what is wrong with it.

    `identity` is what all spellings of a file have in common, also through links.
    """

    name: str | None
    identity: object = None
    fault: str = ""


class FileFinder:
    """Finds files by names relative to `root`.

    `with_backslashes` counts the names that were read with the separators of Windows.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.with_backslashes = 0
        self._listings: dict[Path, _Listing] = {}

    def find(self, name: str, *, folder: bool = False) -> Found:
        """The file that a name stands for; with `folder` it may be a folder."""
        for spelling in (name, name.strip()):
            if found := self._look_up(spelling, folder=folder):
                return found
        name = name.strip()
        if _URL.match(name):
            return Found(None, fault=f"{name} is a URL: download the file and write its path")
        posix = name.replace("\\", "/")
        path = self._on_disk(posix)
        if path is not None and (found := self._look_up(str(path), folder=folder)):
            self.with_backslashes += posix != name
            return found
        return Found(None, fault=f"there is no file {name}{self._hint(name, posix)}")

    def _look_up(self, name: str, *, folder: bool) -> Found | None:
        """What has exactly this name; None where there is nothing."""
        path = f"{self.root}/{name}" if not name.startswith("/") else name
        try:
            status = os.stat(path)  # noqa: PTH116 - 30,000 times
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode) and not (folder and stat.S_ISDIR(status.st_mode)):
            return None
        if _INDIRECT.search(name):
            direct = Path(path)
            direct = direct.parent.resolve() / direct.name if ".." in direct.parts else direct
            name = relative_posix(direct, self.root)
        if status.st_ino == 0 or status.st_nlink > 1:  # not known, or a file of several names
            return Found(name, os.path.realpath(path))
        return Found(name, (status.st_dev, status.st_ino))

    def hint_root(self, name: str) -> str:
        """A sentence with the folder to which a missing name is relative; "" for none."""
        name = name.strip().replace("\\", "/")
        if not name or name.startswith("/"):
            return ""
        below = list(self._listing(self.root).names)[:_MAX_FOLDERS]
        bases = (Path.cwd(), *self.root.parents[:3], *(self.root / each for each in below))
        base = next((base for base in bases if os.path.isfile(base / name)), None)  # noqa: PTH113
        return f" {name} is below {base}: set data.root={base}." if base else ""

    def _hint(self, name: str, posix: str) -> str:
        """What the name may mean, as the end of a sentence."""
        near = self._on_disk(posix, loosely=True)
        if near is not None and near.is_file():
            return f"; did you mean {relative_posix(near, self.root)}?"
        is_windows = bool(_WINDOWS.match(name))
        parts = PurePosixPath(posix).parts[1:] if is_windows or posix.startswith("/") else ()
        for start in range(len(parts)):
            rest = "/".join(parts[start:])
            if os.path.isfile(self.root / rest):  # noqa: PTH113 - false for impossible names
                return f"; write it relative to data.root: {rest}"
        if is_windows:
            return ", a path of another computer; write paths relative to data.root"
        return ""

    def _on_disk(self, name: str, *, loosely: bool = False) -> Path | None:
        """The path whose parts are equal in Unicode's composed form.

        With `loosely` case and the last suffix may differ.
        """
        here = Path("/") if name.startswith("/") else self.root
        for part in PurePosixPath(name).parts:
            if part == "/":
                continue
            if part != ".." and not os.path.lexists(here / part):
                listing = self._listing(here)
                table = listing.loosely if loosely else listing.exactly
                key = _loose(part) if loosely else unicodedata.normalize("NFC", part)
                same = table.get(key, [])
                if len(same) != 1:
                    return None
                part = same[0]
            here = here / part
        return here

    def _listing(self, folder: Path) -> _Listing:
        if folder not in self._listings:
            self._listings[folder] = _Listing.of(folder)
        return self._listings[folder]


class _Listing(NamedTuple):
    """Names in a folder; by composed form, and by that without case, with and without suffix."""

    names: tuple[str, ...]
    exactly: dict[str, list[str]]
    loosely: dict[str, list[str]]

    @classmethod
    def of(cls, folder: Path) -> _Listing:
        try:
            names = tuple(sorted(os.listdir(folder)))  # noqa: PTH208 - names are wanted
        except OSError:
            names = ()
        listing = cls(names, {}, {})
        for name in names:
            listing.exactly.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            for key in {_loose(name), _loose(Path(name).stem)}:
                listing.loosely.setdefault(key, []).append(name)
        return listing


def _loose(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
