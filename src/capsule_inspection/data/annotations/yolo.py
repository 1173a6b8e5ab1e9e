"""YOLO: a text file for each image, with a line `class x y ...` in fractions of its size.

Source: https://docs.ultralytics.com/datasets/segment. Four numbers are a box (centre and size), six
or more a polygon. `data.yaml` names classes and splits; the labels of images/a/1.jpg are in
labels/a/1.txt, or beside the image (Darknet, CVAT's YOLO 1.1 with obj.names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from capsule_inspection.data.annotations.documents import Node, read_lines, read_text, read_yaml
from capsule_inspection.data.annotations.images import AnnotationFile, split_in
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations, Shape
from capsule_inspection.data.annotations.yolo_lists import (
    LISTS,
    TABLES,
    Splits,
    find_class_list,
    read_names,
)
from capsule_inspection.data.layouts.names import match_stem, readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import DataError

SUFFIXES = (*TABLES, *LISTS)
_NO_LABELS = frozenset({"classes", "obj", "train", "val", "valid", "test"})
_LABEL = re.compile(rb"\d+( [\d.eE+-]+){4,}")
_TRIED = 50
_SHOWN = 5


def recognise(path: Path) -> str | None:
    """What shows that a file lists the classes of this format."""
    if path.suffix.lower() not in TABLES:
        labels = islice(path.parent.rglob("*.txt"), _TRIED)
        is_labelled = any(_LABEL.match(label.read_bytes()[:100]) for label in labels)
        return "one class a line, beside labels" if is_labelled else None
    keys = {line.partition(":")[0].strip() for line in read_text(path).splitlines()}
    return "names and splits" if "names" in keys and keys & {"train", "val", "nc"} else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """The images of the splits with their label files. Raises DataError where there is no list."""
    file = find_class_list(tree, settings.annotations)
    result = Annotations("YOLO", file.name, files={file.path})
    names, splits = _classes_and_splits(tree, file, result)
    files = frozenset(tree.files)
    labels = {image: _label_file(files, image) for image in splits}
    if settings.unannotated != "skip":
        _refuse_missing_labels(tree, labels)
    _refuse_orphans(tree, labels)
    for image, label in labels.items():
        with result.collect():
            shapes: list[Shape] = []
            if label:
                result.files.add(tree.root / label)
                shapes = [
                    _shape(line, f"{label}, line {number}", names)
                    for number, line in enumerate(read_text(tree.root / label).splitlines(), 1)
                    if line.strip()
                ]
            where = label or image
            result.images.append(
                AnnotatedImage(
                    image, where, tuple(shapes), split=splits[image], is_labelled=bool(label)
                )
            )
    return result


def _classes_and_splits(
    tree: FileTree, file: AnnotationFile, result: Annotations
) -> tuple[dict[str, str], dict[str, str]]:
    """The name of each class by its number, and the split of each image."""
    splits: dict[str, str] = {}
    if file.path.suffix.lower() in TABLES:
        document = read_yaml(file.path, file.name)
        names = read_names(document)
        splits = Splits(tree, file.folder, document, result).images()
    else:
        names = {str(number): readable(name) for number, name in enumerate(read_lines(file.path))}
        lists = [name for name in tree.files if name.endswith((".txt", ".data"))]
        result.files |= {tree.root / name for name in lists if match_stem(name) in _NO_LABELS}
    # Darknet's folders are obj_train_data and obj_valid_data.
    return names, splits or {
        image: split_in(re.sub(r"obj_(\w+)_data", r"\1", folder_of(image))) for image in tree.images
    }


def _label_file(files: frozenset[str], image: str) -> str | None:
    """The label file of an image, None where it has none."""
    stem = image.rpartition(".")[0]
    before, folder, after = f"/{stem}".rpartition("/images/")
    names = [f"{before}/labels/{after}.txt".lstrip("/")] if folder else []
    return next((name for name in [*names, f"{stem}.txt"] if name in files), None)


def _refuse_missing_labels(tree: FileTree, labels: Mapping[str, str | None]) -> None:
    """Refuse a folder of images none of which has a label file: nobody has labelled them."""
    labelled = {folder_of(image) for image, label in labels.items() if label}
    missing = sorted({folder_of(image) for image in labels} - labelled)
    if missing:
        raise DataError(
            f"{tree.root}: none of the images of {join_names(name or '.' for name in missing)} has "
            "a label file, in labels/ or beside it. Add the files (empty ones for good images), or "
            "leave these images out with data.unannotated=skip."
        )


def _refuse_orphans(tree: FileTree, labels: Mapping[str, str | None]) -> None:
    """Refuse label files without an image."""
    used = {label for label in labels.values() if label}
    folders = {folder_of(label) for label in used}
    with_image = {image.rpartition(".")[0] for image in tree.images}
    left_out = {match_stem(name) for name in tree.excluded} | _NO_LABELS
    orphans = [
        name
        for name in tree.files
        if name.endswith(".txt") and folder_of(name) in folders and name not in used
        if name.removesuffix(".txt") not in with_image and match_stem(name) not in left_out
    ]
    if orphans:
        raise DataError(
            f"{tree.root}: {len(orphans)} label files have no image: "
            f"{list_first(orphans, _SHOWN)}. Add the images, or leave the files out with "
            "data.exclude."
        )


def _shape(line: str, where: str, names: Mapping[str, str]) -> Shape:
    number, *texts = line.split()
    key = Node(number, where).number()
    values = Node(texts, where).numbers()
    class_name = names.get(f"{key:g}")
    if class_name is None:
        known = join_names([f"{number} {name}" for number, name in names.items()])
        raise DataError(f"{where}: expected the number of a class ({known}), found {number}.")
    if len(values) == 4:
        x, y, width, height = values
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Shape.box(class_name, corners, is_relative=True)
    if len(values) < 6 or len(values) % 2:
        raise DataError(
            f"{where}: expected 4 numbers of a box, or x and y of at least 3 corners after the "
            f"class; found {len(values)} numbers. Predictions with a confidence and keypoints are "
            "not read."
        )
    return Shape(class_name, (values,), is_relative=True)
