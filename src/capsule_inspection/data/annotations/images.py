"""Finds the files of a format, and the images that they name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from capsule_inspection.data.annotations.shapes import Annotations
from capsule_inspection.data.layouts.names import fold, readable, split_of
from capsule_inspection.data.layouts.samples import join_names, relative_posix
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.types import DataError

_WORDS = re.compile(r"[^\W\d_]+")
_FIRST_BYTES = 4096
_ELSEWHERE = (
    "Images that are listed under another path than where they are, and were found by their name"
)


class AnnotationFile(NamedTuple):
    """A file, its name in messages, and its folder relative to the root ("" elsewhere)."""

    path: Path
    name: str
    folder: str


def annotation_files(
    tree: FileTree,
    given: Path | None,
    suffixes: Sequence[str],
    recognise: Callable[[Path], str | None],
    *,
    expected: str,
    are_needed: bool = True,
) -> list[AnnotationFile]:
    """The file that `data.annotations` names, or all files of a format in this folder or the tree.

    Raises DataError where there is none, if they `are_needed`.
    """
    endings, place = tuple(suffixes), tree.root
    paths = [tree.root / name for name in tree.files]
    if given is not None:
        place = (given if given.exists() else tree.root / given).absolute()
        paths = sorted(path for path in place.rglob("*") if path.is_file())
    if place.is_file():
        found = [place]
    elif place.exists():
        paths = [path for path in paths if path.name.lower().endswith(endings)]
        found = [path for path in paths if recognise(path)]
    else:
        raise DataError(
            f"{given}: there is no such file or folder. Set data.annotations to {expected}, or to "
            "null to have it searched below data.root."
        )
    if not found and (are_needed or given is not None):
        kinds = " or ".join(endings)
        raise DataError(
            f"{place}: expected {expected}, found {len(paths)} other files of {kinds}. Set "
            "data.annotations to the file or folder, or data to the format (data=auto finds out)."
        )
    return [_annotation_file(tree, path) for path in found]


def _annotation_file(tree: FileTree, path: Path) -> AnnotationFile:
    name = relative_posix(path, tree.root)
    return AnnotationFile(path, name, "" if name.startswith("/") else posixpath.dirname(name))


def has_keys(path: Path, *keys: str) -> bool:
    """Whether a JSON file has all of these keys."""
    content = path.read_bytes()
    return all(f'"{key}"'.encode() in content for key in keys)


def starts_with_tag(path: Path, tag: str) -> bool:
    """Whether this tag is at the start of an XML file."""
    with path.open("rb") as stream:
        return bool(re.search(rf"<{tag}[\s>]".encode(), stream.read(_FIRST_BYTES)))


class ImageFinder:
    """Finds images of a tree, or some of them, by the names that annotation files give them."""

    def __init__(
        self, tree: FileTree, annotations: Annotations, images: Iterable[str] | None = None
    ) -> None:
        self._annotations = annotations
        self._paths = {readable(path): path for path in (tree.images if images is None else images)}
        self._by_name: dict[str, list[str]] = {}
        for path in self._paths:
            self._by_name.setdefault(fold(base_of(path)), []).append(path)

    def find(
        self, *names: str, where: str, folder: str, also: Sequence[str] = (), split: str = ""
    ) -> str:
        """The path of the image that one of the names means, or where it was expected.

        A name may be relative to the annotation's `folder`, to the root, to images/ in one of them,
        or to `also`; then any folder that the whole name fits, then any image of this name. Of
        several those in a folder of the `split` are preferred. Raises DataError, naming `where`,
        where several fit.
        """
        wanted = ""
        for name in names:
            wanted = posixpath.normpath(readable(name.strip().replace("\\", "/")))
            for start in (*also, folder, f"{folder}/images".lstrip("/"), "", "images"):
                place = posixpath.normpath(posixpath.join(start, wanted))
                if place in self._paths:
                    return self._paths[place]
            matches = self._alike(wanted, split)
            if len(matches) > 1:
                raise DataError(
                    f"{where}: the image {name} may be {join_names(matches)}. Name it with its "
                    "folder, or leave the other one out with data.exclude."
                )
            for match in matches:
                if not f"/{match}".endswith(f"/{wanted}"):
                    self._annotations.note(_ELSEWHERE, f"{name} ({match})")
                return self._paths[match]
        return re.sub(r"^(\.*/)+", "", wanted)

    def _alike(self, wanted: str, split: str) -> list[str]:
        """The images that best fit a name."""
        alike = self._by_name.get(fold(base_of(wanted)), [])
        ending = [path for path in alike if f"/{path}".endswith(f"/{wanted}")]
        same_case = [path for path in alike if base_of(path) == base_of(wanted)]
        matches = ending or same_case or alike
        inside = [path for path in matches if split_in_words(posixpath.dirname(path)) == split]
        return inside if split and inside else matches


def split_in(path: str) -> str:
    """The split that the last folder with the name of one stands for, "" where there is none."""
    return next(filter(None, map(split_of, reversed(path.split("/")))), "")


def split_in_words(path: str) -> str:
    """As `split_in`, also where it is a word of the last name, as in instances_train2017."""
    splits = {split_of(word) for word in _WORDS.findall(base_of(path))} - {""}
    return splits.pop() if len(splits) == 1 else split_in(path)


def base_of(name: str) -> str:
    """The name of a file without its folder."""
    return name.rpartition("/")[2]
