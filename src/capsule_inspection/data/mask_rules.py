"""What the values of mask files mean, as the configuration or an annotation format says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskRules:
    """The meaning of values; by default it is found from the values themselves.

    `ignore` is the value of pixels that count neither in the loss nor in a metric. `inverted` masks
    have 0 on the defect. `classes` names the class of a value or of a colour (red, green, blue),
    None for one that is ignored; a value that is not in it is refused, 0 is always the background.
    In a `binary` mask every value but 0 is the defect of the image's class.
    """

    ignore: int | None = None
    inverted: bool = False
    classes: Mapping[int | Colour, str | None] = field(default_factory=dict)
    binary: bool = False
