"""CVAT for images 1.1: annotations.xml with polygons, masks, ellipses, boxes, lines and tags.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat. Run lengths of masks go
row by row through a box (https://github.com/open-edge-platform/datumaro, its reader of CVAT).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from capsule_inspection.data.annotations.documents import Node, attribute, read_xml
from capsule_inspection.data.annotations.images import (
    AnnotationFile,
    ImageFinder,
    annotation_files,
    split_in_words,
    starts_with_tag,
)
from capsule_inspection.data.annotations.raster import (
    check_size,
    ellipse_polygon,
    encode_part,
    line_polygons,
    turned,
)
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations, Shape
from capsule_inspection.data.layouts.names import readable, split_of
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.types import DataError

SUFFIXES = (".xml",)
_EXPECTED = "an annotations.xml of CVAT for images 1.1, with <annotations>"
_POINTS = ("points", "skeleton", "cuboid")
_NO_PLACE = "Points, skeletons or cuboids, which mark no area"


def recognise(path: Path) -> str | None:
    """What shows that an XML file is of this format."""
    return "<annotations>" if starts_with_tag(path, "annotations") else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """The images of all files of a data set. Raises DataError where there is no file."""
    files = annotation_files(tree, settings.annotations, SUFFIXES, recognise, expected=_EXPECTED)
    source = files[0].name if len(files) == 1 else f"{len(files)} files"
    result = Annotations("CVAT", source, files={file.path for file in files})
    finder = ImageFinder(tree, result)
    for file in files:
        with result.collect():
            _read_file(file, finder, result)
    return result


def _read_file(file: AnnotationFile, finder: ImageFinder, result: Annotations) -> None:
    root = read_xml(file.path, file.name, root="annotations")
    if root.find("track") is not None:
        raise DataError(
            f"{file.name}: the file has <track>, as of CVAT for video. Export the task as 'CVAT "
            "for images 1.1'."
        )
    labels = {readable(label.text or "") for label in root.findall("meta//label/name")}
    for image in root.iter("image"):
        with result.collect():
            listed = attribute(image, "name", file.name).text()
            where, subset = f"{file.name}: {listed}", image.get("subset") or ""
            split = split_of(subset) or split_in_words(file.name.rpartition(".")[0])
            also = [f"{file.folder}/images/{subset}".lstrip("/")] if subset else []
            path = finder.find(listed, where=where, folder=file.folder, also=also, split=split)
            width, height = (attribute(image, side, where).whole() for side in ("width", "height"))
            shapes = [_shape(item, where, (width, height)) for item in image]
            _check_labels(shapes, labels, where)
            if any(item.tag in _POINTS for item in image):
                result.note(_NO_PLACE, where)
            result.images.append(AnnotatedImage(path, where, tuple(shapes), (width, height), split))


def _check_labels(shapes: list[Shape], labels: set[str], where: str) -> None:
    for shape in shapes if labels else ():
        if shape.class_name not in labels:
            raise DataError(
                f"{where}: the label {shape.class_name} is not among those of the task: "
                f"{join_names(sorted(labels))}."
            )


def _shape(item: Element, where: str, size: tuple[int, int]) -> Shape:
    class_name = readable(attribute(item, "label", where).text())
    layer = Node(item.get("z_order") or 0, f"{where}: z_order of <{item.tag}>").whole()
    if item.tag in ("tag", *_POINTS):
        return Shape(class_name, layer=layer)
    if item.tag == "mask":
        return Shape(class_name, rle=_mask(item, where, size), layer=layer)
    if item.tag == "polygon":
        outline = tuple(value for point in _points(item, where) for value in point)
        return Shape(class_name, (outline,), layer=layer)
    if item.tag == "polyline":
        outlines = line_polygons(_points(item, where))
        return Shape(class_name, outlines, is_weak=True, layer=layer)
    if item.tag not in ("ellipse", "box"):
        raise DataError(f"{where}: expected polygon, mask, ellipse, box, polyline, points or tag, "
                        f"found <{item.tag}>.")  # fmt: skip
    angle = Node(item.get("rotation") or 0, f"{where}: rotation of <{item.tag}>").number()
    if item.tag == "ellipse":
        x, y, *radii = _numbers(item, ("cx", "cy", "rx", "ry"), where)
        return Shape(class_name, ellipse_polygon((x, y), radii, angle_deg=angle), layer=layer)
    x0, y0, x1, y1 = _numbers(item, ("xtl", "ytl", "xbr", "ybr"), where)
    if x1 < x0 or y1 < y0:
        raise DataError(f"{where}: expected xtl <= xbr and ytl <= ybr in <box>, found the reverse.")
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    outline = tuple((turned(corners - centre, angle) + centre).ravel().tolist())
    return Shape(class_name, (outline,), is_weak=True, layer=layer)


def _mask(item: Element, where: str, size: tuple[int, int]) -> Mapping[str, object]:
    left, top, width, height = (
        attribute(item, name, where).whole() for name in ("left", "top", "width", "height")
    )
    rle = attribute(item, "rle", where)
    lengths = [Node(text, rle.where).whole() for text in rle.text().split(",")]
    if min(*lengths, width, height) < 0 or sum(lengths) != width * height:
        raise DataError(
            f"{where}: expected run lengths of {width * height} pixels in total for a <mask> of "
            f"{width}x{height}, found {sum(lengths)}. Export the file again."
        )
    check_size((width, height), where)
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
    return encode_part(pixels, (left, top), size, where)


def _points(item: Element, where: str) -> list[tuple[float, ...]]:
    points = attribute(item, "points", where)
    return Node([pair.split(",") for pair in points.text().split(";")], points.where).points()


def _numbers(item: Element, names: tuple[str, ...], where: str) -> list[float]:
    return [attribute(item, name, where).number() for name in names]
