"""Lists the files below a folder, also behind links, and tells images from other files.

A file is an image by its suffix, or by its first bytes where the suffix is missing or unknown.
"""

from __future__ import annotations

import fnmatch
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from capsule_inspection.data.layouts.file_kinds import SYSTEM_FILES, SYSTEM_FOLDERS, is_image
from capsule_inspection.types import FILE_LIST, PREDICTIONS_RECORD, DataError, RunFiles, SweepFiles

_LISTS = ("files", "system", "excluded", "circles", "predictions", "empty", "linked")


@dataclass(frozen=True)
class FileTree:
    """The files below an absolute root, as sorted POSIX paths relative to it.

    `system` are hidden files, those of the operating system and devices, `excluded` those that
    match a pattern of `data.exclude`, `circles` links back to a folder that is searched anyway,
    `predictions` folders that this program has written; of folders these have the folder alone.
    None of them is among `files`. `empty` are folders without anything, `linked` the files that are
    reached by a link, `idle_patterns` the patterns that nothing matches.
    """

    root: Path
    files: tuple[str, ...]
    system: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    circles: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()
    idle_patterns: tuple[str, ...] = ()

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Files that can be read as images."""
        return tuple(name for name in self.files if is_image(self.root, name))

    @cached_property
    def image_set(self) -> frozenset[str]:
        return frozenset(self.images)

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {}
        for name in self.images:
            folders.setdefault(folder_of(name), []).append(name)
        return folders

    def images_in(self, folder: str = "") -> list[str]:
        """Images directly in a folder ("" is the root)."""
        return self._by_folder.get(folder, [])

    def images_below(self, folder: str = "") -> Sequence[str]:
        """Images in a folder and its subfolders."""
        return _below(self.images, folder)

    def files_below(self, folder: str = "") -> Sequence[str]:
        """All files in a folder and its subfolders."""
        return _below(self.files, folder)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """All folders that have a file in or below them, sorted."""
        return tuple(sorted(self._children.keys() - {""}))

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        """Names of the folders directly in each folder that has files in or below it."""
        children: dict[str, list[str]] = {"": []}
        for folder in with_parents(self.files):
            children.setdefault(folder, [])
            children.setdefault(folder_of(folder), []).append(folder.rpartition("/")[2])
        return {folder: sorted(names) for folder, names in children.items()}

    def subfolders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        return self._children.get(folder, [])

    def has_folder(self, folder: str) -> bool:
        """Whether there is a folder of this name with a file in or below it."""
        return folder in self._children

    def subtree(self, folder: str) -> FileTree:
        """The files of a folder as a tree of their own."""
        start = f"{folder}/"
        inside = {
            each: tuple(n.removeprefix(start) for n in getattr(self, each) if n.startswith(start))
            for each in _LISTS
        }
        return replace(self, root=self.root / folder, idle_patterns=(), **inside)

    def same_file(self, names: Iterable[str]) -> dict[str, str]:
        """Of names that reach a file by a link: the other name that reaches the same file."""
        if not self.linked:
            return {}
        linked, first, same = set(self.linked), dict[tuple[int, int], str](), {}
        for name in sorted(names, key=lambda name: (name in linked, name)):
            try:
                status = os.stat(self.root / name)  # noqa: PTH116 - quicker
            except OSError:
                continue
            other = first.setdefault((status.st_dev, status.st_ino), name)
            if other != name:
                same[name] = other
        return same


def scan_tree(
    root: Path,
    *,
    exclude: Sequence[str] = (),
    expected: str = "images",
    own_folders: Sequence[Path] = (),
    on_unreadable: Callable[[OSError], None] | None = None,
) -> FileTree:
    """The files below a folder, linked folders too; a link in a circle is not followed.

    `exclude` are glob patterns of files or folders: with a slash relative to the root, else names
    at any depth. `own_folders` were written by this program. Raises DataError where the root is no
    folder, or a folder may not be read, which is left out instead if there is `on_unreadable`.
    """
    if not root.is_dir():
        problem = "is a file" if root.is_file() else "there is no such folder"
        is_table = root.is_file() and root.suffix.lower() in (".csv", ".tsv", ".parquet")
        remedy = (
            f"For a table: data=manifest data.path={root}" if is_table else "Set data.root to one."
        )
        raise DataError(f"{root}: {problem}; expected a folder of {expected}. {remedy}")
    scan = _Scan(root.absolute(), exclude, on_unreadable or _refuse)
    scan.own = {str(folder.absolute()) for folder in own_folders}
    scan.walk("", (os.path.realpath(root),))
    return scan.tree()


def scan_folders(root: Path, folders: Iterable[str]) -> FileTree:
    """The files directly in some folders below a root: those of a table may be in a home folder."""
    scan = _Scan(root, (), lambda _: None)
    for folder in sorted(set(folders)):
        scan.walk(folder, (), deeper=False)
    return scan.tree()


class _Scan:
    """The state of one scan."""

    def __init__(
        self, root: Path, exclude: Sequence[str], on_unreadable: Callable[[OSError], None]
    ) -> None:
        self.root, self.on_unreadable = root, on_unreadable
        self.exclude = {
            pattern: pattern.removeprefix("./").removeprefix("**/").rstrip("/")
            for pattern in exclude
        }
        self.used_patterns: set[str] = set()
        self.own: set[str] = set()
        self.followed: set[str] = set()
        self.found: dict[str, list[str]] = {each: [] for each in _LISTS}

    def tree(self) -> FileTree:
        """What was found, sorted."""
        idle = tuple(each for each in self.exclude if each not in self.used_patterns)
        lists = {each: tuple(sorted(names)) for each, names in self.found.items()}
        return FileTree(self.root, idle_patterns=idle, **lists)

    def walk(
        self, folder: str, chain: tuple[str, ...], *, linked: bool = False, deeper: bool = True
    ) -> None:
        """List a folder; `chain` are the real paths of the folders on the way to it."""
        here = os.path.join(self.root, folder) if folder else str(self.root)  # noqa: PTH118
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.on_unreadable(error)
            return
        if here in self.own or _is_written_here({entry.name for entry in entries}):
            self.found["predictions"].append(folder)
            return
        if folder and not entries:
            self.found["empty"].append(folder)
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            is_link = entry.is_symlink()
            # A link to itself is listed as a file, so that reading it reports the error.
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()  # noqa: PTH112
            if (is_folder and not deeper) or not self._is_wanted(name, entry, is_folder=is_folder):
                continue
            if not is_folder:
                self.found["files"].append(name)
                if linked or is_link:
                    self.found["linked"].append(name)
                continue
            real = os.path.realpath(entry.path) if is_link else f"{chain[-1]}/{entry.name}"
            # Within a link every other link is followed once: links across each other would be
            # followed for ever.
            if is_link and (real in chain or (linked and real in self.followed)):
                self.found["circles"].append(name)
                continue
            if is_link:
                self.followed.add(real)
            self.walk(name, (*chain, real), linked=linked or is_link)

    def _is_wanted(self, name: str, entry: os.DirEntry[str], *, is_folder: bool) -> bool:
        """Whether to use an entry; others are noted with their reason."""
        base = name.rpartition("/")[2]
        if base == FILE_LIST:
            return False
        is_system = base.lower() in (SYSTEM_FOLDERS if is_folder else SYSTEM_FILES)
        if is_system or base.startswith(".") or (not is_folder and _is_device(entry)):
            self.found["system"].append(name)
            return False
        matching = [
            given
            for given, pattern in self.exclude.items()
            if fnmatch.fnmatchcase(name if "/" in pattern else base, pattern)
        ]
        if matching:
            self.used_patterns.update(matching)
            self.found["excluded"].append(name)
        return not matching


def _is_written_here(names: set[str]) -> bool:
    """Whether the files of a folder are those of a run, of a sweep or of predictions."""
    is_run = RunFiles.CONFIG in names and bool({RunFiles.RECORD, SweepFiles.JOB} & names)
    return is_run or PREDICTIONS_RECORD in names or SweepFiles.SWEEP in names


def _is_device(entry: os.DirEntry[str]) -> bool:
    """Whether this is a pipe, a socket or a device, which may never end; not a broken link."""
    if not entry.is_symlink():
        return not entry.is_file()
    return os.path.exists(entry.path) and not os.path.isfile(entry.path)  # noqa: PTH110, PTH113


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: the folder may not be read ({error.strerror}). Change its "
        "permissions, or leave it out with data.exclude."
    )


def folder_of(name: str) -> str:
    """The folder of a file, "" for the root."""
    return name.rpartition("/")[0]


def with_parents(names: Iterable[str]) -> set[str]:
    """All folders above files, without the root."""
    folders: set[str] = set()
    for folder in dict.fromkeys(map(folder_of, names)):
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder_of(folder)
    return folders


def _below(names: Sequence[str], folder: str) -> Sequence[str]:
    """Of sorted names those in a folder and its subfolders."""
    if not folder:
        return names
    first = bisect_left(names, f"{folder}/")
    return names[first : bisect_left(names, f"{folder}0", lo=first)]  # "0" follows "/"
