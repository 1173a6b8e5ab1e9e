"""COCO: JSON files with `images`, `annotations` and `categories`; also Roboflow's and CVAT's.

Source: https://cocodataset.org/#format-data. Polygons of one annotation are joined; `iscrowd` ones
are ignored. The split is in the name of the file or of its folder (instances_train2017.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from capsule_inspection.data.annotations.documents import Node, read_json
from capsule_inspection.data.annotations.images import (
    AnnotationFile,
    ImageFinder,
    annotation_files,
    has_keys,
    split_in_words,
)
from capsule_inspection.data.annotations.raster import from_counts, parse_counts
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Polygon,
    Shape,
)
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree

SUFFIXES = (".json",)
_EXPECTED = "a COCO file (JSON with images, annotations and categories)"


def recognise(path: Path) -> str | None:
    """What shows that a JSON file is of this format."""
    keys = ("images", "annotations", "categories")
    return "images, annotations and categories" if has_keys(path, *keys) else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """All COCO files of a data set. Raises DataError where there is none."""
    files = annotation_files(tree, settings.annotations, SUFFIXES, recognise, expected=_EXPECTED)
    source = files[0].name if len(files) == 1 else f"{len(files)} files"
    result = Annotations("COCO", source, files={file.path for file in files})
    finder = ImageFinder(tree, result)
    for file in files:
        with result.collect():
            _read_file(file, finder, result)
    return result


def _read_file(file: AnnotationFile, finder: ImageFinder, result: Annotations) -> None:
    document = read_json(file.path, file.name)
    split = split_in_words(file.name.rpartition(".")[0])
    categories = _by_id(document.get("categories").items())
    names = {key: readable(item.get("name").text()) for key, item in categories.items()}
    images = _by_id(document.get("images").items())
    shapes: dict[str, list[Shape]] = {key: [] for key in images}
    for item in document.get("annotations").items():
        with result.collect():
            owner, category = (item.get(key).text() for key in ("image_id", "category_id"))
            if owner not in images:
                raise item.fault(f"an image_id of the {len(images)} images")
            if category not in names:
                known = join_names([f"{key} {name}" for key, name in names.items()])
                raise item.fault(f"a category_id of the categories ({known})")
            shapes[owner].append(_shape(item, names[category]))
    for key, image in images.items():
        with result.collect():
            name = image.get("file_name").text()
            where = f"{image.where} ({name})"
            path = finder.find(name, where=image.where, folder=file.folder, split=split)
            size = image.size("width", "height")
            result.images.append(AnnotatedImage(path, where, tuple(shapes[key]), size, split))


def _by_id(items: list[Node]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for item in items:
        other = found.setdefault(item.get("id").text(), item)
        if other is not item:
            raise item.get("id").fault(f"another id than that of {other.where}")
    return found


def _shape(item: Node, class_name: str) -> Shape:
    is_ignored = item.is_true("iscrowd")
    segmentation, box = item.find("segmentation"), item.find("bbox")
    if segmentation is not None and isinstance(segmentation.value, Mapping):
        return Shape(class_name, rle=_run_lengths(segmentation), is_ignored=is_ignored)
    if segmentation is not None and segmentation.value:
        return Shape(class_name, _polygons(segmentation), is_ignored=is_ignored)
    if box is None or box.value == []:
        return Shape(class_name, is_ignored=is_ignored)
    numbers = box.numbers()
    if len(numbers) != 4 or min(numbers[2:]) < 0:
        raise box.fault("a box [x, y, width, height]")
    x, y, width, height = numbers
    return Shape.box(class_name, (x, y, x + width, y + height), is_ignored=is_ignored)


def _run_lengths(segmentation: Node) -> Mapping[str, object]:
    size = segmentation.get("size").numbers()
    if len(size) != 2 or min(size) < 1:
        raise segmentation.get("size").fault("the size [height, width] of the mask")
    counts = segmentation.get("counts")
    is_text = isinstance(counts.value, str)
    lengths = parse_counts(counts.value, counts.where) if is_text else counts.numbers()
    return from_counts(lengths, size, counts.where)


def _polygons(segmentation: Node) -> tuple[Polygon, ...]:
    items = segmentation.items()
    is_flat = not isinstance(items[0].value, list)
    polygons = [item.numbers() for item in ([segmentation] if is_flat else items)]
    if any(len(polygon) % 2 for polygon in polygons):
        raise segmentation.fault("polygons of x and y in turn")
    return tuple(polygon for polygon in polygons if polygon) or ((0.0, 0.0),)
