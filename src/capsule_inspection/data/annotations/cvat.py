"""CVAT for images 1.1: annotations.xml with polygons, masks, ellipses, boxes, lines and tags.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat. Run lengths of masks go
row by row through a box (https://github.com/open-edge-platform/datumaro, its reader of CVAT).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from capsule_inspection.data.annotations.documents import attribute, read_xml, to_number
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
    turned,
)
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Polygon,
    Shape,
    box_polygon,
    flat,
)
from capsule_inspection.data.layouts.names import readable, split_of
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.types import DataError

SUFFIXES = (".xml",)
_EXPECTED = "an annotations.xml of CVAT for images, with <annotations>"
_POINTS = ("points", "skeleton", "cuboid")
_NO_PLACE = "Points, skeletons or cuboids, which mark no area"


def recognise(path: Path) -> str | None:
    """What shows that an XML file is of this format."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    return "<annotations>" if re.search(rb"<annotations[\s>]", start) else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """The images of all files of a data set. Raises DataError where there is no file."""
    result = Annotations("CVAT")
    candidates = annotation_files(tree, settings.annotations, SUFFIXES, expected=_EXPECTED)
    is_named = settings.annotations is not None and settings.annotations.is_file()
    paths = [path for path in candidates if is_named or recognise(path)]
    if not paths:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found {len(candidates)} other XML files. Export "
            "the task as 'CVAT for images 1.1'."
        )
    finder = ImageFinder(tree, result.notes)
    for path in paths:
        with result.faults.collect():
            _read_file(tree, path, finder, result)
    result.source = f"{len(paths)} files" if len(paths) > 1 else name_in(tree, paths[0])
    return result


def _read_file(tree: FileTree, path: Path, finder: ImageFinder, result: Annotations) -> None:
    root, name = read_xml(path, root="annotations"), name_in(tree, path)
    result.files.add(path)
    if root.find("track") is not None:
        raise DataError(
            f"{name}: the file has <track>, as of CVAT for video. Export the task as 'CVAT for "
            "images 1.1'."
        )
    labels = {readable(label.text or "") for label in root.findall("meta//label/name")}
    folder, own_split = folder_in(tree, path), split_in(name.rpartition(".")[0])
    for image in root.iter("image"):
        with result.faults.collect():
            result.images.append(
                _read_image(image, name, folder, own_split, labels, finder, result)
            )


def _read_image(
    image: Element,
    file: str,
    folder: str,
    own_split: str,
    labels: set[str],
    finder: ImageFinder,
    result: Annotations,
) -> AnnotatedImage:
    listed = attribute(image, "name", file)
    where = f"{file}: {listed}"
    subset = image.get("subset") or ""
    split = split_of(subset) or own_split
    inside = [f"{base}/{part}".strip("/") for base in (folder, "")
              for part in (f"images/{subset}", "images", subset, "")]  # fmt: skip
    found = finder.find(listed, where, folders=inside, split=split)
    width, height = (_whole(image, side, where) for side in ("width", "height"))
    shapes = []
    for item in image:
        shape = _shape(item, where, (width, height))
        if labels and shape.class_name not in labels:
            raise DataError(
                f"{where}: the label {shape.class_name} of <{item.tag}> is not among those of the "
                f"task: {join_names(sorted(labels))}."
            )
        if item.tag in _POINTS:
            result.notes.add(_NO_PLACE, where)
        shapes.append(shape)
    wanted = listed.replace("\\", "/").lstrip("/")
    return AnnotatedImage(found or wanted, where, tuple(shapes), (width, height), split)


def _shape(item: Element, where: str, size: tuple[int, int]) -> Shape:
    class_name = readable(attribute(item, "label", where))
    layer = _whole(item, "z_order", where) if item.get("z_order") else 0
    if item.tag in ("tag", *_POINTS):
        return Shape(class_name, layer=layer)
    if item.tag == "mask":
        return Shape(class_name, rle=_mask(item, where, size), layer=layer)
    if item.tag == "polygon":
        return Shape(class_name, (flat(_points(item, where)),), layer=layer)
    if item.tag == "polyline":
        outline = line_polygons(_points(item, where), LINE_WIDTH_PX)
        return Shape(class_name, outline, is_weak=True, layer=layer)
    if item.tag == "ellipse":
        centre, radii = _pair(item, ("cx", "cy"), where), _pair(item, ("rx", "ry"), where)
        outline = ellipse_polygon(centre, radii, angle_deg=_rotation(item, where))
        return Shape(class_name, outline, layer=layer)
    if item.tag == "box":
        return Shape(class_name, _box(item, where), is_weak=True, layer=layer)
    raise DataError(f"{where}: expected polygon, mask, ellipse, box, polyline, points or tag, "
                    f"found <{item.tag}>.")  # fmt: skip


def _box(item: Element, where: str) -> tuple[Polygon, ...]:
    (x0, y0), (x1, y1) = _pair(item, ("xtl", "ytl"), where), _pair(item, ("xbr", "ybr"), where)
    if x1 < x0 or y1 < y0:
        raise DataError(f"{where}: expected xtl <= xbr and ytl <= ybr in <box>, found the reverse.")
    angle = _rotation(item, where)
    if not angle:
        return box_polygon(x0, y0, x1, y1)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - centre
    return (tuple((turned(corners, angle) + centre).ravel().tolist()),)


def _mask(item: Element, where: str, size: tuple[int, int]) -> Mapping[str, object]:
    left, top, width, height = (
        _whole(item, name, where) for name in ("left", "top", "width", "height")
    )
    counts = [to_number(text, where) for text in attribute(item, "rle", where).split(",")]
    lengths = np.array(counts, dtype=np.int64)
    if (lengths < 0).any() or (lengths != counts).any() or lengths.sum() != width * height:
        raise DataError(
            f"{where}: expected run lengths of {width * height} pixels in total for a <mask> of "
            f"{width}x{height}, found {lengths.sum()}. Export the file again."
        )
    if min(left, top, width, height) < 0 or left + width > size[0] or top + height > size[1]:
        raise DataError(
            f"{where}: the <mask> of {width}x{height} pixels at ({left}, {top}) reaches out of the "
            f"image of {size[0]}x{size[1]}. Export the file again."
        )
    pixels = np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(height, width)
    whole = np.zeros((size[1], size[0]), bool)
    whole[top : top + height, left : left + width] = pixels
    return encode(whole)


def _points(item: Element, where: str) -> list[tuple[float, ...]]:
    points = [
        tuple(to_number(value, where) for value in pair.split(","))
        for pair in attribute(item, "points", where).split(";")
    ]
    if any(len(point) != 2 for point in points):
        raise DataError(f"{where}: expected points='x,y;x,y;...' of <{item.tag}>.")
    return points


def _pair(item: Element, names: tuple[str, str], where: str) -> tuple[float, float]:
    x, y = (to_number(attribute(item, name, where), where) for name in names)
    return x, y


def _rotation(item: Element, where: str) -> float:
    return to_number(item.get("rotation") or 0, where)


def _whole(item: Element, name: str, where: str) -> int:
    number = to_number(attribute(item, name, where), f"{where}: {name} of <{item.tag}>")
    if number != int(number):
        raise DataError(f"{where}: expected a whole {name} of <{item.tag}>, found {number:g}.")
    return int(number)
