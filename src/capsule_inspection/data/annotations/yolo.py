"""YOLO: a text file for each image, with a line `class x y ...` in fractions of its size.

Source: https://docs.ultralytics.com/datasets/segment. Four numbers are a box (centre and size), six
or more a polygon. `data.yaml` names classes and splits; the labels of images/a/1.jpg are in
labels/a/1.txt, or beside the image (Darknet, CVAT's YOLO 1.1 with obj.names).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from capsule_inspection.data.annotations.documents import (
    Node,
    read_lines,
    read_text,
    read_yaml,
    to_number,
)
from capsule_inspection.data.annotations.images import (
    annotation_files,
    folder_in,
    name_in,
    split_in,
)
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Shape,
    box_polygon,
)
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import TEST, TRAIN, VAL, DataError

_TABLES = (".yaml", ".yml")
_LISTS = ("classes.txt", "obj.names", "classes.names")
SUFFIXES = (*_TABLES, *_LISTS)
_EXPECTED = "a data.yaml with names, or a classes.txt with one class a line"
_SPLIT_KEYS = {TRAIN: ("train",), VAL: ("val", "valid", "validation"), TEST: ("test",)}
_NO_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt"})
_MOVED = "Entries of data.yaml that are not where it says, and were found by their names"
_LABEL = re.compile(rb"\d+( [\d.eE+-]+){4,}")
_TRIED = 50
_SHOWN = 5


def recognise(path: Path) -> str | None:
    """What shows that a file lists the classes of this format."""
    if path.suffix.lower() not in _TABLES:
        labels = islice(path.parent.rglob("*.txt"), _TRIED)
        is_labelled = any(_LABEL.match(label.read_bytes()[:100]) for label in labels)
        return "one class a line, beside labels" if is_labelled else None
    keys = {line.partition(":")[0].strip() for line in read_text(path).splitlines()}
    return "names and splits" if "names" in keys and keys & {"train", "val", "nc"} else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """The images of the splits with their label files. Raises DataError where there is no list."""
    path = _class_list(tree, settings.annotations)
    result = Annotations("YOLO", name_in(tree, path), files={path})
    if path.suffix.lower() in _TABLES:
        document = Node(read_yaml(path).value, name_in(tree, path))
        names = _names(document)
        images = _Splits(tree, path, document, result).images()
    else:
        names = {str(number): readable(name) for number, name in enumerate(read_lines(path))}
        images = {}
    images = images or {image: split_in(folder_of(image)) for image in tree.images}
    files = frozenset(tree.files)
    labels = {image: _label_file(files, image) for image in images}
    if settings.unannotated != "skip":
        _refuse_missing_labels(tree, labels)
    _refuse_orphans(tree, labels)
    for image, label in labels.items():
        with result.faults.collect():
            shapes: tuple[Shape, ...] = ()
            if label:
                result.files.add(tree.root / label)
                shapes = _shapes(tree.root / label, label, names)
            result.images.append(
                AnnotatedImage(
                    image, label or image, shapes, split=images[image], is_labelled=bool(label)
                )
            )
    return result


def _class_list(tree: FileTree, annotations: Path | None) -> Path:
    """The file that names the classes."""
    found = annotation_files(tree, annotations, SUFFIXES, expected=_EXPECTED)
    if annotations is not None and annotations.is_file():
        return found[0]
    lists = [path for path in found if path.name in _LISTS]
    usable = [path for path in found if path not in lists and _names_classes(path)] or lists
    if not usable:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found none. Add one, or set data.annotations to "
            "it."
        )
    if len({path.read_bytes() for path in usable}) > 1:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found several that differ: "
            f"{join_names([name_in(tree, path) for path in usable])}. Set data.annotations to one."
        )
    return usable[0]


def _names_classes(path: Path) -> bool:
    if "names" not in read_text(path):
        return False
    value = read_yaml(path).value
    return isinstance(value, Mapping) and "names" in value


def _names(document: Node) -> dict[str, str]:
    """The name of each class by its number."""
    if document.find("kpt_shape") is not None:
        raise DataError(
            f"{document.where}: kpt_shape says that the labels are keypoints, which mark no area. "
            "Export polygons or boxes."
        )
    node = document.get("names")
    if isinstance(node.value, Mapping):
        names = {str(key): readable(Node(name, node.where).text())
                 for key, name in node.value.items()}  # fmt: skip
    else:
        names = {str(number): readable(item.text()) for number, item in enumerate(node.items())}
    if not names or not all(key.isdecimal() for key in names):
        raise node.fault("a list of names, or names by class number")
    count = document.find("nc")
    if count is not None and count.whole() != len(names):
        raise DataError(
            f"{document.where}: nc is {count.whole()}, but names has {len(names)}: "
            f"{join_names(names.values())}. Correct the wrong one."
        )
    return names


class _Splits:
    """The images of the splits that a data.yaml names."""

    def __init__(self, tree: FileTree, path: Path, document: Node, result: Annotations) -> None:
        self.tree, self.document, self.result = tree, document, result
        self.here = folder_in(tree, path)
        base = document.find("path")
        self.base = base.text().replace("\\", "/") if base else ""
        self.files = frozenset(tree.files)

    def images(self) -> dict[str, str]:
        """The split of each image; empty where the file names no splits."""
        images: dict[str, str] = {}
        for split, keys in _SPLIT_KEYS.items():
            node = self.document.find(*keys)
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
        found = self._find(name, self.base, self.here)
        if found is None and not is_needed:
            self.result.notes.add("Folders of the test split in data.yaml that do not exist", name)
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

    def _find(self, name: str, base: str, here: str) -> str | None:
        """A file or folder as the file says, else by the last parts of its path."""
        said = posixpath.join(base, name)
        places = [posixpath.join(here, said), posixpath.join(here, name)]
        parts = [part for part in said.split("/") if part not in ("", ".", "..")]
        tails = ["/".join(parts[start:]) for start in range(len(parts))]
        for place in places:
            if (found := self._below(place)) is not None:
                return found
        for tail in tails:
            for place in (posixpath.join(here, tail), tail):
                if (found := self._below(place)) is not None:
                    if tail != tails[0]:  # Roboflow writes ../train/images for train/images
                        self.result.notes.add(_MOVED, f"{name} ({found or '.'})")
                    return found
        return None

    def _below(self, place: str) -> str | None:
        """A place relative to the root, if there is a file or folder of the tree."""
        root = self.tree.root.as_posix()
        whole = posixpath.normpath(posixpath.join(root, place))
        if whole == root:
            return ""
        relative = whole.removeprefix(f"{root}/")
        is_there = relative in self.files or self.tree.has_folder(relative)
        return relative if relative != whole and is_there else None

    def _listed(self, name: str) -> list[str]:
        """The images in a text file, relative to it or to the root."""
        images = []
        for number, line in enumerate(read_lines(self.tree.root / name), 1):
            found = self._find(line.replace("\\", "/"), "", folder_of(name))
            if found not in self.files:
                raise DataError(
                    f"{name}, line {number}: there is no image {line} below {self.tree.root}. "
                    "Correct the line, or take it out."
                )
            images.append(found)
        return images


def _label_file(files: frozenset[str], image: str) -> str | None:
    """The label file of an image, None where it has none."""
    stem = image.rpartition(".")[0]
    before, folder, after = f"/{stem}".rpartition("/images/")
    names = [f"{before}/labels/{after}.txt".lstrip("/")] if folder else []
    return next((name for name in [*names, f"{stem}.txt"] if name in files), None)


def _refuse_missing_labels(tree: FileTree, labels: Mapping[str, str | None]) -> None:
    """Refuse a folder of images none of which has a label file: nobody has labelled them."""
    labelled = {folder_of(image): False for image in labels}
    for image, label in labels.items():
        labelled[folder_of(image)] |= label is not None
    missing = [folder or "." for folder, is_labelled in labelled.items() if not is_labelled]
    if missing:
        raise DataError(
            f"{tree.root}: none of the images of {join_names(missing)} has a label file, in "
            "labels/ or beside it. Add the files (empty ones for good images), or leave "
            "these images out with data.unannotated=skip."
        )


def _refuse_orphans(tree: FileTree, labels: Mapping[str, str | None]) -> None:
    """Refuse label files without an image."""
    used = set(labels.values())
    folders = {folder_of(label) for label in used if label}
    images = {image.rpartition(".")[0] for image in tree.images}
    orphans = [
        name
        for name in tree.files
        if name.endswith(".txt") and name not in used and folder_of(name) in folders
        if name.rpartition("/")[2].lower() not in _NO_LABELS
        if name.removesuffix(".txt") not in images
    ]
    if orphans:
        raise DataError(
            f"{tree.root}: {len(orphans)} label files have no image: "
            f"{list_first(orphans, _SHOWN)}. Add the images, or leave the files out with "
            "data.exclude."
        )


def _shapes(path: Path, name: str, names: Mapping[str, str]) -> tuple[Shape, ...]:
    return tuple(
        _shape(line, f"{name}, line {number}", names)
        for number, line in enumerate(read_text(path).splitlines(), 1)
        if line.strip()
    )


def _shape(line: str, where: str, names: Mapping[str, str]) -> Shape:
    number, *texts = line.split()
    key = to_number(number, where)
    values = tuple(to_number(text, where) for text in texts)
    class_name = names.get(f"{key:g}")
    if class_name is None:
        known = join_names([f"{number} {name}" for number, name in names.items()])
        raise DataError(f"{where}: expected the number of a class ({known}), found {number}.")
    if len(values) == 4:
        x, y, width, height = values
        outline = box_polygon(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Shape(class_name, outline, is_weak=True, is_relative=True)
    if len(values) < 6 or len(values) % 2:
        raise DataError(
            f"{where}: expected 4 numbers of a box, or x and y of at least 3 corners after the "
            f"class; found {len(values)} numbers. Predictions with a confidence and keypoints are "
            "not read."
        )
    return Shape(class_name, (values,), is_relative=True)
