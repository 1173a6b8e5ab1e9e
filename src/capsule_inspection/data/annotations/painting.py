"""The shapes of an image to its mask, class by class, and to the label of the image.

Ignored areas are those of ignored shapes, of dropped classes, and of weak shapes that are not used
as masks. A mask that does not hold all defects of its image is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.data.annotations.raster import rasterise
from capsule_inspection.data.annotations.shapes import Shape
from capsule_inspection.types import IGNORE_INDEX


@dataclass(frozen=True)
class Palette:
    """What shapes become: `names` has the class of the data set, None for a dropped one.

    `values` has the value of each class in the masks; the good one has none.
    """

    names: Mapping[str, str | None]
    good_class: str
    values: Mapping[str, int]
    uses_weak: bool = False

    def class_of(self, shape: Shape) -> str | None:
        """The class of a shape, None where it is dropped."""
        return self.names.get(shape.class_name)


@dataclass(frozen=True)
class Painted:
    """`mask` (H, W) uint8 is None where it is not known or not needed.

    `areas` has the pixels of each class of defect, the largest first: those in the mask or, where
    it has none, those of the shapes. `has_empty` where a defect's shape has no area, `has_overlap`
    where those of two classes overlap, `is_weak` where weak shapes are in the mask.
    """

    mask: np.ndarray | None
    areas: Mapping[str, int]
    has_empty: bool = False
    has_overlap: bool = False
    is_weak: bool = False


def paint(shapes: Sequence[Shape], palette: Palette, height: int, width: int) -> Painted:
    """Draw the shapes of one image; `areas` is empty for a good one."""
    mask = np.zeros((height, width), np.uint8)
    has_layers = any(shape.layer != shapes[0].layer for shape in shapes)
    layers = np.zeros((height, width) if has_layers else (1, 1), np.int32)
    ignored = np.zeros((height, width), bool)
    areas: Counter[str] = Counter()
    located: set[str] = set()
    has_empty = has_overlap = is_weak = False
    for shape in sorted(shapes, key=lambda shape: shape.layer):
        name = palette.class_of(shape)
        area = rasterise(shape, height, width) if shape.has_place else None
        if name is None or name == palette.good_class:
            if area is not None and name is None:
                ignored |= area
            elif (
                area is not None and has_layers
            ):  # hides what lies deeper, where the format has layers
                mask[area & (layers < shape.layer)] = 0
            continue
        areas[name] += 0 if area is None else int(area.sum())
        if area is None:
            continue
        located.add(name)
        has_empty |= not area.any()
        if shape.is_ignored or (shape.is_weak and not palette.uses_weak):
            ignored |= area
            continue
        value = palette.values[name]
        has_overlap |= bool(((mask[area] != 0) & (mask[area] != value)).any())
        is_weak |= shape.is_weak
        mask[area] = value
        if has_layers:
            layers[area] = shape.layer
    pixels = np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1)
    visible = Counter({name: int(pixels[palette.values[name]]) for name in areas})
    is_known = visible.total() > 0 and located >= set(areas) if areas else bool(ignored.any())
    mask[ignored & (mask == 0)] = IGNORE_INDEX
    ranked = (visible if visible.total() else areas).most_common()
    return Painted(mask if is_known else None, dict(ranked), has_empty, has_overlap, is_weak)
