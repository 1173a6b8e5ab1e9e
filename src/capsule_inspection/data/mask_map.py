"""Classes of a mask by a map from values or colours, as in `data.mask_values={1: crack}`.

Values in the file are exact; those of a lossy file are taken for the nearest known colour where
that is safe. Masks without a map are interpreted in mask_values.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.data.bad_file import BadFileError
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.data.mask_rules import Colour, MaskCode, show_value
from capsule_inspection.types import GOOD_LABEL, IGNORE_INDEX

_LOSSY_DISTANCE = 40
"""Of a channel: JPEG of quality 50 and more moves flat areas by less."""
_SHOWN = 8
_BLACK: Colour = (0, 0, 0)


class MaskValuesError(BadFileError):
    """A mask whose values have no clear meaning."""


def labels_by_map(
    numbers: np.ndarray | None,
    colours: np.ndarray | None,
    path: Path,
    code: MaskCode,
    *,
    lossy: bool,
) -> np.ndarray:
    """Class index of each pixel, uint8 (H, W), IGNORE_INDEX where it is ignored.

    Shapes: `numbers` (H, W), grey levels or the numbers of a palette; `colours` (H, W, 3) uint8,
    of palettes, masks of colours and lossy ones. One of them may be None. A number that is in the
    map counts before its colour. Raises MaskValuesError for values that are not in the map.
    """
    if lossy:
        assert colours is not None
        return _nearest(colours, path, code)
    if numbers is None:
        assert colours is not None
        pixels = _packed(colours)
    else:
        pixels = numbers
    found = distinct(pixels)
    labels, unknown = np.zeros(len(found), np.uint8), []
    for index, value in enumerate(found):
        colour = _colour_of(value, pixels, colours)
        label = _label(None if numbers is None else value, colour, code)
        if label is not None:
            labels[index] = label
            continue
        unknown.append(show_value(colour or _BLACK) if numbers is None else f"{value:g}")
        if len(unknown) > _SHOWN:
            break
    if unknown:
        what = "colours" if numbers is None else "values"
        raise MaskValuesError(
            path,
            f"has the {what} {_first(unknown)}, not in data.mask_values "
            f"({_known(code)}). Add them to it, with null for pixels that do not count.",
        )
    if pixels.dtype == np.uint8:
        table = np.zeros(256, np.uint8)
        table[np.array(found, np.intp)] = labels
        return table[pixels]
    return labels[np.searchsorted(np.array(found), pixels)]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def distinct(values: np.ndarray) -> Sequence[float]:
    """The different values of an array, in ascending order."""
    if values.dtype != np.uint8:
        listed: list[float] = np.unique(values).tolist()
        return listed
    return np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist()


def _colour_of(value: float, pixels: np.ndarray, colours: np.ndarray | None) -> Colour | None:
    """The colour of all pixels that have this value, None without colours."""
    if colours is None:
        return None
    red, green, blue = colours.reshape(-1, 3)[(pixels.ravel() == value).argmax()].tolist()
    return red, green, blue


def _label(number: float | None, colour: Colour | None, code: MaskCode) -> int | None:
    """Label of a value, None where the rules do not name it.

    The number 0 is the background in a map of numbers, black in a map of colours.
    """
    level = number
    if number is None and colour is not None and len(set(colour)) == 1:
        level = colour[0]  # of a grey pixel in a mask of colours
    by_number = colour is None or (number is not None and _has_numbers(code))
    if colour is None and number is not None and number == int(number):
        colour = int(number), int(number), int(number)
    for key in (level, colour):
        if key in code.labels:
            return code.labels[key]  # type: ignore[index] # a whole float equals its int
    if code.ignore is not None and level == code.ignore:
        return IGNORE_INDEX
    is_background = number == 0 if by_number else colour == _BLACK
    return GOOD_LABEL if is_background else None


def _has_numbers(code: MaskCode) -> bool:
    return any(isinstance(key, int) for key in code.labels)


def _nearest(colours: np.ndarray, path: Path, code: MaskCode) -> np.ndarray:
    """Labels of the nearest known colours in a lossy file; refused where one may be wrong."""
    known = _known_colours(code)
    table = np.array(list(known), np.int16)
    packed = _packed(colours)
    found = np.unique(packed)
    apart = np.abs(table[:, None] - table[None]).max(axis=2)
    distances = np.abs(_channels(found)[:, None].astype(np.int16) - table[None]).max(axis=2)
    is_far = distances.min(axis=1) > _LOSSY_DISTANCE
    is_close = len(table) > 1 and apart[~np.eye(len(table), dtype=bool)].min() < (
        2 * _LOSSY_DISTANCE
    )
    has_flat = bool(np.isin(flat_values(packed), found[is_far]).any())
    if is_close or has_flat or (len(table) > 2 and is_far.any()):
        raise MaskValuesError(
            path,
            "is stored with loss (JPEG or WebP), so that its values are not those of "
            f"data.mask_values ({_known(code)}). Re-export it as PNG.",
        )
    labels = np.array(list(known.values()), np.uint8)[distances.argmin(axis=1)]
    return labels[np.searchsorted(found, packed)]


def _known_colours(code: MaskCode) -> Mapping[Colour, int]:
    """Labels by colour; numbers are grey levels here."""
    known = {_BLACK: GOOD_LABEL}
    if code.ignore is not None and code.ignore <= 255:
        known[(code.ignore,) * 3] = IGNORE_INDEX
    for key, label in code.labels.items():
        if not isinstance(key, int):
            known[key] = label
        elif key <= 255:
            known[(key, key, key)] = label
    return known


def flat_values(values: np.ndarray) -> np.ndarray:
    """Values (K,) of the pixels that are equal to their eight neighbours."""
    centre = values[1:-1, 1:-1]
    height, width = centre.shape
    equal = np.ones(centre.shape, bool)
    for y, x in np.ndindex(3, 3):
        equal &= values[y : y + height, x : x + width] == centre
    return centre[equal]


def _packed(colours: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) uint8 as one number each, (H, W) int32."""
    channels = colours.astype(np.int32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def _channels(packed: np.ndarray) -> np.ndarray:
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)


def _known(code: MaskCode) -> str:
    names = [
        f"{show_value(value)} {'ignored' if label == IGNORE_INDEX else code.classes[label]}"
        for value, label in code.labels.items()
    ]
    return list_first(names, _SHOWN)
