"""What is measured of a photograph to tell whether it is of the usual kind, and how that is said.

The numbers themselves are computed in appearance.py; here are their names, words and tolerances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Entry(NamedTuple):
    """One number of a descriptor.

    `quantity` names it to people, `low` and `high` say what a photograph is that has too little or
    too much of it. Differences of the size of `tolerance` never count, however alike the training
    photographs are: prints, dust, defects and the crop's placing bring them about. `shown` puts a
    value into figures.
    """

    name: str
    quantity: str
    low: str
    high: str
    tolerance: float
    shown: Callable[[float], str]


def _plain(value: float) -> str:
    return str(round(value))


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def _of_log2(value: float) -> str:
    return f"{2**value:.1f}"


def _colours(name: str) -> tuple[Entry, ...]:
    """CIELAB of the part or the background; spreads as their logarithm, so that shares count."""
    it = f"the {name}"
    return (
        Entry(f"{name}_lightness", "lightness", f"{it} is darker", f"{it} is lighter", 2.0, _plain),
        Entry(
            f"{name}_red", "red against green", f"{it} is greener", f"{it} is redder", 2.0, _plain
        ),
        Entry(
            f"{name}_yellow",
            "yellow against blue",
            f"{it} is bluer",
            f"{it} is yellower",
            2.0,
            _plain,
        ),
        Entry(
            f"{name}_lightness_spread",
            "spread of lightness",
            f"{it} is more even",
            f"{it} is less even",
            0.15,
            _of_log2,
        ),
        Entry(
            f"{name}_colour_spread",
            "spread of colour",
            f"{it} is less colourful",
            f"{it} is more colourful",
            0.15,
            _of_log2,
        ),
    )


ENTRIES: tuple[Entry, ...] = (
    *_colours("part"),
    *_colours("background"),
    Entry(
        "contrast",
        "distance of the colours",
        "the part stands out less from the background",
        "the part stands out more from the background",
        2.0,
        _plain,
    ),
    # A crack may raise the part's by a third; the background's has little reason to change.
    Entry(
        "part_sharpness",
        "sharpness of the part",
        "it is blurred",
        "it is sharper or has more grain",
        0.5,
        _of_log2,
    ),
    Entry(
        "background_sharpness",
        "sharpness of the background",
        "it is blurred or has less grain",
        "it is sharper or has more grain",
        0.3,
        _of_log2,
    ),
    # Dented parts are good photographs: their shape may differ by this much.
    Entry(
        "share",
        "the part's share of the crop",
        "the part is smaller in the crop",
        "the part is larger in the crop",
        0.05,
        _percent,
    ),
    Entry(
        "elongation",
        "length by breadth",
        "the part is less long",
        "the part is longer",
        0.15,
        _of_log2,
    ),
    Entry(
        "extent",
        "the part's share of the box around it",
        "the part fills its box less",
        "the part fills its box more",
        0.05,
        _percent,
    ),
    Entry(
        "centre_x",
        "place from left to right",
        "the part lies further left in the crop",
        "the part lies further right in the crop",
        0.015,
        _percent,
    ),
    Entry(
        "centre_y",
        "place from top to bottom",
        "the part lies higher in the crop",
        "the part lies lower in the crop",
        0.015,
        _percent,
    ),
    Entry(
        "left_to_right",
        "difference of lightness",
        "the part's right half is darker against its left",
        "the part's right half is lighter against its left",
        2.0,
        _plain,
    ),
    Entry(
        "top_to_bottom",
        "difference of lightness",
        "the part's lower half is darker against its upper",
        "the part's lower half is lighter against its upper",
        2.0,
        _plain,
    ),
)
"""In the order of a descriptor."""
