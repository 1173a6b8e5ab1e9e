"""Label Studio: its JSON export, a list of tasks with annotations.

Source: https://labelstud.io/guide/export (JSON) and label_studio_sdk/converter/brush.py, whose run
lengths of brush strokes are decoded here. Coordinates are in percent of the image's size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.data.annotations.documents import Node, read_json
from capsule_inspection.data.annotations.images import (
    ImageFinder,
    annotation_files,
    folder_in,
    name_in,
    split_in,
    url_path,
)
from capsule_inspection.data.annotations.raster import ellipse_polygon, encode, turned
from capsule_inspection.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Polygon,
    Shape,
    flat,
)
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import DataError

SUFFIXES = (".json",)
_KEYS = (b'"annotations"', b'"result"', b'"data"')
_EXPECTED = "a JSON export of Label Studio (a list of tasks with data and annotations)"
_AREAS = ("polygonlabels", "ellipselabels", "brushlabels")
_LABELS = (*_AREAS, "rectanglelabels", "keypointlabels", "choices")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_NOT_READ = "Results of a type that is not read (relations, texts, numbers)"
_CHANNELS = 4
_PERCENT_UP_TO = 150
"""Shapes may reach beyond their image, but not that far."""


def recognise(path: Path) -> str | None:
    """What shows that a JSON file is of this format."""
    content = path.read_bytes()
    is_list = content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
    return "a list of tasks" if is_list and all(key in content for key in _KEYS) else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """The tasks of all exports of a data set. Raises DataError where there is none."""
    result = Annotations("Label Studio")
    candidates = annotation_files(tree, settings.annotations, SUFFIXES, expected=_EXPECTED)
    is_named = settings.annotations is not None and settings.annotations.is_file()
    paths = [path for path in candidates if is_named or recognise(path)]
    if not paths:
        raise DataError(
            f"{tree.root}: expected {_EXPECTED}, found {len(candidates)} other JSON files. Export "
            "as JSON, not as JSON-MIN."
        )
    finder = ImageFinder(tree, result.notes)
    for path in paths:
        with result.faults.collect():
            document = Node(read_json(path).value, name_in(tree, path))
            result.files.add(path)
            for task in document.items():
                with result.faults.collect():
                    result.images.append(_read_task(task, folder_in(tree, path), finder, result))
    return result


def _read_task(task: Node, folder: str, finder: ImageFinder, result: Annotations) -> AnnotatedImage:
    data = task.find("data")
    if data is None:
        raise DataError(
            f"{task.where}: expected a task with data and annotations, found none. Export as JSON, "
            "not as JSON-MIN."
        )
    listed = _image_of(data)
    path = url_path(listed)
    folders = (folder, f"{folder}/images".lstrip("/"), "images", "")
    found = finder.find(path, task.where, folders=folders)
    base = path.rpartition("/")[2]
    if found is None and _UPLOAD.match(base):
        found = finder.find(_UPLOAD.sub("", base), task.where, folders=folders)
    done = _annotation(task)
    place = found or base
    where = f"{task.where} ({base})"
    shapes = [] if done is None else _shapes(done, where, result)
    sizes = {size for _, size in shapes if size is not None}
    if len(sizes) > 1:
        raise DataError(f"{where}: expected one original size, found {sorted(sizes)}.")
    return AnnotatedImage(
        place, where, tuple(shape for shape, _ in shapes), next(iter(sizes), None),
        split_in(folder_of(place)), is_labelled=done is not None,
    )  # fmt: skip


def _image_of(data: Node) -> str:
    """The URL or path of a task's image, whatever its value is called."""
    named = data.find("image", "img", "url", "photo")
    if named is not None and isinstance(named.value, str):
        return named.text()
    texts = [value for value in data.value.values() if isinstance(value, str) and "/" in value]
    if len(texts) != 1:
        raise data.fault("a value named image with the path of the image")
    return texts[0]


def _annotation(task: Node) -> Node | None:
    """The annotation that counts, None where nobody has finished one."""
    found = task.find("annotations", "completions")
    done = [each for each in found.items() if not _is_set(each, "was_cancelled")] if found else []
    true = [each for each in done if _is_set(each, "ground_truth")]
    chosen = true or done
    if len(chosen) > 1:
        raise DataError(
            f"{task.where}: expected one annotation, found {len(chosen)}. Mark one as ground "
            "truth, or delete the others."
        )
    return chosen[0] if chosen else None


def _is_set(node: Node, key: str) -> bool:
    found = node.find(key)
    return found is not None and found.value is True


Sized = tuple[Shape, tuple[int, int] | None]


def _shapes(annotation: Node, where: str, result: Annotations) -> list[Sized]:
    shapes: list[Sized] = []
    for item in annotation.get("result").items():
        kind = item.find("type")
        if kind is None or kind.value not in _LABELS:
            if kind is not None and kind.value not in ("polygon", "rectangle", "ellipse", "brush"):
                result.notes.add(_NOT_READ, where)
            continue  # of a labelled area there is a second result with its label
        rotation = item.find("image_rotation")
        if rotation is not None and rotation.number():
            raise DataError(
                f"{item.where}: the image was turned by {rotation.number():g} degrees while it was "
                "labelled. Turn the image file, and label it again."
            )
        value = item.get("value")
        names = [readable(name.text()) for name in value.get(kind.value).items()]
        if len(names) != 1 and kind.value != "choices":
            raise value.get(kind.value).fault("one label")
        width, height = item.find("original_width"), item.find("original_height")
        size = (width.whole(least=1), height.whole(least=1)) if width and height else None
        shapes += [(_shape(name, kind.value, value, size), size) for name in names]
    return shapes


def _shape(class_name: str, kind: str, value: Node, size: tuple[int, int] | None) -> Shape:
    if kind in ("choices", "keypointlabels"):
        return Shape(class_name)
    if size is None:
        raise DataError(f"{value.where}: expected original_width and original_height, found none.")
    if kind == "brushlabels":
        return Shape(class_name, rle=_brush(value, size))
    scale = np.array(size) / 100
    if kind == "polygonlabels":
        points = np.array(value.get("points").points())
        return Shape(class_name, (flat((_percent(points, value) * scale).tolist()),))
    x, y = value.get("x").number(), value.get("y").number()
    turn = value.find("rotation")
    angle = turn.number() if turn else 0.0
    if kind == "ellipselabels":
        radii = (value.get("radiusX").number(), value.get("radiusY").number())
        _percent(np.array([(x, y), radii]), value)
        outline = ellipse_polygon(scale * (x, y), scale * radii, angle_deg=angle)
        return Shape(class_name, outline)
    width, height = value.get("width").number(), value.get("height").number()
    _percent(np.array([x, y, width, height]), value)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    # Label Studio turns a rectangle about its top left corner.
    placed = turned(corners * scale, angle) + scale * (x, y)
    return Shape(class_name, (_polygon(placed),), is_weak=True)


def _polygon(points: np.ndarray) -> Polygon:
    return tuple(points.ravel().tolist())


def _percent(points: np.ndarray, value: Node) -> np.ndarray:
    highest = float(np.abs(points).max(initial=0))
    is_fraction = 0 < highest <= 1 and bool((points != np.rint(points)).any())
    if highest > _PERCENT_UP_TO or is_fraction:
        raise DataError(
            f"{value.where}: expected coordinates in percent of the image's size, from 0 to 100, "
            f"found none above {highest:g}. Export as JSON from Label Studio itself."
        )
    return points


def _brush(value: Node, size: tuple[int, int]) -> Mapping[str, object]:
    """The strokes of a brush: run lengths of the four channels of an image, alpha is the mask."""
    if value.get("format").value != "rle":
        raise value.get("format").fault("rle")
    numbers = value.get("rle").numbers()
    width, height = size
    if any(number != int(number) or not 0 <= number < 256 for number in numbers):
        raise value.get("rle").fault("bytes from 0 to 255")
    values = decode_brush([int(number) for number in numbers], f"{value.where}.rle")
    if len(values) != width * height * _CHANNELS:
        raise DataError(
            f"{value.where}.rle: expected {width * height * _CHANNELS} values for an image of "
            f"{width}x{height}, found {len(values)}. Export the file again."
        )
    return encode(values.reshape(height, width, _CHANNELS)[:, :, 3])


def decode_brush(content: Sequence[int], where: str) -> np.ndarray:
    """The values of Label Studio's run lengths.

    32 bits are their number, 5 the bits of a value less 1, four times 4 the bits of a length less
    1. Then follow runs: 1 bit for equal values, 2 bits for which length, the length less 1, and one
    value or as many as the length.
    """
    bits = "".join(f"{byte:08b}" for byte in content)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise DataError(f"{where}: the run lengths end too early. Export the file again.")
        return int(bits[place - count : place], 2)

    number, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    if number > 4_000_000_000:
        raise DataError(f"{where}: expected run lengths, found {number} values.")
    pieces: list[np.ndarray] = []
    done = 0
    while done < number:
        is_run = take(1)
        length = 1 + take(sizes[take(2)])
        if is_run:
            pieces.append(np.full(length, take(word), np.uint32))
        else:
            pieces.append(np.array([take(word) for _ in range(length)], np.uint32))
        done += length
    return np.concatenate(pieces or [np.zeros(0, np.uint32)])[:number]
