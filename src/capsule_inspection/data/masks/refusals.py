"""Refuses masks whose values have no clear meaning, with the settings that would give them one.

values.py interprets those that pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.masks.rules import SHOWN, Colour, MaskCode, show_value
from capsule_inspection.types import IGNORE_INDEX

# Areas between these fractions of the largest value of a mask are neither background nor edge:
# JPEG of quality 5 to 100, WebP, resizing and a blur of 5 px left no 3x3 block of one value
# between 5% and 95% on 87 real masks.
_BETWEEN = (0.1, 0.9)
_SOFT = 0.25
"""Of the pixels: where more are between, it is a picture and no mask with soft edges."""
_DARK = 0.2
"""Of the defect's pixels: areas of one dark value that are smaller are soft edges (0.17 after a
blur of 10 px)."""
BRIGHTNESS_FROM = 32
"""Whole numbers that are all smaller are indices, not levels of brightness."""
_FEW = 4
"""More values near white than this are noise."""
_HUE_DISTANCE = 0.1
"""Of colours at full brightness; rounding changes dark ones by less than this."""
_LOSSY_HUE_DISTANCE = 0.3
_VALUES_SHOWN, _CLASSES_SHOWN = 5, 32


class MaskValuesError(BadFileError):
    """A mask whose values have no clear meaning."""


def check_map(
    path: Path,
    values: np.ndarray | None,
    known: Mapping[int, int],
    code: MaskCode,
    *,
    lossy: bool,
    of_colours: bool,
) -> np.ndarray:
    """Refuse values that are not in a map, and files whose values are not exact.

    `values` (H, W) are levels, numbers of a palette, or colours as one number each; None where a
    mask of colours meets a map of numbers. Returns them.
    """
    names = [
        f"{show_value(value)} {'ignored' if label == IGNORE_INDEX else code.classes[label]}"
        for value, label in code.labels.items()
    ]
    of_map = f"data.mask_values ({list_first(names, SHOWN)})"
    if lossy:
        raise MaskValuesError(
            path,
            f"is stored with loss (JPEG or WebP), so that its values are not those of {of_map}. "
            "Re-export it as PNG.",
        )
    if values is None:
        raise MaskValuesError(
            path,
            f"has colours, and {of_map} has numbers alone. Name the colours in it, as in "
            "'data.mask_values={255-0-0: crack}'.",
        )
    unknown = [value for value in distinct(values) if value not in known]
    if unknown:
        found = [_show_colour(int(value)) if of_colours else f"{value:g}" for value in unknown]
        raise MaskValuesError(
            path,
            f"has the {'colours' if of_colours else 'values'} {list_first(found, SHOWN)}, not in "
            f"{of_map}. Add them to it, with null for pixels that do not count.",
        )
    return values


def check_classes(path: Path, values: np.ndarray, found: Sequence[float]) -> None:
    """Refuse numbers of classes that are the edges of larger ones, as interpolation leaves them."""
    from scipy.ndimage import maximum_filter, minimum_filter

    is_between = (minimum_filter(values, 3) < values) & (values < maximum_filter(values, 3))
    edges = [value for value in found if is_between[values == value].mean() >= 0.5]
    if edges:
        raise MaskValuesError(
            path,
            f"has {list_first([f'{value:g}' for value in edges], SHOWN)} as the edges of areas of "
            "larger values, which resizing with interpolation leaves; resize masks of class "
            "numbers by the nearest pixel",
        )


def check_ring(path: Path, found: Sequence[float], code: MaskCode) -> None:
    """Refuse numbers of classes beside a value near white, as in masks of Pascal VOC."""
    small = [value for value in found if 0 < value < BRIGHTNESS_FROM]
    large = [value for value in found if value >= BRIGHTNESS_FROM]
    has_few = len(large) == 1 or max(len(small), len(large)) <= _FEW
    if not small or not large or not has_few or large[0] < _BETWEEN[1] * large[-1]:
        return
    is_two = found[0] > 0 and len(found) == 2  # background and defect, as in 16 and 235
    if is_two or any(value != int(value) for value in found):
        return
    ring = int(large[-1])
    raise MaskValuesError(
        path,
        f"has the values {_named(found)}: if {ring} marks pixels that do not count, such as "
        f"the borders of objects in Pascal VOC, set data.mask_ignore={ring}; if every value above "
        "0 is the defect, set data.mask_values=binary; if they are classes, set "
        f"{code.example([int(value) for value in found if value > 0])}",
    )


def check_colours(path: Path, colours: np.ndarray, code: MaskCode, *, lossy: bool) -> None:
    """Refuse two colours that both would be the defect; shades of one colour are edges."""
    packed = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found = np.unique(_flat_values(packed) if lossy else packed)
    shades = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)
    brightness = shades.max(axis=1, initial=0)
    strong = shades[brightness >= max(brightness.max(initial=0) / 2, 1)]
    hues = strong / strong.max(axis=1, keepdims=True, initial=1)
    limit = _LOSSY_HUE_DISTANCE if lossy else _HUE_DISTANCE
    others = strong[(np.abs(hues - hues[:1]) > limit).any(axis=1)]
    if len(others):
        names: list[Colour] = [tuple(each) for each in [strong[0].tolist(), *others.tolist()]]
        shown = list_first([show_value(name) for name in names], _VALUES_SHOWN)
        raise MaskValuesError(
            path,
            f"has the colours {shown}. Say with {code.example(names[:_VALUES_SHOWN])} which class "
            "each one is, or with data.mask_values=binary that all but black are the defect.",
        )


def check_values(path: Path, values: np.ndarray, code: MaskCode, *, lossy: bool) -> None:
    """Refuse values that cannot be cut at half without losing some of them."""
    lowest, highest = values.min(), values.max()
    only_two = bool(((values == lowest) | (values == highest)).all())
    if highest <= 0 or (only_two and lowest < highest / 2):
        return
    found = distinct(values)
    are_indices = highest < BRIGHTNESS_FROM and all(value == int(value) for value in found)
    if are_indices and len([value for value in found if value > 0]) > 1:
        areas = found
    else:
        low, high = (fraction * highest for fraction in _BETWEEN)
        flat, counts = np.unique(_flat_values(values), return_counts=True)
        is_between = (low <= flat) & (flat <= high)
        # Such as class 1 beside a ring of 255 that interpolation has blurred.
        is_dark = (flat > 0) & (flat < low) & (counts > _DARK * (values >= highest / 2).sum())
        is_dark &= counts < counts.max(initial=0)  # no background
        between = flat[is_between | (is_dark & (not lossy))].tolist()
        if not between and ((values > low) & (values < high)).mean() > _SOFT:
            raise MaskValuesError(path, f"is a picture, not a mask; {_remedy(code)}")
        areas = sorted({float(lowest), *between, float(highest)}) if between else []
    if areas:
        over = "" if are_indices else " over whole areas"
        remedy = _remedy(code, [value for value in areas if value > 0], lossy=lossy)
        raise MaskValuesError(path, f"has the values {_named(areas)}{over}; {remedy}")


def distinct(values: np.ndarray) -> list[float]:
    """The different values of an array, in ascending order."""
    if values.dtype == np.uint8:  # faster than sorting
        return [*np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist()]
    return [*np.unique(values).tolist()]


def _flat_values(values: np.ndarray) -> np.ndarray:
    """Values (K,) of the pixels that are equal to their eight neighbours."""
    from scipy.ndimage import maximum_filter, minimum_filter

    is_flat = maximum_filter(values, 3) == minimum_filter(values, 3)
    return values[1:-1, 1:-1][is_flat[1:-1, 1:-1]]


def _remedy(code: MaskCode, values: Sequence[float] = (), *, lossy: bool = False) -> str:
    """What to do about values without a clear meaning."""
    numbers = [f"{number} {code.classes[label]}" for number, label in code.numbers.items()]
    export = (
        "re-export it as PNG with two values (0 and another), or with the numbers of the classes "
        f"(0 background, {list_first(numbers, _CLASSES_SHOWN)})"
    )
    whole = [int(value) for value in values if value == int(value)]
    if lossy or not whole or len(whole) > _VALUES_SHOWN:
        return export
    return (
        f"say what they mean with {code.example(whole)}, data.mask_values=binary (all above 0 are "
        f"the defect) or data.mask_ignore={whole[0]} (does not count), or {export}"
    )


def _show_colour(packed: int) -> str:
    """A colour, or a grey of more than 8 bits as its level."""
    if packed >> 24:
        return str(packed // 0x010101)
    red, green, blue = packed.to_bytes(3)
    return show_value((red, green, blue))


def _named(values: Sequence[float]) -> str:
    """Sorted values as text, of many the first ones and the last."""
    names = [f"{value:g}" for value in values]
    dots = " ..." if len(names) > _VALUES_SHOWN else ""
    return f"{', '.join(names[:-1][: _VALUES_SHOWN - 1])}{dots} and {names[-1]}"
