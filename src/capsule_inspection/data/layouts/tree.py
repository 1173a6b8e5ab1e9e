"""Lists the files below a folder, also behind links, and tells images from other files.

A file is an image by its suffix, or by its first bytes where the suffix is missing or unknown.
"""

from __future__ import annotations

import fnmatch
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from capsule_inspection.data.image_formats import IMAGE_SUFFIXES, SIGNATURE_BYTES, is_image_content
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.types import PREDICTIONS_RECORD, DataError, RunFiles, SweepFiles

SYSTEM_FOLDERS = frozenset({"__macosx", "__pycache__", "@eadir", "$recycle.bin"})
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db"})
_CAMERA_RAW = ".dng .nef .cr2 .cr3 .crw .arw .orf .rw2 .raf .pef .srw .raw .3fr"
_RAW_SUFFIXES = frozenset(_CAMERA_RAW.split())  # some start like a TIFF, with a preview
_NOT_READ = """
.heic .heif .jxl .jxr .psd .exr .hdr .fits .fit .npy .npz .mat .h5 .hdf5 .dcm .nii .svg .ico
.mp4 .avi .mov .mkv
"""
UNREAD_SUFFIXES = _RAW_SUFFIXES | frozenset(_NOT_READ.split())
"""Of files that may hold images, in formats that are not read."""
# Files of these suffixes are no images, whatever their first bytes are: copies that editors and
# downloads leave, and what is common beside images.
_OTHER = """
.thm .bak .orig .tmp .part .crdownload .txt .md .rst .pdf .html .htm .csv .tsv .json .jsonl .xml
.yaml .yml .toml .ini .cfg .log .db .parquet .xls .xlsx .ods .doc .docx .npy .npz .mat .pkl .pt .pth
.ckpt .onnx .h5 .hdf5 .py .pyc .ipynb .sh .m .zip .tar .gz .tgz .bz2 .xz .7z .rar .mp4 .avi .mov
.mkv .mp3 .wav .lnk .url
"""
_OTHER_SUFFIXES = _RAW_SUFFIXES | frozenset(_OTHER.split())


@dataclass(frozen=True)
class FileTree:
    """The files below an absolute root, as sorted POSIX paths relative to it.

    `system` are hidden files and those of the operating system, `excluded` those that match a
    pattern of `data.exclude`, `circles` links back to a folder that is searched anyway,
    `predictions` folders that this program has written; of folders these have the folder alone.
    None of them is among `files`. `linked` are the files that are reached by a link,
    `idle_patterns` those of `data.exclude` that nothing matches.
    """

    root: Path
    files: tuple[str, ...]
    system: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    circles: tuple[str, ...] = ()
    predictions: tuple[str, ...] = ()
    idle_patterns: tuple[str, ...] = ()
    linked: frozenset[str] = field(default=frozenset())

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Files that can be read as images."""
        return tuple(name for name in self.files if is_image(self.root, name))

    @cached_property
    def image_set(self) -> frozenset[str]:
        return frozenset(self.images)

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {"": []}
        for name in self.images:
            folders.setdefault(folder_of(name), []).append(name)
        return folders

    def images_in(self, folder: str = "") -> list[str]:
        """Images directly in a folder ("" is the root)."""
        return self._by_folder.get(folder, [])

    def images_below(self, folder: str = "") -> Sequence[str]:
        """Images in a folder and its subfolders."""
        return below(self.images, folder)

    def files_below(self, folder: str = "") -> Sequence[str]:
        """All files in a folder and its subfolders."""
        return below(self.files, folder)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """All folders that have a file in or below them, sorted."""
        return tuple(sorted(self._children.keys() - {""}))

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        """Names of the folders directly in each folder that has files in or below it."""
        children: dict[str, list[str]] = {"": []}
        for folder in dict.fromkeys(map(folder_of, self.files)):
            new = folder
            while new not in children:
                children[new] = []
                new = folder_of(new)
        for folder in children.keys() - {""}:
            children[folder_of(folder)].append(folder.rpartition("/")[2])
        return {folder: sorted(names) for folder, names in children.items()}

    def subfolders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        return self._children.get(folder, [])

    def has_folder(self, folder: str) -> bool:
        """Whether there is a folder of this name with a file in or below it."""
        return folder in self._children

    def subtree(self, folder: str) -> FileTree:
        """The files of a folder as a tree of their own."""

        def inside(names: Iterable[str]) -> tuple[str, ...]:
            start = len(folder) + 1
            return tuple(name[start:] for name in names if name.startswith(f"{folder}/"))

        return FileTree(
            self.root / folder,
            inside(self.files),
            system=inside(self.system),
            excluded=inside(self.excluded),
            circles=inside(self.circles),
            predictions=inside(self.predictions),
            linked=frozenset(inside(self.linked)),
        )

    def same_file(self, names: Iterable[str]) -> dict[str, str]:
        """Of names that reach a file by a link: the other name that reaches the same file."""
        if not self.linked:
            return {}
        first: dict[tuple[int, int], str] = {}
        same = {}
        for name in sorted(names, key=lambda name: (name in self.linked, name)):
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
        raise DataError(
            f"{root}: {problem}; expected a folder of {expected}. Set data.root to one."
        )
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
        prefix = f"{root.as_posix()}/"
        self.exclude = {
            pattern: pattern.removeprefix(prefix).removeprefix("./").removeprefix("**/").rstrip("/")
            for pattern in exclude
        }
        self.used_patterns: set[str] = set()
        self.own: set[str] = set()
        self.files: list[str] = []
        self.system: list[str] = []
        self.excluded: list[str] = []
        self.circles: list[str] = []
        self.predictions: list[str] = []
        self.linked: list[str] = []
        self.followed: set[str] = set()

    def tree(self) -> FileTree:
        """What was found, sorted."""
        return FileTree(
            self.root,
            tuple(sorted(self.files)),
            system=tuple(sorted(self.system)),
            excluded=tuple(sorted(self.excluded)),
            circles=tuple(sorted(self.circles)),
            predictions=tuple(sorted(self.predictions)),
            idle_patterns=tuple(each for each in self.exclude if each not in self.used_patterns),
            linked=frozenset(self.linked),
        )

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
            self.predictions.append(folder)
            return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            is_folder, is_link = _is_folder(entry), entry.is_symlink()
            if is_folder and not deeper:
                continue
            if not self._is_wanted(name, is_folder=is_folder):
                continue
            if not is_folder:
                self.files.append(name)
                if linked or is_link:
                    self.linked.append(name)
                continue
            real = os.path.realpath(entry.path) if is_link else f"{chain[-1]}/{entry.name}"
            # Within a link every other link is followed once: links across each other would be
            # followed for ever.
            if is_link and (real in chain or (linked and real in self.followed)):
                self.circles.append(name)
                continue
            if is_link:
                self.followed.add(real)
            self.walk(name, (*chain, real), linked=linked or is_link)

    def _is_wanted(self, name: str, *, is_folder: bool) -> bool:
        """Whether to use an entry; others are noted with their reason."""
        base = name.rpartition("/")[2]
        known = SYSTEM_FOLDERS if is_folder else SYSTEM_FILES
        if base.startswith(".") or base.lower() in known:
            self.system.append(name)
            return False
        matching = [
            given
            for given, pattern in self.exclude.items()
            if fnmatch.fnmatchcase(name if "/" in pattern else base, pattern)
        ]
        if matching:
            self.used_patterns.update(matching)
            self.excluded.append(name)
        return not matching


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: listed as a file, so that reading it reports the error
        return False


def _is_written_here(names: set[str]) -> bool:
    """Whether the files of a folder are those of a run, of a sweep or of predictions."""
    is_run = RunFiles.CONFIG in names and bool({RunFiles.RECORD, SweepFiles.JOB} & names)
    return is_run or PREDICTIONS_RECORD in names or SweepFiles.SWEEP in names


def _refuse(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: the folder may not be read ({error.strerror}). Change its "
        "permissions, or leave it out with data.exclude."
    )


def is_image(root: Path, name: str) -> bool:
    """Whether a file can be read as an image: by its suffix, else by its first bytes."""
    suffix = suffix_of(name)
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in _OTHER_SUFFIXES or name.endswith("~"):
        return False
    try:
        with (root / name).open("rb") as stream:
            return is_image_content(stream.read(SIGNATURE_BYTES))
    except OSError:
        return False


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, with its dot; "" where there is none."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{suffix}".lower() if stem else ""


def count_suffixes(names: Sequence[str]) -> str:
    """Number of files, and of each suffix, for a message."""
    counts = Counter(suffix_of(name) or "no suffix" for name in names)
    listed = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(counts.items()))
    return f"{numbered(len(names), 'file')}" + (f": {listed}" if listed else "")


def folder_of(name: str) -> str:
    """The folder of a file, "" for the root."""
    return name.rpartition("/")[0]


def below(names: Sequence[str], folder: str) -> Sequence[str]:
    """Of sorted names those in a folder and its subfolders."""
    if not folder:
        return names
    first = bisect_left(names, f"{folder}/")
    return names[first : bisect_left(names, f"{folder}0", lo=first)]  # "0" follows "/"
