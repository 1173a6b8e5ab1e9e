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

_INDIRECT = re.compile(r"^/|//|/$|(?:^|/)\.{1,2}/")


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
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str, *, folder: bool = False) -> Found:
        """The file that a name stands for; with `folder` it may be a folder."""
        for spelling in (name, name.strip()):
            if found := self._look_up(spelling, folder=folder):
                return found
        name = name.strip()
        posix = name.replace("\\", "/")
        path = self._on_disk(posix)
        if path is not None and (found := self._look_up(str(path), folder=folder)):
            self.with_backslashes += posix != name
            return found
        near = self._on_disk(posix, loosely=True)
        hint = ""
        if near is not None and near.is_file():
            hint = f"; did you mean {relative_posix(near, self.root)}?"
        return Found(None, fault=f"there is no file {name}{hint}")

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

    def _on_disk(self, name: str, *, loosely: bool = False) -> Path | None:
        """The path whose parts are equal in Unicode's composed form.

        With `loosely` case and the last suffix may differ.
        """
        here = Path("/") if name.startswith("/") else self.root
        for part in PurePosixPath(name.lstrip("/")).parts:
            if part != ".." and not os.path.lexists(here / part):
                near = self._listing(here).get(_composed(part).casefold(), [])
                same = [each for each in near if loosely or _composed(each) == _composed(part)]
                if len(same) != 1:
                    return None
                part = same[0]
            here = here / part
        return here

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by their composed form without case, with and without suffix."""
        if folder not in self._listings:
            listing = self._listings[folder] = {}
            for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208 - names
                for key in {_composed(each).casefold() for each in (name, Path(name).stem)}:
                    listing.setdefault(key, []).append(name)
        return self._listings[folder]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
