"""Interprets the values of a decoded mask: defect or not, or a class index for each pixel.

An ambiguous mask is refused, with the setting that says what its values mean. Files are read in
image_io.py; mask_rules.py has the settings, mask_map.py the classes of a map.
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

from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.mask_map import (
    MaskValuesError,
    distinct,
    flat_values,
    labels_by_map,
)
from capsule_inspection.data.mask_rules import MaskCode, show_value
from capsule_inspection.types import IGNORE_INDEX

SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
THIRTY_TWO_BIT = frozenset({"I", "F"})
# Areas between these fractions of the largest value of a mask are neither background nor edge:
# JPEG of quality 5 to 100, WebP, resizing and a blur of 5 px left no 3x3 block of one value
# between 5% and 95% on 87 real masks.
_BETWEEN = (0.1, 0.9)
_BRIGHTNESS_FROM = 32
"""Whole numbers that are all smaller are indices, not levels of brightness."""
_FEW = 4
"""More values near white than this are noise."""
_HUE_DISTANCE = 0.1
"""Of colours at full brightness; rounding changes dark ones by less than this."""
_LOSSY_HUE_DISTANCE = 0.3
_VALUES_SHOWN = 5
_VALUES_KEPT = 32


class MaskPixels(NamedTuple):
    """Pixels of a mask, uint8 (H, W): class indices where `has_classes`, else 0 and 1.

    Ignored pixels are IGNORE_INDEX. `is_ambiguous` where the file has several values above 0, which
    may be class indices. `values` are those in the file above 0, as far as they are exact numbers;
    of many the first. `notes` are codes of what was unusual in decoding.
    """

    pixels: np.ndarray
    has_classes: bool
    is_ambiguous: bool
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
    1 like those of 0 and 255; in a `code.binary` mask it is where they are above 0. Of a colour the
    largest channel counts; transparent pixels are background. A `lossy` file has other values at
    every edge, so its values are no class indices.
    """
    visible = _visible(image, path)
    levels = _levels(image, visible)
    is_grey = levels.ndim == 2 and image.mode != "P"
    numbers = levels if is_grey else _palette(image, visible)
    if code.labels:
        return _by_map(image, visible, path, code, lossy=lossy)
    ignored = _ignored(levels, numbers, path, code, lossy=lossy)
    if code.inverted:
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
    # A palette of greys is a picture of brightness, one of colours has numbers.
    indices = levels if levels.ndim == 2 else numbers
    values = levels if levels.ndim == 2 else levels.max(axis=2)
    found = () if indices is None else _values_above_0(indices)
    is_ambiguous = len(found) > 1 and not code.binary
    can_be_classes = is_ambiguous and not lossy and not code.inverted
    has_classes = can_be_classes and set(found) <= set(code.numbers)
    if is_ambiguous and not lossy and not has_classes:
        _check_ring(path, found, code)
    if indices is not None and levels.ndim == 3 and (has_classes or not is_ambiguous):
        _check_palette(path, levels, indices, code)
        values = indices
    elif levels.ndim == 3 and not code.binary:
        _check_colours(path, levels, code, lossy=lossy)
    if has_classes:
        return MaskPixels(_renumbered(values, code), True, True, tuple(map(int, found)))
    if code.binary and not lossy:
        return MaskPixels((values > 0).astype(np.uint8), has_classes=False, is_ambiguous=False)
    _check_values(path, values, code, lossy=lossy)
    highest = values.max()
    defect = values >= highest / 2 if highest > 0 else np.zeros(values.shape, bool)
    kept = [] if lossy else found[:_VALUES_KEPT]
    exact = tuple(int(value) for value in kept if value == int(value))
    return MaskPixels(defect.astype(np.uint8), False, is_ambiguous, exact)


def _visible(image: Image.Image, path: Path) -> np.ndarray | None:
    """Opacity (H, W) of a mask with transparency, else None.

    A mask that is transparent everywhere has been saved with an alpha channel without a meaning,
    unless its pixels are all alike: then nothing is drawn on it.
    """
    if image.mode in SIXTEEN_BIT | THIRTY_TWO_BIT or not image.has_transparency_data:
        return None
    pixels = np.asarray(image.convert("RGBA"))
    colours, alpha = pixels[:, :, :3], pixels[:, :, 3]
    has_one_colour = bool((colours == colours[0, 0]).all())
    if not alpha.any() and not has_one_colour:
        return None
    if has_one_colour and not colours.any() and alpha.any() and (alpha != alpha[0, 0]).any():
        raise MaskValuesError(
            path,
            "is black everywhere, with its shape in the alpha channel alone; re-export it without "
            "transparency, white on black",
        )
    return alpha


def _levels(image: Image.Image, visible: np.ndarray | None) -> np.ndarray:
    """A mask's grey levels (H, W) or colours (H, W, 3), in the file's own range of values."""
    if image.mode in SIXTEEN_BIT or image.mode in THIRTY_TWO_BIT:
        return np.asarray(image)
    if visible is not None:
        black = Image.new("RGBA", image.size, "black")
        image = Image.alpha_composite(black, image.convert("RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image).astype(np.uint8)
    colours = np.asarray(image.convert("RGB"))
    is_grey = bool((colours == colours[:, :, :1]).all())
    return colours[:, :, 0] if is_grey else colours


def _palette(image: Image.Image, visible: np.ndarray | None) -> np.ndarray | None:
    """Numbers of a palette (H, W), 0 where they are transparent; None for other images."""
    if image.mode != "P":
        return None
    return np.where(visible > 0, np.asarray(image), 0) if visible is not None else np.asarray(image)


def _by_map(
    image: Image.Image, visible: np.ndarray | None, path: Path, code: MaskCode, *, lossy: bool
) -> MaskPixels:
    is_grey = image.mode in {"L", "1"} | SIXTEEN_BIT | THIRTY_TWO_BIT
    if is_grey and visible is None and not lossy:
        levels = _levels(image, visible)
        labels = labels_by_map(levels, None, path, code, lossy=False)
        return MaskPixels(labels, has_classes=True, is_ambiguous=False)
    colours, opaque = np.array(image.convert("RGBA"))[:, :, :3], None
    if visible is not None:  # laid on black, half-transparent pixels would have other colours
        opaque = np.where(visible < 128, np.uint8(0), np.uint8(255))
        colours &= opaque[:, :, None]
    has_numbers = code.ignore is not None or any(isinstance(key, int) for key in code.labels)
    numbers = _palette(image, opaque) if has_numbers else None
    labels = labels_by_map(numbers, colours, path, code, lossy=lossy)
    return MaskPixels(labels, has_classes=True, is_ambiguous=False)


def _ignored(
    levels: np.ndarray, numbers: np.ndarray | None, path: Path, code: MaskCode, *, lossy: bool
) -> np.ndarray | None:
    """Where pixels are ignored, None where none can be."""
    if code.ignore is None:
        return None
    of_colours = numbers is None
    ignored = levels == code.ignore if numbers is None else numbers == code.ignore
    if of_colours and levels.ndim == 3:
        ignored = ignored.all(axis=2)
    if lossy and ignored.any():
        raise MaskValuesError(
            path,
            "is stored with loss (JPEG or WebP), so that the pixels of data.mask_ignore="
            f"{code.ignore} are not certain; re-export it as PNG, or set data.mask_ignore=null",
        )
    return ignored


def _inverted(levels: np.ndarray, ignored: np.ndarray | None) -> np.ndarray:
    """Levels with 0 for the largest value and the largest one for 0."""
    counted = levels if ignored is None else levels[~ignored]
    highest = counted.max() if counted.size else 0
    # Where a pixel is ignored the difference may wrap around; it is overwritten later.
    return highest - levels if highest > 0 else np.ones_like(levels)


def _renumbered(indices: np.ndarray, code: MaskCode) -> np.ndarray:
    """Class indices of the numbers in a mask, which all are among those of the classes."""
    table = np.zeros(max(code.numbers) + 1, np.uint8)
    for number, label in code.numbers.items():
        table[number] = label
    return table[indices.astype(np.int64)]


def _values_above_0(values: np.ndarray) -> Sequence[float]:
    """Different values above 0 in ascending order."""
    return [value for value in distinct(values) if value > 0]


def _check_palette(path: Path, levels: np.ndarray, indices: np.ndarray, code: MaskCode) -> None:
    """Refuse a sorted palette, in which black has another number than 0."""
    if levels is indices:
        return
    black = levels == 0 if levels.ndim == 2 else ~levels.any(axis=2)
    if (black & (indices > 0)).any() and (~black & (indices == 0)).any():
        raise MaskValuesError(
            path,
            f"has a palette with black as number {indices[black].max()} and a colour as number 0, "
            f"so that the background is not known; {_remedy(code)}",
        )


def _check_ring(path: Path, found: Sequence[float], code: MaskCode) -> None:
    """Refuse numbers of classes beside a value near white, as in masks of Pascal VOC."""
    small = [value for value in found if value < _BRIGHTNESS_FROM]
    large = [value for value in found if value >= _BRIGHTNESS_FROM]
    has_few = len(large) == 1 or max(len(small), len(large)) <= _FEW
    if not small or not large or not has_few or large[0] < _BETWEEN[1] * large[-1]:
        return
    if any(value != int(value) for value in found):
        return
    ring = int(large[-1])
    raise MaskValuesError(
        path,
        f"has the values {_named([0, *found])}: if {ring} marks pixels that do not count, such as "
        f"the borders of objects in Pascal VOC, set data.mask_ignore={ring}; if every value above "
        "0 is the defect, set data.mask_values=binary; if they are classes, set "
        f"{code.example([int(value) for value in found])}",
    )


def _check_colours(path: Path, colours: np.ndarray, code: MaskCode, *, lossy: bool) -> None:
    """Refuse two colours that both would be the defect; shades of one colour are edges."""
    packed = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found = np.unique(flat_values(packed) if lossy else packed)
    shades = np.stack([found >> 16 & 255, found >> 8 & 255, found & 255], axis=1)
    brightness = shades.max(axis=1, initial=0)
    strong = shades[brightness >= max(brightness.max(initial=0) / 2, 1)]
    if not len(strong):
        return
    hues = strong / strong.max(axis=1, keepdims=True)
    limit = _LOSSY_HUE_DISTANCE if lossy else _HUE_DISTANCE
    different: list[int] = []
    for index, hue in enumerate(hues):
        if all(np.abs(hue - hues[other]).max() > limit for other in different):
            different.append(index)
        if len(different) > _VALUES_SHOWN:
            break
    if len(different) > 1:
        names = [(int(r), int(g), int(b)) for r, g, b in strong[different]]
        shown = list_first([show_value(name) for name in names], _VALUES_SHOWN)
        raise MaskValuesError(
            path,
            f"has the colours {shown}. Say with {code.example(names)} which class each one is, or "
            "with data.mask_values=binary that all but black are the defect.",
        )


def _check_values(path: Path, values: np.ndarray, code: MaskCode, *, lossy: bool) -> None:
    """Refuse values that cannot be cut at half without losing some of them."""
    lowest, highest = values.min(), values.max()
    only_two = bool(((values == lowest) | (values == highest)).all())
    if highest <= 0 or (only_two and lowest < highest / 2):
        return
    found = _values_above_0(values)
    if len(found) > 1 and _are_numbers(values):
        raise MaskValuesError(
            path, f"has the values {_named(np.unique(values))}; {_remedy(code, found, lossy=lossy)}"
        )
    flat = flat_values(values)
    between = flat[(flat >= _BETWEEN[0] * highest) & (flat <= _BETWEEN[1] * highest)]
    if between.size:
        areas = np.unique([lowest, *np.unique(between), highest])
        raise MaskValuesError(
            path,
            f"has the values {_named(areas)} over whole areas; "
            f"{_remedy(code, areas[areas > 0].tolist(), lossy=lossy)}",
        )


def _are_numbers(values: np.ndarray) -> bool:
    """Whether all values are whole numbers from 0 to the first level of brightness."""
    in_range = bool(values.min() >= 0 and values.max() < _BRIGHTNESS_FROM)
    return in_range and bool((values == np.rint(values)).all())


def _remedy(code: MaskCode, values: Sequence[float] = (), *, lossy: bool = False) -> str:
    """What to do about values without a clear meaning."""
    numbers = [f"{number} {code.classes[label]}" for number, label in code.numbers.items()]
    export = (
        "re-export it as PNG with two values (0 and another), or with the numbers of the classes "
        f"(0 background, {list_first(numbers, _VALUES_KEPT)})"
    )
    whole = [int(value) for value in values if value == int(value)]
    if lossy or not whole or len(whole) > _VALUES_SHOWN:
        return export
    return (
        f"say what they mean with {code.example(whole)}, data.mask_values=binary (all above 0 are "
        f"the defect) or data.mask_ignore={whole[0]} (does not count), or {export}"
    )


def _named(values: Sequence[float] | np.ndarray) -> str:
    """Sorted values as text, of many the first ones and the last."""
    names = [f"{value:g}" for value in values]
    dots = " ..." if len(names) > _VALUES_SHOWN else ""
    return f"{', '.join(names[:-1][: _VALUES_SHOWN - 1])}{dots} and {names[-1]}"
