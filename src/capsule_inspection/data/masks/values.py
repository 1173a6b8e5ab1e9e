"""Interprets the values of a decoded mask: defect or not, or a class index for each pixel.

Masks without a clear meaning are refused in refusals.py. Files are read in image_io.py; rules.py
has the settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from capsule_inspection.data.masks.refusals import (
    MaskValuesError,
    check_classes,
    check_colours,
    check_map,
    check_ring,
    check_values,
    distinct,
)
from capsule_inspection.data.masks.rules import Colour, MaskCode
from capsule_inspection.types import GOOD_LABEL, IGNORE_INDEX

SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
THIRTY_TWO_BIT = frozenset({"I", "F"})
_VALUES_KEPT = 32
_GREY = 0x010101
"""Of a level, the number of the grey in which all channels have it."""


class MaskPixels(NamedTuple):
    """Pixels of a mask, uint8 (H, W): class indices where `has_classes`, else 0 and 1.

    Ignored pixels are IGNORE_INDEX. `values` are those in the file above 0, as far as they are
    exact numbers; of many the first. `notes` are codes of what was unusual in decoding.
    """

    pixels: np.ndarray
    has_classes: bool
    values: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def with_label(self, label: int) -> np.ndarray:
        """Class index of each pixel; a mask without classes of its own has those of its image."""
        if self.has_classes:
            return self.pixels
        return np.where(self.pixels == 1, np.uint8(label), self.pixels)


def is_lossy(image: ImageFile) -> bool:
    """Whether saving may have changed values; of WebP files this is unknown."""
    return isinstance(image, JpegImageFile | WebPImageFile)


def interpret_mask(image: Image.Image, path: Path, code: MaskCode, *, lossy: bool) -> MaskPixels:
    """Pixels of a decoded mask; raises MaskValuesError where their meaning is not clear.

    With a map each value or colour has the class that the map gives it. Without one, several values
    that all are numbers of classes (as grey or as indices of a coloured palette) are the classes
    of their pixels. In any other mask the defect is where values are at least half of the largest
    one: this cuts soft edges and the noise of lossy files in the middle, and treats masks of 0 and
    1 like those of 0 and 255; in a binary mask it is where they are above 0. Of a colour the
    largest channel counts; transparent pixels are background. A `lossy` file has other values at
    every edge, so its values are no class indices.
    """
    levels, numbers = _read_values(image, path)
    if code.labels:
        return _by_map(levels, numbers, path, code, lossy=lossy)
    ignored = _ignored(levels, numbers, path, code, lossy=lossy)
    if code.rules.inverted:
        levels = _inverted(levels, ignored)
        numbers = levels if levels.ndim == 2 else None
    if ignored is not None:
        levels = np.where(ignored if levels.ndim == 2 else ignored[:, :, None], 0, levels)
        numbers = None if numbers is None else np.where(ignored, 0, numbers)
    mask = _interpret(levels, numbers, path, code, lossy=lossy)
    if ignored is not None:
        mask.pixels[ignored] = IGNORE_INDEX
    return mask


def _interpret(
    levels: np.ndarray, numbers: np.ndarray | None, path: Path, code: MaskCode, *, lossy: bool
) -> MaskPixels:
    """Pixels without a map, after ignored and inverted values are resolved."""
    is_grey, binary = levels.ndim == 2, code.rules.binary
    values = levels if is_grey else levels.max(axis=2)
    # A palette of greys is a picture of brightness, one of colours has numbers.
    exact = levels if is_grey else _numbers_of_palette(levels, numbers)
    listed = [] if exact is None else distinct(exact)
    found = [value for value in listed if value > 0]
    has_several = len(found) > 1 and not binary
    are_classes = set(found) <= set(code.numbers) and not code.rules.inverted
    has_classes = has_several and not lossy and are_classes
    if has_several and not lossy and not has_classes:
        check_ring(path, listed, code)
    if not is_grey and exact is not None and (has_classes or not has_several):
        values = exact
    elif not is_grey and not binary:
        check_colours(path, levels, code, lossy=lossy)
    if has_classes:
        check_classes(path, values, found)
        labels = [0, *(code.numbers[int(number)] for number in found)]
        pixels = _relabel(values, [0, *found], labels)
        return MaskPixels(pixels, has_classes=True, values=tuple(map(int, found)))
    if binary and not lossy:
        return MaskPixels((values > 0).astype(np.uint8), has_classes=False)
    check_values(path, values, code, lossy=lossy)
    highest = values.max()
    defect = values >= highest / 2 if highest > 0 else np.zeros(values.shape, bool)
    kept = [] if lossy else found[:_VALUES_KEPT]
    whole = tuple(int(value) for value in kept if value == int(value))
    return MaskPixels(defect.astype(np.uint8), has_classes=False, values=whole)


def _read_values(image: Image.Image, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Grey levels (H, W) or colours (H, W, 3), and the number of each pixel (H, W).

    The number is that of the palette or the level of grey; there is none in other colours.
    """
    if image.mode in SIXTEEN_BIT | THIRTY_TWO_BIT:
        levels = np.asarray(image)
        if not (levels >= 0).all():
            raise MaskValuesError(path, "has values below 0 or NaN; save it as PNG, from 0 on")
        return levels, levels
    if image.mode in ("1", "L") and not image.has_transparency_data:
        levels = np.asarray(image).astype(np.uint8)
        return levels, levels
    rgba = np.array(image.convert("RGBA"))
    visible = rgba[:, :, 3] >= max(rgba[:, :, 3].max() / 2, 1)
    levels = np.where(visible[:, :, None], rgba[:, :, :3], 0)
    if not levels.any() and (rgba != rgba[0, 0]).any():
        raise MaskValuesError(
            path,
            "is black or transparent everywhere, and has a shape in its alpha channel or beneath; "
            "save it without transparency, white on black",
        )
    if (levels == levels[:, :, :1]).all():
        levels = levels[:, :, 0]
    if image.mode == "P":
        return levels, np.where(visible, np.asarray(image), 0)
    return levels, levels if levels.ndim == 2 else None


def _numbers_of_palette(levels: np.ndarray, numbers: np.ndarray | None) -> np.ndarray | None:
    """The numbers of a palette, unless it is sorted by colour: black is not its number 0."""
    if numbers is None:
        return None
    black = ~levels.any(axis=2)
    is_sorted = (black & (numbers > 0)).any() and (~black & (numbers == 0)).any()
    return None if is_sorted else numbers


def _by_map(
    levels: np.ndarray, numbers: np.ndarray | None, path: Path, code: MaskCode, *, lossy: bool
) -> MaskPixels:
    """Pixels by a map; where it has colours, its numbers are levels of grey."""
    labels: dict[int | Colour, int] = {0: GOOD_LABEL, **code.labels}
    if code.rules.ignore is not None:
        labels[code.rules.ignore] = IGNORE_INDEX
    known = {value: label for value, label in labels.items() if isinstance(value, int)}
    of_colours = len(known) < len(labels)
    values = numbers
    if of_colours:
        values = levels.astype(np.int64)
        values = values * _GREY if levels.ndim == 2 else values @ np.array([1 << 16, 1 << 8, 1])
        known = {
            value * _GREY if isinstance(value, int) else int.from_bytes(bytes(value)): label
            for value, label in labels.items()
        }
    values = check_map(path, values, known, code, lossy=lossy, of_colours=of_colours)
    found = distinct(values)
    pixels = _relabel(values, found, [known[value] for value in found])  # type: ignore[index]
    return MaskPixels(pixels, has_classes=True)


def _ignored(
    levels: np.ndarray, numbers: np.ndarray | None, path: Path, code: MaskCode, *, lossy: bool
) -> np.ndarray | None:
    """Where pixels are ignored, None where none can be."""
    ignore = code.rules.ignore
    if ignore is None:
        return None
    ignored = (levels == ignore).all(axis=2) if numbers is None else numbers == ignore
    if lossy and ignored.any():
        raise MaskValuesError(
            path,
            "is stored with loss (JPEG or WebP), so that the pixels of data.mask_ignore="
            f"{ignore} are not certain; re-export it as PNG, or set data.mask_ignore=null",
        )
    return ignored


def _inverted(levels: np.ndarray, ignored: np.ndarray | None) -> np.ndarray:
    """Levels with 0 for the largest value and the largest one for 0."""
    counted = levels if ignored is None else levels[~ignored]
    highest = counted.max() if counted.size else 0
    # Where a pixel is ignored the difference may wrap around; it is overwritten later.
    return highest - levels if highest > 0 else np.ones_like(levels)


def _relabel(values: np.ndarray, found: Sequence[float], labels: Sequence[int]) -> np.ndarray:
    """The label of each value, uint8; `found` has all values in ascending order."""
    of_found = np.array(labels, np.uint8)
    if values.dtype != np.uint8:
        return of_found[np.searchsorted(np.array(found), values)]
    table = np.zeros(256, np.uint8)
    table[np.array(found, np.intp)] = of_found
    return table[values]
