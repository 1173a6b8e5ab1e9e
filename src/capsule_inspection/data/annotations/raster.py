"""Shapes to pixels, by pycocotools: a pixel belongs to a polygon where its centre does.

Source: https://github.com/cocodataset/cocoapi (frPyObjects, merge, decode). Run lengths are checked
here before, since pycocotools reads memory beyond its own for those that do not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from pycocotools import mask as coco_mask

from capsule_inspection.data.annotations.shapes import Polygon, Shape
from capsule_inspection.types import DataError

_LINE_WIDTH_PX = 10
"""As LabelMe draws lines."""
SUBPIXEL_DIGITS = 3
"""Of coordinates that were written as fractions: a hundredth of what a pixel depends on."""
_MAX_PIXELS = 2**29
"""Masks are expanded before their images are read: these sizes are the file's own claims."""
_CIRCLE_CORNERS = 72
_CLIPPED_FROM_PX = 1.5
_FRACTIONS_UP_TO = 1.5
"""Coordinates above are no fractions of the image's size."""


def rasterise(shape: Shape, height: int, width: int) -> np.ndarray:
    """Where a shape is: bool (height, width)."""
    if shape.rle is not None:
        return coco_mask.decode(shape.rle).astype(bool)
    scale = (width, height) if shape.is_relative else (1, 1)
    scaled = [_scaled(polygon, scale) for polygon in shape.polygons if len(polygon) >= 6]
    if not scaled:
        return np.zeros((height, width), bool)
    codes = coco_mask.frPyObjects(scaled, height, width)
    return coco_mask.decode(coco_mask.merge(codes)).astype(bool)


def check_place(shape: Shape, height: int, width: int, where: str) -> bool:
    """Whether a shape reaches beyond the image and is clipped.

    Raises DataError, naming `where`, for one outside of the image, and for coordinates in pixels
    that are taken for fractions or the reverse.
    """
    if shape.rle is not None:
        found = tuple(np.asarray(shape.rle["size"]).tolist())
        if found != (height, width):
            raise DataError(
                f"{where}: the mask is {found[1]}x{found[0]}, its image is {width}x{height} "
                "pixels. Export the annotations again from these images."
            )
        return False
    if not shape.polygons:
        return False
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in shape.polygons])
    _check_unit(points, where, height=height, width=width, is_relative=shape.is_relative)
    points = points * (width, height) if shape.is_relative else points
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array([width, height])
    if (high < 0).any() or (low > size).any() or (low < -size).any() or (high > 2 * size).any():
        raise DataError(
            f"{where}: the shape from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g}) lies "
            f"outside of its image of {width}x{height} pixels. Export the annotations again from "
            "these images."
        )
    return bool((low < -_CLIPPED_FROM_PX).any() or (high > size + _CLIPPED_FROM_PX).any())


def encode(mask: np.ndarray) -> Mapping[str, object]:
    """The `rle` of a mask: any (height, width), not 0 where the shape is."""
    return coco_mask.encode(np.asfortranarray(mask.astype(bool), dtype=np.uint8))


def encode_part(
    pixels: np.ndarray, corner: tuple[int, int], size: tuple[int, int], where: str
) -> Mapping[str, object]:
    """The `rle` of a mask that covers a part of an image, from its top left `corner` on.

    Raises DataError, naming `where`, for one that reaches out of the image of `size`.
    """
    (left, top), (height, width) = corner, pixels.shape
    check_size(size, where)
    if min(left, top) < 0 or left + width > size[0] or top + height > size[1]:
        raise DataError(
            f"{where}: the mask of {width}x{height} pixels at ({left}, {top}) reaches out of the "
            f"image of {size[0]}x{size[1]}. Export the file again."
        )
    whole = np.zeros((size[1], size[0]), bool)
    whole[top : top + height, left : left + width] = pixels
    return encode(whole)


def check_size(size: tuple[int, int], where: str) -> None:
    """Raise DataError, naming `where`, for a size (width, height) that no image has."""
    if min(size) < 1 or size[0] * size[1] > _MAX_PIXELS:
        raise DataError(
            f"{where}: expected the size of its image, found {size[0]}x{size[1]} pixels. Export "
            "the file again."
        )


def from_counts(counts: Sequence[float], size: Sequence[float], where: str) -> Mapping[str, object]:
    """The `rle` of run lengths of a mask of a size (height, width), column by column.

    Raises DataError, naming `where`, for lengths that do not fit the size.
    """
    lengths, (height, width) = [int(count) for count in counts], (int(side) for side in size)
    check_size((width, height), where)
    if min(lengths, default=0) < 0 or sum(lengths) != height * width or lengths != list(counts):
        raise DataError(
            f"{where}: expected run lengths of {height * width} pixels in total for a mask of "
            f"{width}x{height}, found {sum(lengths)}. Export the annotations again."
        )
    return coco_mask.frPyObjects({"counts": lengths, "size": [height, width]}, height, width)


def parse_counts(text: str, where: str) -> list[int]:
    """Run lengths from the text of COCO's compressed RLE (rleFrString of pycocotools)."""
    counts: list[int] = []
    value = bits = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or bits > 30:
            raise DataError(f"{where}: expected compressed run lengths, found {text[:40]!r}.")
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            if code & 16:
                value -= 1 << bits
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    if bits or not counts:
        raise DataError(f"{where}: expected compressed run lengths, found {text[:40]!r}.")
    return counts


def line_polygons(points: Sequence[Sequence[float]]) -> tuple[Polygon, ...]:
    """The outlines of a line's pieces and of the circles that join them."""
    radius = _LINE_WIDTH_PX / 2
    outlines = [polygon for x, y in points for polygon in ellipse_polygon((x, y), (radius, radius))]
    for (x0, y0), (x1, y1) in pairwise(points):
        length = np.hypot(x1 - x0, y1 - y0)
        if length > 0:
            dx, dy = radius * (y1 - y0) / length, radius * (x0 - x1) / length
            corners = (x0 + dx, y0 + dy, x1 + dx, y1 + dy, x1 - dx, y1 - dy, x0 - dx, y0 - dy)
            outlines.append(tuple(map(float, corners)))
    return tuple(outlines)


def ellipse_polygon(
    centre: Sequence[float] | np.ndarray,
    radii: Sequence[float] | np.ndarray,
    *,
    angle_deg: float = 0,
) -> tuple[Polygon, ...]:
    """The outline of an ellipse, turned clockwise about its centre."""
    angles = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
    points = np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1)
    return (tuple((turned(points, angle_deg) + centre).ravel().tolist()),)


def turned(points: np.ndarray, angle_deg: float) -> np.ndarray:
    """Points (K, 2) turned clockwise (y points down) about (0, 0)."""
    sine, cosine = np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def _scaled(polygon: Polygon, scale: tuple[int, int]) -> list[float]:
    if scale == (1, 1):
        return list(map(float, polygon))
    points = np.reshape(polygon, (-1, 2)) * scale
    return points.round(SUBPIXEL_DIGITS).ravel().tolist()  # 50.4999 is a written 50.5


def _check_unit(
    points: np.ndarray, where: str, *, height: int, width: int, is_relative: bool
) -> None:
    """Refuse fractions of the image's size instead of pixels, or pixels instead of fractions."""
    highest = float(np.abs(points).max())
    if is_relative and highest > _FRACTIONS_UP_TO:
        raise DataError(
            f"{where}: expected coordinates from 0 to 1, as fractions of the image's width and "
            f"height, found {highest:g}. Divide them by the image's size ({width}x{height})."
        )
    is_fraction = 0 < highest <= 1 and bool((points != np.rint(points)).any())
    if not is_relative and is_fraction and min(height, width) > 2:
        raise DataError(
            f"{where}: expected coordinates in pixels, found none above {highest:g}, which look "
            f"like fractions of the image's size. Multiply them by it ({width}x{height})."
        )
