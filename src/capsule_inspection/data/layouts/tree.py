"""Lists the files below a folder, each once, also behind links, and tells images from others.

A file is an image by its suffix, or by its first bytes where the suffix is missing or unknown.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from capsule_inspection.data.image_io import IMAGE_SUFFIXES
from capsule_inspection.types import DataError

SYSTEM_FOLDERS = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN"})
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})


@dataclass(frozen=True)
class FileTree:
    """The files below an absolute root, as sorted POSIX paths relative to it.

    `system` are hidden files and those of the operating system, as paths of files or folders;
    `excluded` match a pattern of `data.exclude`. Neither is among `files`.
    """

    root: Path
    files: tuple[str, ...]
    system: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Files that can be read as images."""
        return tuple(name for name in self.files if is_image(self.root, name))

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {"": []}
        for name in self.images:
            folders.setdefault(name.rpartition("/")[0], []).append(name)
        return folders

    def images_in(self, folder: str = "") -> list[str]:
        """Images directly in a folder ("" is the root)."""
        return self._by_folder.get(folder, [])

    def images_below(self, folder: str = "") -> list[str]:
        """Images in a folder and its subfolders."""
        prefix = f"{folder}/" if folder else ""
        return [name for name in self.images if name.startswith(prefix)]

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """All folders that have a file in or below them, sorted."""
        found = {str(parent) for name in self.files for parent in PurePosixPath(name).parents} - {
            "."
        }
        return tuple(sorted(found))

    def subfolders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder."""
        prefix = f"{folder}/" if folder else ""
        names = (name[len(prefix) :] for name in self.folders if name.startswith(prefix))
        return [name for name in names if name and "/" not in name]


def scan_tree(root: Path, *, exclude: Sequence[str] = (), expected: str = "images") -> FileTree:
    """The files below a folder, linked folders too; a link in a circle is followed once.

    `exclude` are glob patterns of files or folders, relative to the root. Raises DataError where
    the root is no folder, or a folder may not be read.
    """
    if not root.is_dir():
        problem = "is a file" if root.is_file() else "there is no such folder"
        raise DataError(
            f"{root}: {problem}; expected a folder of {expected}. Set data.root to one."
        )
    root = root.absolute()
    files: list[str] = []
    system: list[str] = []
    excluded: list[str] = []
    seen = {root.resolve()}

    def sort_out(name: str, *, is_folder: bool) -> bool:
        """Whether to use an entry; others are noted with their reason."""
        base = name.rpartition("/")[2]
        known = base in SYSTEM_FOLDERS if is_folder else base.lower() in SYSTEM_FILES
        if base.startswith(".") or known:
            system.append(name)
            return False
        if any(fnmatch.fnmatchcase(name, pattern.rstrip("/")) for pattern in exclude):
            excluded.append(name)
            return False
        return True

    def is_new(folder: Path) -> bool:
        real = folder.resolve()
        if real in seen or (folder.is_symlink() and root.resolve() in real.parents):
            return False
        seen.add(real)
        return True

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: the folder may not be read ({error.strerror}). Change its "
            "permissions, or leave it out with data.exclude."
        )

    for here, below, names in os.walk(root, followlinks=True, onerror=refuse):
        prefix = Path(here).relative_to(root).as_posix()
        prefix = "" if prefix == "." else f"{prefix}/"
        below[:] = [
            folder
            for folder in sorted(below)
            if sort_out(f"{prefix}{folder}", is_folder=True) and is_new(Path(here, folder))
        ]
        files += [
            f"{prefix}{name}" for name in names if sort_out(f"{prefix}{name}", is_folder=False)
        ]
    return FileTree(root, tuple(sorted(files)), tuple(sorted(system)), tuple(sorted(excluded)))


def is_image(root: Path, name: str) -> bool:
    """Whether a file can be read as an image, by its suffix."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return bool(stem) and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES
