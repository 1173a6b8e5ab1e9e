"""data.yaml of YOLO: the names of the classes, and the images of the splits.

Paths are relative to the file, or to its `path`; those of another machine are found by their ends.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from capsule_inspection.data.annotations.documents import Node, read_lines, read_text
from capsule_inspection.data.annotations.images import AnnotationFile, annotation_files
from capsule_inspection.data.annotations.shapes import Annotations
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import join_names, relative_posix
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

TABLES = (".yaml", ".yml")
LISTS = ("classes.txt", "obj.names", "classes.names")
_EXPECTED = "a data.yaml with names, or a classes.txt with one class a line"
_SPLIT_KEYS = {TRAIN: ("train",), VAL: ("val", "valid", "validation"), TEST: ("test",)}
_MOVED = "Entries of data.yaml that are not where it says, and were found by their names"
_NO_TEST = "Folders of the test split in data.yaml that do not exist"


def find_class_list(tree: FileTree, annotations: Path | None) -> AnnotationFile:
    """The file that names the classes."""

    def names_classes(path: Path) -> str | None:
        is_list = path.name in LISTS
        return "names" if is_list or re.search(r"^names\s*:", read_text(path), re.MULTILINE) else ""

    found = annotation_files(
        tree, annotations, (*TABLES, *LISTS), names_classes, expected=_EXPECTED
    )
    usable = [file for file in found if file.path.name not in LISTS] or found
    if len({file.path.read_bytes() for file in usable}) > 1:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found several that differ: "
            f"{join_names([file.name for file in usable])}. Set data.annotations to one."
        )
    return usable[0]


def read_names(document: Node) -> dict[str, str]:
    """The name of each class by its number."""
    if document.find("kpt_shape") is not None:
        raise DataError(
            f"{document.where}: kpt_shape says that the labels are keypoints, which mark no area. "
            "Export polygons or boxes."
        )
    node = document.get("names")
    values = node.value if isinstance(node.value, Mapping) else dict(enumerate(node.items()))
    names = {
        str(key): readable((name if isinstance(name, Node) else Node(name, node.where)).text())
        for key, name in values.items()
    }
    if not names or not all(key.isdecimal() for key in names):
        raise node.fault("a list of names, or names by class number")
    count = document.find("nc")
    if count is not None and count.whole() != len(names):
        raise DataError(
            f"{document.where}: nc is {count.whole()}, but names has {len(names)}: "
            f"{join_names(names.values())}. Correct the wrong one."
        )
    return names


class Splits:
    """The images of the splits that a data.yaml in the folder `here` names."""

    def __init__(self, tree: FileTree, here: str, document: Node, result: Annotations) -> None:
        self.tree, self.here, self.document, self.result = tree, here, document, result
        base = document.find("path")
        self.base = base.text().replace("\\", "/") if base else ""
        self.files = frozenset(tree.files)

    def images(self) -> dict[str, str]:
        """The split of each image; empty where the file names no splits."""
        images: dict[str, str] = {}
        for split, keys in _SPLIT_KEYS.items():
            node = next(filter(None, map(self.document.find, keys)), None)
            if node is None or node.value in ("", []):
                continue
            for item in node.items() if isinstance(node.value, list) else [node]:
                for image in self._of(item, is_needed=split != TEST):
                    if images.setdefault(image, split) != split:
                        raise DataError(
                            f"{self.document.where}: {image} is in {images[image]} and in {split}. "
                            "Leave it in one of them."
                        )
        return images

    def _of(self, item: Node, *, is_needed: bool) -> Sequence[str]:
        """The images of one entry: a folder, or a text file that lists images."""
        name = item.text().replace("\\", "/").rstrip("/")
        said = posixpath.join(self.base, name)
        here = [posixpath.join(self.here, place) for place in (said, name)]
        found = self._find(said, here)
        if found is None and self._is_left_out(name):
            return []
        if found is None and not is_needed:
            self.result.note(_NO_TEST, name)
            return []
        if found is None:
            raise DataError(
                f"{item.where}: there is no folder {name} below {self.tree.root}. Correct the path "
                "in data.yaml, or set data.root to the folder that has it."
            )
        if found in self.files:
            self.result.files.add(self.tree.root / found)
            return self._listed(found)
        images = self.tree.images_below(found)
        if not images:
            raise DataError(f"{item.where}: the folder {found} has no images.")
        return images

    def _listed(self, name: str) -> list[str]:
        """The images in a text file, relative to it or to the root."""
        images = []
        for number, line in enumerate(read_lines(self.tree.root / name), 1):
            said = line.replace("\\", "/")
            found = self._find(said, [posixpath.join(folder_of(name), said)])
            if found in self.files:
                images.append(found)
            elif not self._is_left_out(said):
                raise DataError(
                    f"{name}, line {number}: there is no image {line} below {self.tree.root}. "
                    "Correct the line, or take it out."
                )
        return images

    def _find(self, said: str, places: Sequence[str]) -> str | None:
        """What is in one of the places, relative to the root, else by the last parts of a path."""
        for place in places:
            if (found := self._below(place)) is not None:
                return found
        for number, place in enumerate(self._ends(said)):
            if (found := self._below(place)) is not None:
                # Roboflow writes ../train/images for train/images, CVAT data/images/0.png.
                if number > 1 and f"data/{found}" != said:
                    self.result.note(_MOVED, f"{said} ({found or '.'})")
                return found
        return None

    def _ends(self, said: str) -> list[str]:
        """A path without its first parts, below the folder of data.yaml and the root."""
        parts = [part for part in said.split("/") if part not in ("", ".", "..")]
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        return [place for end in ends for place in (posixpath.join(self.here, end), end)]

    def _below(self, place: str) -> str | None:
        """A place relative to the root, if there is a file or folder of the tree."""
        whole = posixpath.normpath(posixpath.join(self.tree.root.as_posix(), place))
        relative = relative_posix(Path(whole), self.tree.root)
        relative = "" if relative == "." else relative
        is_there = relative in self.files or self.tree.has_folder(relative)
        return relative if is_there else None

    def _is_left_out(self, said: str) -> bool:
        """Whether what the file names is there, but left out by `data.exclude`."""
        places = [place for place in self._ends(said) if (self.tree.root / place).exists()]
        return bool(self.tree.excluded) and any(self._below(place) is None for place in places)
