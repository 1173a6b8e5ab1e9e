"""COCO: JSON files with `images`, `annotations` and `categories`; also Roboflow's and CVAT's.

Source: https://cocodataset.org/#format-data. Polygons of one annotation are joined; `iscrowd` ones
are ignored. The split is in the name of the file or of its folder (instances_train2017.json).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from capsule_inspection.data.annotations.documents import Node, read_json
from capsule_inspection.data.annotations.images import (
    ImageFinder,
    annotation_files,
    folder_in,
    name_in,
    split_in,
)
from capsule_inspection.data.annotations.raster import from_counts, parse_counts
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Polygon,
    Shape,
    box_polygon,
)
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.types import DataError

SUFFIXES = (".json",)
_LABELS, _SIZES = b'"annotations"', (b'"images"', b'"categories"')
_OTHER_KINDS = re.compile(r"^(captions|person_keypoints|panoptic|stuff)_", re.IGNORECASE)
_EXPECTED = "a COCO file (JSON with images, annotations and categories)"
_UNLABELLED = "COCO files without a list of annotations, which are not used"
_REPEATED = "Annotations with the id of another one"


def recognise(path: Path) -> str | None:
    """What shows that a JSON file is of this format."""
    content = path.read_bytes()
    if not all(key in content for key in _SIZES):
        return None
    return "images, annotations and categories" if _LABELS in content else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """All COCO files of a data set. Raises DataError where there is none."""
    result = Annotations("COCO")
    candidates = annotation_files(tree, settings.annotations, SUFFIXES, expected=_EXPECTED)
    paths = [path for path in candidates if all(key in path.read_bytes() for key in _SIZES)]
    if settings.annotations is not None and settings.annotations.is_file():
        paths = candidates  # a fault says what is missing in it
    if any(path.name.startswith("instances_") for path in paths):
        paths = [path for path in paths if not _OTHER_KINDS.match(path.name)]
    if not paths:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found {len(candidates)} other JSON files. Set "
            "data.annotations to the file, or data to its format (labelme, label_studio)."
        )
    finder = ImageFinder(tree, result.notes)
    for path in paths:
        with result.faults.collect():
            _File(tree, path, finder, result).read()
    used = len(result.files)
    result.source = name_in(tree, paths[0]) if used == 1 else f"{used} files"
    return result


class _File:
    """Reads one file into the annotations of its data set."""

    def __init__(
        self, tree: FileTree, path: Path, finder: ImageFinder, result: Annotations
    ) -> None:
        self.path, self.finder, self.result = path, finder, result
        self.name = name_in(tree, path)
        self.split = split_in(re.sub(r"\d+", " ", self.name.rpartition(".")[0]))
        self.folder = folder_in(tree, path)

    def read(self) -> None:
        document = Node(read_json(self.path).value, self.name)
        self.result.files.add(self.path)
        if document.find("annotations") is None:
            document.get("images")
            self.result.notes.add(_UNLABELLED, self.name)
            return
        names = self._categories(document.get("categories").items())
        images = self._images(document.get("images").items())
        shapes = self._annotations(document.get("annotations").items(), images, names)
        for key, image in images.items():
            with self.result.faults.collect():
                self._add(image, tuple(shapes.get(key, ())))

    def _categories(self, items: list[Node]) -> dict[object, str]:
        names: dict[object, str] = {}
        for item in items:
            key, name = _id(item.get("id")), readable(item.get("name").text())
            if names.setdefault(key, name) != name:
                raise DataError(
                    f"{item.where}: the id {key} is that of {names[key]} and of {name}. Give each "
                    "category its own."
                )
        return names

    def _images(self, items: list[Node]) -> dict[object, Node]:
        images: dict[object, Node] = {}
        for item in items:
            key = _id(item.get("id"))
            if key in images:
                raise DataError(
                    f"{item.where}: the image id {key} is that of {images[key].where} too. Give "
                    "each image its own id."
                )
            images[key] = item
        return images

    def _annotations(
        self, items: list[Node], images: Mapping[object, Node], names: Mapping[object, str]
    ) -> dict[object, list[Shape]]:
        shapes: dict[object, list[Shape]] = {}
        _refuse_keypoints(items)
        seen: Counter[object] = Counter()
        for item in items:
            with self.result.faults.collect():
                image, category = _id(item.get("image_id")), _id(item.get("category_id"))
                if image not in images:
                    raise item.fault(f"an image_id of the {len(images)} images")
                if category not in names:
                    known = join_names([f"{key} {name}" for key, name in names.items()])
                    raise DataError(
                        f"{item.where}: expected a category_id of the categories ({known}), found "
                        f"{category}."
                    )
                key = item.find("id")
                if key is not None and seen[_id(key)]:
                    self.result.notes.add(_REPEATED, item.where)
                seen[_id(key) if key else item.where] += 1
                shapes.setdefault(image, []).append(_shape(item, names[category]))
        return shapes

    def _add(self, image: Node, shapes: tuple[Shape, ...]) -> None:
        name = image.get("file_name").text()
        inside = f"{self.folder}/images" if self.folder else "images"
        folders = (self.folder, "", inside, "images")
        path = self.finder.find(name, image.where, folders=folders, split=self.split)
        width, height = image.find("width"), image.find("height")
        size = (width.whole(least=0), height.whole(least=0)) if width and height else (0, 0)
        wanted = name.replace("\\", "/").lstrip("/")
        where = f"{image.where} ({name})"
        known = size if all(size) else None  # some tools write 0
        added = AnnotatedImage(path or wanted, where, shapes, known, self.split)
        self.result.images.append(added)


def _shape(item: Node, class_name: str) -> Shape:
    crowd = item.find("iscrowd")
    is_ignored = crowd is not None and bool(crowd.number())
    segmentation = item.find("segmentation")
    if segmentation is not None and isinstance(segmentation.value, Mapping):
        rle = _run_lengths(segmentation)
        return Shape(class_name, rle=rle, is_ignored=is_ignored)
    if segmentation is not None and segmentation.value:
        return Shape(class_name, _polygons(segmentation), is_ignored=is_ignored)
    box = item.find("bbox")
    if box is None or box.value == []:
        return Shape(class_name, is_ignored=is_ignored)
    numbers = box.numbers()
    if len(numbers) != 4 or min(numbers[2:]) < 0:
        raise box.fault("a box [x, y, width, height]")
    x, y, width, height = numbers
    outline = box_polygon(x, y, x + width, y + height)
    return Shape(class_name, outline, is_weak=True, is_ignored=is_ignored)


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


def _refuse_keypoints(items: list[Node]) -> None:
    keys = [set(item.value) for item in items if isinstance(item.value, Mapping)]
    if keys and all("keypoints" in each and not each & {"segmentation", "bbox"} for each in keys):
        raise DataError(
            f"{items[0].where.partition(':')[0]}: the annotations have keypoints only, which mark "
            "no area. Export polygons, masks or boxes."
        )


def _id(node: Node) -> object:
    """An id, equal for 1 and "1"."""
    if isinstance(node.value, int | str) and not isinstance(node.value, bool):
        return str(node.value)
    return str(node.whole())
