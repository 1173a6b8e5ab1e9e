"""Masks of Pascal VOC and alike: the class of each colour, and the areas of the classes.

labelmap.txt is that of CVAT (`class:red,green,blue:parts:actions`), class_names.txt that of
LabelMe's labelme2voc.py (one class a line, by number). 255 and its colour are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from capsule_inspection.data.annotations.documents import Node, read_lines
from capsule_inspection.data.annotations.raster import encode
from capsule_inspection.data.annotations.shapes import Annotations, Shape
from capsule_inspection.data.layouts.names import readable
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.data.layouts.tree import FileTree
from capsule_inspection.data.masks.rules import BACKGROUND, Colour, show_value
from capsule_inspection.types import DataError

_LISTS = ("labelmap.txt", "class_names.txt")
_BACKGROUND = frozenset({BACKGROUND, "_background_"})
_IGNORED = frozenset({"__ignore__", "void", "ignore", "ignored"})
_IGNORED_COLOUR = (224, 224, 192)
_NUMBERED = ("P", "L", "1", "I", "I;16")
_DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

Names = Mapping[int | Colour, str | None]


def class_names(tree: FileTree, settings: LayoutSettings, result: Annotations) -> Names:
    """The class of each colour, or of each number of the palette, None for an ignored one.

    Raises DataError where there is no list.
    """
    if settings.mask_rules.classes:
        return settings.mask_rules.classes
    maps = [name for name in tree.files if name.rpartition("/")[2].lower() in _LISTS]
    if len(maps) > 1:
        raise DataError(
            f"{tree.root}: expected one list of classes, found {join_names(maps)}. Leave the "
            "others out with data.exclude."
        )
    if maps:
        result.files.add(tree.root / maps[0])
        return _read_map(tree.root / maps[0], maps[0])
    raise DataError(
        f"{tree.root}: the masks in SegmentationClass need a list of the classes of their colours, "
        "found none. Add labelmap.txt with a line 'crack:128,0,0::' for each class, or give the "
        "numbers of the palette or the colours with 'data.mask_values={1: crack, 2: poke}'."
    )


def _read_map(path: Path, name: str) -> Names:
    """The classes of `class:red,green,blue:parts:actions` lines, or of one name a line."""
    names: dict[int | Colour, str | None] = {}
    lines = [line for line in read_lines(path) if not line.startswith("#")]
    if path.name.lower() == "class_names.txt":
        numbered = [line for line in lines if line not in _IGNORED]
        return {number: readable(line) for number, line in enumerate(numbered)}
    for line in lines:
        class_name, _, rest = line.partition(":")
        values = Node(rest.partition(":")[0].split(","), name).numbers()
        if len(values) != 3:
            raise DataError(f"{name}: expected 'class:red,green,blue::', found '{line}'.")
        key = (int(values[0]), int(values[1]), int(values[2]))
        if key in names:
            raise DataError(f"{name}: {show_value(key)} is the colour of two classes.")
        names[key] = None if class_name.lower() in _IGNORED else readable(class_name)
    return names


def read_mask(
    path: Path, name: str, names: Names, ignore: int | None
) -> tuple[tuple[Shape, ...], tuple[int, int]]:
    """The areas of a mask's colours, and its width and height."""
    try:
        with Image.open(path) as image:
            size, is_coloured = image.size, image.mode not in _NUMBERED
            palette = image.getpalette("RGB") if image.mode == "P" else None
            pixels = np.asarray(image.convert("RGB") if is_coloured else image).astype(np.int32)
    except _DAMAGED as error:
        raise DataError(f"{name}: the mask cannot be read ({error}).") from None
    if is_coloured:
        pixels = pixels @ np.array([1 << 16, 1 << 8, 1])
    values, inverse = np.unique(pixels, return_inverse=True)
    shapes = []
    for place, value in enumerate(values.tolist()):
        if is_coloured:
            colour = (value >> 16, value >> 8 & 255, value & 255)
            keys: list[int | Colour] = [colour]
        else:
            keys = [value, *([_colour(palette, value)] if palette else [])]
        class_name = _look_up(keys, names, ignore)
        if class_name == "":
            raise DataError(
                f"{name}: {'the colour' if is_coloured else 'the value'} {show_value(keys[0])} is "
                f"of none of the classes: {join_names(_described(names))}. Add it to the list of "
                "classes, or set data.mask_values."
            )
        if class_name is None or class_name.lower() not in _BACKGROUND:
            area = encode((inverse == place).reshape(pixels.shape))
            shapes.append(Shape(class_name or "", rle=area, is_ignored=class_name is None))
    return tuple(shapes), size


def _look_up(keys: list[int | Colour], names: Names, ignore: int | None) -> str | None:
    """The class of the first key that has one, None for ignored pixels, "" for an unknown key."""
    for key in keys:
        if key in names:
            return names[key]
    if set(keys) & {ignore, 255, _IGNORED_COLOUR}:
        return None
    return BACKGROUND if set(keys) & {0, (0, 0, 0)} else ""


def _described(names: Names) -> list[str]:
    return [f"{show_value(key)} {name or 'ignored'}" for key, name in names.items()]


def _colour(palette: list[int], number: int) -> Colour:
    red, green, blue = (palette + [0, 0, 0] * 256)[3 * number : 3 * number + 3]
    return red, green, blue
