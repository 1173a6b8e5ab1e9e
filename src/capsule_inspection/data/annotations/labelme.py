"""LabelMe: a JSON file for each image, with shapes and flags.

Source: https://github.com/wkentaro/labelme (utils/shape.py). Polygons, circles and masks are areas;
rectangles and lines only contain the defect; points say that it is there. The flag that is true
is the class of the image.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from capsule_inspection.data.annotations.documents import Node, read_json
from capsule_inspection.data.annotations.images import (
    ImageFinder,
    annotation_files,
    folder_in,
    name_in,
    split_in,
)
from capsule_inspection.data.annotations.raster import (
    LINE_WIDTH_PX,
    ellipse_polygon,
    encode,
    line_polygons,
)
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Shape,
    box_polygon,
    flat,
)
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import DataError

SUFFIXES = (".json",)
_KEYS = (b'"shapes"', b'"imagePath"')
_EXPECTED = "a folder of LabelMe files (JSON with shapes and imagePath)"
_POINTS = "Points, which mark no area"
_PNG = ("PNG",)


def recognise(path: Path) -> str | None:
    """What shows that a JSON file is of this format."""
    content = path.read_bytes()
    return "shapes and imagePath" if all(key in content for key in _KEYS) else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """All LabelMe files, and the images without one. Raises DataError where there is no file."""
    result = Annotations("LabelMe")
    candidates = annotation_files(tree, settings.annotations, SUFFIXES, expected=_EXPECTED)
    finder = ImageFinder(tree, result.notes)
    for path in candidates:
        with result.faults.collect():
            if settings.annotations is None and recognise(path) is None:
                continue
            result.files.add(path)
            result.images.append(_read_file(tree, path, finder, result))
    if not result.files:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found {len(candidates)} other JSON files. Set "
            "data.annotations to their folder, or data to their format (coco, label_studio)."
        )
    used = {image.path for image in result.images}
    result.images += [
        AnnotatedImage(name, name, split=split_in(folder_of(name)))
        for name in tree.images
        if name not in used
    ]
    return result


def _read_file(
    tree: FileTree, path: Path, finder: ImageFinder, result: Annotations
) -> AnnotatedImage:
    name = name_in(tree, path)
    document = Node(read_json(path).value, name)
    listed = document.get("imagePath").text()
    folder = folder_in(tree, path)
    found = finder.find(listed, name, folders=(folder, f"{folder}/images".lstrip("/")))
    width, height = document.find("imageWidth"), document.find("imageHeight")
    size = (width.whole(least=1), height.whole(least=1)) if width and height else None
    shapes = []
    for item in document.get("shapes").items():
        shape = _shape(item, size)
        if shape.polygons == () and shape.rle is None:
            result.notes.add(_POINTS, item.where)
        shapes.append(shape)
    shapes += _flags(document)
    wanted = listed.replace("\\", "/").rpartition("/")[2]
    place = found or f"{folder}/{wanted}".lstrip("/")
    split = split_in(folder_of(place))
    return AnnotatedImage(place, name, tuple(shapes), size, split, is_labelled=True)


def _flags(document: Node) -> list[Shape]:
    """The class of the image, as a shape without a place."""
    flags = document.find("flags")
    if flags is None or not isinstance(flags.value, Mapping):
        return []
    return [Shape(readable(str(name))) for name, is_set in flags.value.items() if is_set is True]


def _shape(item: Node, size: tuple[int, int] | None) -> Shape:
    class_name = readable(item.get("label").text())
    kind = item.find("shape_type")
    name = kind.text() if kind else "polygon"
    if name not in _READERS:
        raise item.get("shape_type").fault(f"one of {', '.join(_READERS)}")
    corners = item.get("points")
    points = corners.points()
    least, most, read_points = _READERS[name]
    if not least <= len(points) <= (most or len(points)):
        count = f"{least}" if most == least else f"{least} or more"
        raise DataError(
            f"{corners.where}: expected {count} points of a {name}, found {len(points)}."
        )
    if name == "mask":
        return Shape(class_name, rle=_bitmap(item, points, size))
    return read_points(class_name, points)


Points = list[tuple[float, ...]]


def _polygon(class_name: str, points: Points) -> Shape:
    return Shape(class_name, (flat(points),))


def _rectangle(class_name: str, points: Points) -> Shape:
    (x0, y0), (x1, y1) = points[0], points[-1]
    if len(points) == 4:
        (x1, y1) = points[2]
    low, high = (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))
    return Shape(class_name, box_polygon(*low, *high), is_weak=True)


def _rotated_box(class_name: str, points: Points) -> Shape:
    return Shape(class_name, (flat(points),), is_weak=True)


def _circle(class_name: str, points: Points) -> Shape:
    (x, y), (rim_x, rim_y) = points
    radius = float(np.hypot(rim_x - x, rim_y - y))
    return Shape(class_name, ellipse_polygon((x, y), (radius, radius)))


def _line(class_name: str, points: Points) -> Shape:
    return Shape(class_name, line_polygons(points, LINE_WIDTH_PX), is_weak=True)


def _point(class_name: str, points: Points) -> Shape:
    return Shape(class_name)


_READERS: Mapping[str, tuple[int, int | None, Callable[[str, Points], Shape]]] = {
    "polygon": (1, None, _polygon),
    "rectangle": (2, 4, _rectangle),
    "oriented_rectangle": (4, 4, _rotated_box),
    "circle": (2, 2, _circle),
    "line": (2, 2, _line),
    "linestrip": (1, None, _line),
    "point": (1, None, _point),
    "points": (1, None, _point),
    "mask": (2, 2, _polygon),
}
"""Fewest and most points of a shape, and what it becomes."""


def _bitmap(item: Node, points: Points, size: tuple[int, int] | None) -> Mapping[str, object]:
    """A mask in base64, whose first point is its top left pixel."""
    node = item.get("mask")
    if size is None:
        raise DataError(f"{item.where}: a mask needs imageWidth and imageHeight, found none.")
    try:
        content = base64.b64decode(node.text(), validate=True)
        with Image.open(io.BytesIO(content), formats=_PNG) as image:
            pixels = np.asarray(image.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{node.where}: expected a PNG in base64, found none ({error}).") from None
    left, top = (int(value) for value in points[0])
    height, width = pixels.shape
    if left < 0 or top < 0 or left + width > size[0] or top + height > size[1]:
        raise DataError(
            f"{node.where}: the mask of {width}x{height} pixels at ({left}, {top}) reaches out of "
            f"the image of {size[0]}x{size[1]}. Export the file again."
        )
    whole = np.zeros((size[1], size[0]), bool)
    whole[top : top + height, left : left + width] = pixels
    return encode(whole)
