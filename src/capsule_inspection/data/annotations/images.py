"""Finds the image that an annotation names, and reads the sizes of images from their headers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from PIL import Image

from capsule_inspection.data.annotations.shapes import Notes
from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.image_io import DecodeConfig, read_image
from capsule_inspection.data.layouts.names import fold, readable, split_of
from capsule_inspection.data.layouts.samples import join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.types import DataError

_ORIENTATION = 0x0112
_EXIF_OF_PNG = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
_SWAPPED = (5, 6, 7, 8)
_WORDS = re.compile(r"[^\W\d_]+")
_MULTIPLE_PAGES = "TIFF"
_ELSEWHERE = (
    "Images that are listed under another path than where they are, and were found by their name"
)


class Header(NamedTuple):
    """Width and height of an image as stored, and its EXIF orientation (1: as stored)."""

    width: int
    height: int
    orientation: int = 1

    def size(self, *, turn: bool) -> tuple[int, int]:
        """Width and height as shown, or as stored without `turn`."""
        is_swapped = turn and self.orientation in _SWAPPED
        return (self.height, self.width) if is_swapped else (self.width, self.height)


class ImageFinder:
    """Finds images of a tree, or some of them, by the names that annotation files give them."""

    def __init__(self, tree: FileTree, notes: Notes, images: Iterable[str] | None = None) -> None:
        self._files = {readable(name): name for name in tree.files}
        self._by_base: dict[str, list[str]] = {}
        for name in tree.images if images is None else images:
            self._by_base.setdefault(fold(_base(name)), []).append(name)
        self._notes = notes

    def find(
        self, name: str, where: str, *, folders: Sequence[str] = ("",), split: str = ""
    ) -> str | None:
        """The path of an image, None where it is missing.

        `folders` are those that the name may be relative to, the first one that has it counts;
        then any folder that the whole name fits, then any image of this name. Of several those in
        a folder of the `split` are preferred. Raises DataError, naming `where`, where several fit.
        """
        wanted = posixpath.normpath(readable(name.strip().replace("\\", "/")))
        for folder in folders:
            found = self._files.get(posixpath.normpath(posixpath.join(folder, wanted)))
            if found is not None:
                return found
        alike = self._by_base.get(fold(_base(wanted)), [])
        ending = [path for path in alike if f"/{readable(path)}".endswith(f"/{wanted}")]
        same_case = [path for path in alike if _base(readable(path)) == _base(wanted)]
        matches = ending or same_case or alike
        if len(matches) > 1 and split:
            inside = [path for path in matches if split_in(posixpath.dirname(path)) == split]
            matches = inside or matches
        if len(matches) > 1:
            raise DataError(
                f"{where}: the image {name} may be {join_names(matches)}. Name it with its folder, "
                "or leave the other one out with data.exclude."
            )
        if matches and not ending:
            self._notes.add(_ELSEWHERE, f"{name} ({matches[0]})")
        return matches[0] if matches else None


def split_in(path: str) -> str:
    """The split that a folder or the words of a file's name stand for, "" for none or several."""
    for part in reversed(path.split("/")):
        if whole := split_of(part):
            return whole
        splits = {split_of(word) for word in _WORDS.findall(part)} - {""}
        if len(splits) == 1:
            return splits.pop()
    return ""


def url_path(url: str) -> str:
    """The path of an image in a URL, such as that of Label Studio's local files."""
    text = unquote(url)
    if "?d=" in text:
        return text.partition("?d=")[2]
    return re.sub(r"^[a-zA-Z][\w+.-]+://[^/]*/", "", text).partition("?")[0]


def read_header(path: Path, config: DecodeConfig) -> Header | None:
    """The size of an image; None where it is missing or cannot be read, which is reported later."""
    try:
        with Image.open(path) as image:
            if image.format != _MULTIPLE_PAGES or getattr(image, "n_frames", 1) == 1:
                # Of a PNG without any of these, Pillow would decode all pixels to look for more.
                is_plain = image.format == "PNG" and not _EXIF_OF_PNG & set(image.info)
                orientation = 1 if is_plain else image.getexif().get(_ORIENTATION, 1)
                return Header(*image.size, orientation)
    except Exception:
        pass
    try:
        height, width = read_image(path, config).pixels.shape[:2]
    except BadFileError:
        return None
    return Header(width, height)


def annotation_files(
    tree: FileTree, annotations: Path | None, suffixes: Iterable[str], *, expected: str
) -> list[Path]:
    """The files that may hold annotations: `data.annotations`, or all of a suffix in the tree.

    Raises DataError where the setting names nothing that fits.
    """
    endings = tuple(suffixes)

    def fits(name: str) -> bool:
        return name.lower().endswith(endings)

    if annotations is None:
        return [tree.root / name for name in tree.files if fits(name)]
    path = annotations if annotations.exists() else tree.root / annotations
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if fits(file.name) and file.is_file())
        if found:
            return [file.absolute() for file in found]
        raise DataError(
            f"{path}: expected {expected} in this folder (data.annotations), found none."
        )
    if path.is_file():
        return [path.absolute()]
    raise DataError(
        f"{annotations}: there is no such file or folder. Set data.annotations to {expected}, or "
        "to null to have it searched below data.root."
    )


def folder_in(tree: FileTree, path: Path) -> str:
    """The folder of an annotation file relative to the root, "" where it lies elsewhere."""
    folder = path.parent
    if not folder.is_relative_to(tree.root):
        return ""
    relative = folder.relative_to(tree.root).as_posix()
    return "" if relative == "." else relative


def name_in(tree: FileTree, path: Path) -> str:
    """The name of an annotation file in messages."""
    return path.relative_to(tree.root).as_posix() if path.is_relative_to(tree.root) else str(path)


def _base(name: str) -> str:
    return name.rpartition("/")[2]
