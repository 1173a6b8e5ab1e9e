"""LabelMe: a JSON file for each image, with shapes and flags.

Source: https://github.com/wkentaro/labelme (utils/shape.py). Polygons, circles and masks are areas;
rectangles and lines only contain the defect; points say that it is there. The flag that is true
is the class of the image.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from capsule_inspection.data.annotations.documents import Node, read_json
from capsule_inspection.data.annotations.images import (
    AnnotationFile,
    ImageFinder,
    annotation_files,
    has_keys,
    split_in,
)
from capsule_inspection.data.annotations.raster import ellipse_polygon, encode_part, line_polygons
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations, Shape
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import DataError

SUFFIXES = (".json",)
_EXPECTED = "LabelMe files (JSON with shapes and imagePath)"
_POINTS = "Points, which mark no area"
_COUNTS = {
    "polygon": (1, None),
    "rectangle": (2, 4),
    "oriented_rectangle": (4, 4),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (1, None),
    "point": (1, None),
    "points": (1, None),
    "mask": (2, 2),
}
"""Fewest and most points of a shape."""


def recognise(path: Path) -> str | None:
    """What shows that a JSON file is of this format."""
    return "shapes and imagePath" if has_keys(path, "shapes", "imagePath") else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """All LabelMe files, and the images without one. Raises DataError where there is no file."""
    files = annotation_files(tree, settings.annotations, SUFFIXES, recognise, expected=_EXPECTED)
    result = Annotations("LabelMe", files={file.path for file in files})
    finder = ImageFinder(tree, result)
    for file in files:
        with result.collect():
            result.images.append(_read_file(file, finder, result))
    used = {image.path for image in result.images}
    result.images += [
        AnnotatedImage(name, name, split=split_in(folder_of(name)))
        for name in tree.images
        if name not in used
    ]
    return result


def _read_file(file: AnnotationFile, finder: ImageFinder, result: Annotations) -> AnnotatedImage:
    document = read_json(file.path, file.name)
    listed = document.get("imagePath").text()
    path = finder.find(listed, where=file.name, folder=file.folder)
    size = document.size("imageWidth", "imageHeight")
    shapes = [_shape(item, size) for item in document.get("shapes").items()]
    if not all(shape.has_place for shape in shapes):
        result.note(_POINTS, file.name)
    flags = document.find("flags")
    if flags is not None and isinstance(flags.value, Mapping):
        shapes += [Shape(readable(name)) for name in flags.value if flags.is_true(name)]
    split = split_in(folder_of(path))
    return AnnotatedImage(path, file.name, tuple(shapes), size, split, is_labelled=True)


def _shape(item: Node, size: tuple[int, int] | None) -> Shape:
    class_name = readable(item.get("label").text())
    type_node = item.find("shape_type")
    kind = type_node.text() if type_node else "polygon"
    if type_node and kind not in _COUNTS:
        raise type_node.fault(f"one of {', '.join(_COUNTS)}")
    corners = item.get("points")
    points, (least, most) = corners.points(), _COUNTS[kind]
    if not least <= len(points) <= (most or len(points)):
        count = f"{least}" if most == least else f"{least} or more"
        raise DataError(
            f"{corners.where}: expected {count} points of a {kind}, found {len(points)}."
        )
    (x0, y0), (x1, y1) = points[0], points[-1]
    if kind == "mask":
        return Shape(class_name, rle=_bitmap(item.get("mask"), (x0, y0), size))
    if kind in ("point", "points"):
        return Shape(class_name)
    if kind in ("line", "linestrip"):
        return Shape(class_name, line_polygons(points), is_weak=True)
    if kind == "circle":
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return Shape(class_name, ellipse_polygon((x0, y0), (radius, radius)))
    if kind == "rectangle" and len(points) == 2:
        return Shape.box(class_name, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    outline = tuple(value for point in points for value in point)
    return Shape(class_name, (outline,), is_weak=kind != "polygon")


def _bitmap(
    node: Node, corner: tuple[float, float], size: tuple[int, int] | None
) -> Mapping[str, object]:
    """A mask in base64, whose first point is its top left pixel."""
    if size is None:
        raise DataError(f"{node.where}: a mask needs imageWidth and imageHeight, found none.")
    try:
        content = base64.b64decode(node.text(), validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            pixels = np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{node.where}: expected a PNG in base64, found none ({error}).") from None
    return encode_part(pixels, (int(corner[0]), int(corner[1])), size, node.where)
