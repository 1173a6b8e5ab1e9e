"""Label Studio: its JSON export, a list of tasks with annotations.

Source: https://labelstud.io/guide/export (JSON). Coordinates are in percent of the image's size.
Run lengths of brushes: label_studio_sdk/converter/brush.py, after
https://github.com/thi-ng/umbrella (rle-pack).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from capsule_inspection.data.annotations.documents import Node, read_json
from capsule_inspection.data.annotations.images import (
    AnnotationFile,
    ImageFinder,
    annotation_files,
    has_keys,
    split_in,
)
from capsule_inspection.data.annotations.raster import (
    SUBPIXEL_DIGITS,
    check_size,
    ellipse_polygon,
    encode,
    turned,
)
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Annotations, Shape
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import FileTree, folder_of
from capsule_inspection.types import DataError

SUFFIXES = (".json",)
_EXPECTED = "a JSON export of Label Studio (not JSON-MIN)"
_IMAGE_CLASSES = ("choices", "keypointlabels")
_AREAS = ("polygonlabels", "ellipselabels", "brushlabels", "rectanglelabels", "labels")
_WITHOUT_LABEL = ("polygon", "ellipse", "brush", "rectangle", "keypoint")
_LABELLED = (*_AREAS, *_IMAGE_CLASSES)
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_NOT_READ = "Results of a type that is not read (relations, texts, numbers)"
_CHANNELS = 4
_PERCENT_UP_TO = 150
"""Shapes may reach beyond their image, but not that far."""


def recognise(path: Path) -> str | None:
    """What shows that a JSON file is of this format."""
    is_list = path.read_bytes()[:100].lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
    keys = ("annotations", "result", "data")
    return "a list of tasks" if is_list and has_keys(path, *keys) else None


def read(tree: FileTree, settings: LayoutSettings) -> Annotations:
    """The tasks of all exports of a data set. Raises DataError where there is none."""
    files = annotation_files(tree, settings.annotations, SUFFIXES, recognise, expected=_EXPECTED)
    result = Annotations("Label Studio", files={file.path for file in files})
    finder = ImageFinder(tree, result)
    for file in files:
        with result.collect():
            for task in read_json(file.path, file.name).items():
                with result.collect():
                    result.images.append(_read_task(task, file, finder, result))
    return result


def _read_task(
    task: Node, file: AnnotationFile, finder: ImageFinder, result: Annotations
) -> AnnotatedImage:
    if task.find("data") is None:
        raise task.fault("a task with data and annotations (export as JSON, not as JSON-MIN)")
    listed = image_path(task.get("data"))
    base = listed.rpartition("/")[2]
    where = f"{task.where} ({base})"
    # Uploaded files have a prefix, if they were not exported with their images.
    names = [listed, _UPLOAD.sub("", base)] if _UPLOAD.match(base) else [listed]
    path = finder.find(*names, where=where, folder=file.folder)
    done = _annotation(task)
    items = done.get("result").items() if done else []
    sizes = {size for item in items if (size := item.size("original_width", "original_height"))}
    if len(sizes) > 1:
        raise DataError(f"{where}: expected one original size, found {sorted(sizes)}.")
    size = next(iter(sizes), None)
    labelled = {str(item.value.get("id")) for item in items if item.get("type").text() in _LABELLED}
    shapes = []
    for item in items:
        if (kind := item.get("type").text()) in _LABELLED:
            shapes += _shapes(item, kind, size)
        elif kind.endswith("labels"):
            raise item.get("type").fault(f"one of {', '.join(_LABELLED)}")
        elif kind not in _WITHOUT_LABEL:
            result.note(_NOT_READ, where)
        elif (
            str(item.value.get("id")) not in labelled
        ):  # else it is there once more, with its label
            raise item.fault("an area with a label")
    split = split_in(folder_of(path))
    return AnnotatedImage(path, where, tuple(shapes), size, split, is_labelled=done is not None)


def image_path(data: Node) -> str:
    """The path in the URL of a task's image, whatever its value is called."""
    named = data.find("image")
    texts = [value for value in data.value.values() if isinstance(value, str) and "/" in value]
    if named is None and len(texts) != 1:
        raise data.fault("a value named image with the path of the image")
    url = named.text() if named else texts[0]
    if "?d=" in url:  # local files
        return unquote(url.partition("?d=")[2])
    return unquote(re.sub(r"^[a-zA-Z][\w+.-]+://[^/]*/", "", url).partition("?")[0])


def _annotation(task: Node) -> Node | None:
    """The annotation that counts, None where nobody has finished one."""
    found = task.find("annotations")
    done = [each for each in found.items() if not each.is_true("was_cancelled")] if found else []
    chosen = [each for each in done if each.is_true("ground_truth")] or done
    if len(chosen) > 1:
        raise DataError(
            f"{task.where}: expected one annotation, found {len(chosen)}. Mark one as ground "
            "truth, or delete the others."
        )
    return chosen[0] if chosen else None


def _shapes(item: Node, kind: str, size: tuple[int, int] | None) -> list[Shape]:
    """The shape of a result, or several classes of the image."""
    if item.is_true("image_rotation"):
        raise DataError(
            f"{item.where}: the image was turned while it was labelled. Turn the image file, and "
            "label it again."
        )
    value = item.get("value")
    labels = value.get(kind)
    names = [readable(name.text()) for name in labels.items()]
    if kind in _IMAGE_CLASSES:
        return [Shape(name) for name in names]
    if len(names) != 1:
        raise labels.fault("one label")
    if size is None:
        raise DataError(f"{item.where}: expected original_width and original_height, found none.")
    return [_area(names[0], value, size)]


def _area(class_name: str, value: Node, size: tuple[int, int]) -> Shape:
    if value.find("rle"):
        return Shape(class_name, rle=_brush(value, size))
    scale = np.array(size) / 100
    if points := value.find("points"):
        return Shape(class_name, (_flat(_percent(value, *points.points()) * scale),))
    turn = value.find("rotation")
    angle = turn.number() if turn else 0.0
    is_ellipse = value.find("radiusX") is not None
    keys = ("radiusX", "radiusY") if is_ellipse else ("width", "height")
    place, extent = ([value.get(key).number() for key in pair] for pair in (("x", "y"), keys))
    (x, y), (width, height) = _percent(value, place, extent) * scale
    if is_ellipse:
        return Shape(class_name, ellipse_polygon((x, y), (width, height), angle_deg=angle))
    # Label Studio turns a rectangle about its top left corner.
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
    return Shape(class_name, (_flat(turned(corners, angle) + np.array([x, y])),), is_weak=True)


def _flat(points: np.ndarray) -> tuple[float, ...]:
    return tuple(points.round(SUBPIXEL_DIGITS).ravel().tolist())


def _percent(value: Node, *pairs: Sequence[float]) -> np.ndarray:
    points = np.array(pairs)
    highest = float(np.abs(points).max(initial=0))
    is_fraction = 0 < highest <= 1 and bool((points != np.rint(points)).any())
    if highest > _PERCENT_UP_TO or is_fraction:
        raise DataError(
            f"{value.where}: expected coordinates in percent of the image's size, from 0 to 100, "
            f"found {'none above ' if is_fraction else ''}{highest:g}. Export as JSON from Label "
            "Studio itself."
        )
    return points


def _brush(value: Node, size: tuple[int, int]) -> Mapping[str, object]:
    """The strokes of a brush: run lengths of the four channels of an image, alpha is the mask."""
    rle, (width, height) = value.get("rle"), size
    numbers = rle.numbers()
    if value.get("format").value != "rle" or not all(each in range(256) for each in numbers):
        raise rle.fault("run lengths as bytes from 0 to 255, of the format rle")
    check_size(size, rle.where)
    values = _decode(bytes(map(int, numbers)), size, rle.where)
    return encode(values.reshape(height, width, _CHANNELS)[:, :, 3])


def _decode(content: bytes, size: tuple[int, int], where: str) -> np.ndarray:
    """The values of run lengths, for each channel of an image of a size (width, height).

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
    if number != size[0] * size[1] * _CHANNELS:
        raise DataError(
            f"{where}: expected {size[0] * size[1] * _CHANNELS} values for an image of "
            f"{size[0]}x{size[1]}, found {number}. Export the file again."
        )
    sizes = [take(4) + 1 for _ in range(4)]
    pieces, done = [np.zeros(0, np.uint32)], 0
    while done < number:
        is_run = take(1)
        length = 1 + take(sizes[take(2)])
        values = [take(word)] * length if is_run else [take(word) for _ in range(length)]
        pieces.append(np.array(values, np.uint32))
        done += length
    return np.concatenate(pieces)[:number]
