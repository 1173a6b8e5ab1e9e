"""The shapes of an image to its mask, class by class, and to the label of the image.

Ignored areas are those of ignored shapes, of dropped classes, and of weak shapes that are not used
as masks. A mask that does not hold all defects of its image is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capsule_inspection.data.annotations.raster import rasterise
from capsule_inspection.data.annotations.shapes import AnnotatedImage, Shape
from capsule_inspection.data.layouts.classes import map_names
from capsule_inspection.data.layouts.names import (
    GOOD,
    check_class_names,
    find_good_class,
    fold,
    is_good_name,
)
from capsule_inspection.data.layouts.samples import LayoutSettings, join_names
from capsule_inspection.types import IGNORE_INDEX, DataError

_EMPTY = "Images with defects without an area, which no mask shows"
_OVERLAP = "Images with overlapping shapes of several classes, the later ones on top"
_WEAK = "Masks of boxes and lines, which reach beyond the defects (data.boxes_as_masks)"


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

    def defects_of(self, shapes: Sequence[Shape]) -> set[str]:
        """The classes of the shapes that are defects."""
        return {name for shape in shapes if (name := self.class_of(shape)) in self.values}  # type: ignore[misc]


def build_palette(
    root: Path, images: Collection[AnnotatedImage], settings: LayoutSettings
) -> Palette:
    """The classes of the data set, and their numbers in the masks.

    Raises DataError for names that are easily confused or not among the classes, and where the good
    class is not clear.
    """
    shapes = [shape for image in images for shape in image.shapes if shape.class_name]
    found = {shape.class_name for shape in shapes}
    names = map_names(found, settings.class_map, where=root)
    classes = {name for name in names.values() if name is not None}
    check_class_names(classes, root)
    drawn = {shape.class_name for shape in shapes if shape.has_place and not shape.is_weak}
    # Nobody draws the outlines of what is good: these classes are defects.
    are_defects = found <= drawn or any(not image.shapes for image in images)
    good_class = _good_class(classes, settings.good_class, root, are_defects=are_defects)
    defects = sorted(classes - {good_class})
    if all(name.isdecimal() for name in defects):
        defects.sort(key=int)
    if len(defects) >= IGNORE_INDEX:
        raise DataError(
            f"{root}: {len(defects)} classes of defects are more than the {IGNORE_INDEX - 1} that "
            "masks can hold. Join some with data.class_map."
        )
    values = {name: number for number, name in enumerate(defects, 1)}
    return Palette(names, good_class, values, settings.boxes_as_masks)


def _good_class(classes: set[str], wanted: str | None, root: Path, *, are_defects: bool) -> str:
    """The class of images without a defect, which may be none of the classes if `are_defects`."""
    has_usual = any(map(is_good_name, classes))
    is_other = wanted is None or fold(wanted) not in map(fold, classes)
    if are_defects and not has_usual and is_other:
        return wanted or GOOD
    if not has_usual and wanted is None:
        raise DataError(
            f"{root}: which images are good is not clear: all have annotations, of the classes "
            f"{join_names(sorted(classes))}. Set data.good_class to the one that means flawless, "
            "or add images of flawless parts, which need no annotations."
        )
    return find_good_class(classes, wanted, root)


@dataclass(frozen=True)
class DrawnMask:
    """`mask` (H, W) uint8 is None where it is not known or not needed.

    `areas` has the pixels of each class of defect, the largest first: those in the mask or, where
    it has none, those of the shapes. `notes` say what is unusual.
    """

    mask: np.ndarray | None
    areas: Mapping[str, int]
    notes: tuple[str, ...] = ()


def draw_mask(shapes: Sequence[Shape], palette: Palette, height: int, width: int) -> DrawnMask:
    """Draw the shapes of one image; `areas` is empty for a good one."""
    mask = np.zeros((height, width), np.uint8)
    ignored = np.zeros((height, width), bool)
    areas = Counter(dict.fromkeys(palette.defects_of(shapes), 0))
    has_layers = len({shape.layer for shape in shapes}) > 1
    located: set[str] = set()
    notes: set[str] = set()

    def order(shape: Shape) -> tuple[int, bool]:
        # Good areas hide what lies deeper, but not what is in their own layer.
        return shape.layer, palette.class_of(shape) != palette.good_class

    for shape in sorted((shape for shape in shapes if shape.has_place), key=order):
        name, area = palette.class_of(shape), rasterise(shape, height, width)
        if name == palette.good_class:
            mask[area] = 0
            continue
        if name is not None:
            areas[name] += int(np.count_nonzero(area))
            located.add(name)
            notes |= set() if area.any() else {_EMPTY}
        if name is None or shape.is_ignored or (shape.is_weak and not palette.uses_weak):
            ignored |= area
            continue
        value = palette.values[name]
        if not has_layers and ((mask[area] != 0) & (mask[area] != value)).any():
            notes.add(_OVERLAP)
        notes |= {_WEAK} if shape.is_weak else set()
        mask[area] = value
    visible = Counter({name: np.count_nonzero(mask == palette.values[name]) for name in areas})
    is_known = visible.total() > 0 and located >= set(areas) if areas else bool(ignored.any())
    mask[ignored & (mask == 0)] = IGNORE_INDEX
    ranked = (visible if visible.total() else areas).most_common()
    return DrawnMask(mask if is_known else None, dict(ranked), tuple(sorted(notes)))
