"""Interprets the values of a decoded mask: defect or not, or a class index for each pixel.

An ambiguous mask is refused. Files are read in image_io.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.WebPImagePlugin import WebPImageFile

from capsule_inspection.data.bad_file import BadFileError

SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
THIRTY_TWO_BIT = frozenset({"I", "F"})
# Areas between these fractions of the largest value of a mask are neither background nor edge:
# JPEG of quality 5 to 100, WebP, resizing and a blur of 5 px left no 3x3 block of one value
# between 5% and 95% on 87 real masks.
_BETWEEN = (0.1, 0.9)
_BRIGHTNESS_FROM = 32
"""Whole numbers that are all smaller are indices, not levels of brightness."""
_VALUES_SHOWN = 5
_REMEDY = "re-export it as PNG with two values (0 and another), or with the numbers of the classes"


class MaskValuesError(BadFileError):
    """A mask whose values have no clear meaning."""


class MaskPixels(NamedTuple):
    """Pixels of a mask, uint8 (H, W): class indices where `has_classes`, else 0 and 1.

    `is_ambiguous` where the file has several values above 0, which may be class indices.
    """

    pixels: np.ndarray
    has_classes: bool
    is_ambiguous: bool

    def with_label(self, label: int) -> np.ndarray:
        """Class index of each pixel; a mask without classes of its own has those of its image."""
        return self.pixels if self.has_classes else self.pixels * np.uint8(label)


def is_lossy(image: ImageFile) -> bool:
    """Whether saving may have changed values; of WebP files this is unknown."""
    return isinstance(image, JpegImageFile | WebPImageFile)


def interpret_mask(image: Image.Image, path: Path, num_classes: int, *, lossy: bool) -> MaskPixels:
    """Pixels of a decoded mask; raises MaskValuesError where their meaning is not clear.

    Several values that all are class indices (1 to `num_classes` - 1, as grey or as indices of a
    coloured palette) are the classes of their pixels. In any other mask the defect is where values
    are at least half of the largest one: this cuts soft edges and the noise of lossy files in the
    middle, and treats masks of 0 and 1 like those of 0 and 255. Of colours the largest channel
    counts; transparent pixels are background. A `lossy` file has other values at every edge, so its
    values are no class indices.
    """
    levels = _levels(image)
    indices = _class_indices(image, levels)
    is_ambiguous = indices is not None and _has_several(indices)
    if indices is not None and is_ambiguous and not lossy and _all_below(indices, num_classes):
        _check_palette(path, levels, indices)
        return MaskPixels(indices.astype(np.uint8), has_classes=True, is_ambiguous=True)
    values = levels if levels.ndim == 2 else levels.max(axis=2)
    _check_values(path, values)
    highest = values.max()
    defect = values >= highest / 2 if highest > 0 else np.zeros(values.shape, bool)
    return MaskPixels(defect.astype(np.uint8), has_classes=False, is_ambiguous=is_ambiguous)


def _levels(image: Image.Image) -> np.ndarray:
    """A mask's grey levels (H, W) or colours (H, W, 3), in the file's own range of values."""
    if image.mode in SIXTEEN_BIT or image.mode in THIRTY_TWO_BIT:
        return np.asarray(image)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image).astype(np.uint8)
    colours = np.asarray(image.convert("RGB"))
    is_grey = bool((colours == colours[:, :, :1]).all())
    return colours[:, :, 0] if is_grey else colours


def _class_indices(image: Image.Image, levels: np.ndarray) -> np.ndarray | None:
    """Possible class indices (H, W): grey levels, or the indices of a coloured palette."""
    if levels.ndim == 2:
        return levels
    if image.mode != "P":
        return None
    alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    return np.where(alpha > 0, np.asarray(image), 0)


def _has_several(values: np.ndarray) -> bool:
    """Whether there are two different values above 0."""
    above = values[values > 0]
    return above.size > 0 and bool((above != above[0]).any())


def _all_below(values: np.ndarray, end: int) -> bool:
    """Whether all values are whole numbers from 0 to `end` - 1, and fit a uint8."""
    in_range = bool(values.min() >= 0 and values.max() < min(end, 256))
    return in_range and bool((values == np.rint(values)).all())


def _check_palette(path: Path, levels: np.ndarray, indices: np.ndarray) -> None:
    """Refuse a sorted palette, in which black has another number than 0."""
    if levels.ndim == 2:
        return
    black = ~levels.any(axis=2)
    if (black & (indices > 0)).any() and (~black & (indices == 0)).any():
        raise MaskValuesError(
            path,
            f"has a palette with black as number {indices[black].max()} and a colour as number 0, "
            f"so that the background is not known; {_REMEDY}",
        )


def _check_values(path: Path, values: np.ndarray) -> None:
    """Refuse values that cannot be cut at half without losing some of them."""
    lowest, highest = values.min(), values.max()
    only_two = bool(((values == lowest) | (values == highest)).all())
    if highest <= 0 or (only_two and lowest < highest / 2):
        return
    if _has_several(values) and _all_below(values, _BRIGHTNESS_FROM):
        raise MaskValuesError(path, f"has the values {_named(np.unique(values))}; {_REMEDY}")
    flat = _flat(values)
    between = flat[(flat >= _BETWEEN[0] * highest) & (flat <= _BETWEEN[1] * highest)]
    if between.size:
        found = _named(np.unique([lowest, *np.unique(between), highest]))
        raise MaskValuesError(path, f"has the values {found} over whole areas; {_REMEDY}")


def _flat(values: np.ndarray) -> np.ndarray:
    """Values (K,) of the pixels that are equal to their eight neighbours."""
    centre = values[1:-1, 1:-1]
    height, width = centre.shape
    equal = np.ones(centre.shape, bool)
    for y, x in np.ndindex(3, 3):
        equal &= values[y : y + height, x : x + width] == centre
    return centre[equal]


def _named(values: np.ndarray) -> str:
    """Sorted values as text, of many the first ones and the last."""
    names = [f"{value:g}" for value in values]
    dots = " ..." if len(names) > _VALUES_SHOWN else ""
    return f"{', '.join(names[:-1][: _VALUES_SHOWN - 1])}{dots} and {names[-1]}"
