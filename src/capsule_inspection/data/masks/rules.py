"""What the values of mask files mean, as the configuration or an annotation format says it.

values.py applies these rules to a file. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import GOOD_LABEL, IGNORE_INDEX, ConfigurationError, DataError

Colour = tuple[int, int, int]

BACKGROUND = "background"
"""Name of the background in a map, beside that of the good class."""
SHOWN = 12
_EXAMPLE = "'data.mask_values={1: crack, 2: poke}' or '{255-0-0: crack, 0-0-255: null}'"
_SEPARATORS = re.compile(r"[\s,/;-]+")
_NUMBERED = re.compile(r"(\D*?)[ _-]?(\d+)")


@dataclass(frozen=True)
class MaskRules:
    """The meaning of values; by default it is found from the values themselves.

    `ignore` is the value of pixels that count neither in the loss nor in a metric. `inverted` masks
    have 0 on the defect. `classes` names the class of a value or of a colour (red, green, blue),
    None for one that is ignored; a value that is not in it is refused, 0 and black are the
    background unless it says otherwise. In a `binary` mask every value but 0 is the defect of the
    image's class. Masks `from_annotations` were drawn from them, for images as EXIF turns them.
    """

    ignore: int | None = None
    inverted: bool = False
    classes: Mapping[int | Colour, str | None] = field(default_factory=dict)
    binary: bool = False
    from_annotations: bool = False


@dataclass(frozen=True)
class MaskCode:
    """Mask rules for the classes of a data set: class indices instead of names.

    `labels` has the class index of each value or colour of a map, IGNORE_INDEX for ignored ones.
    Without a map, `numbers` has the class index of each number in a mask of several numbers. `key`
    is equal for rules that read every file alike, "" for the default ones.
    """

    classes: tuple[str, ...]
    rules: MaskRules
    labels: Mapping[int | Colour, int]
    numbers: Mapping[int, int]
    key: str

    @property
    def settings(self) -> str:
        """Equal where a file has the same facts."""
        return f"{len(self.classes)}:{self.key}"

    def example(self, values: Iterable[int | Colour]) -> str:
        """A map of values, for messages; with `?` where only the user knows the class."""
        names = self.classes[GOOD_LABEL + 1 :]
        name = names[0] if len(names) == 1 else "?"
        pairs = ", ".join(f"{show_value(value)}: {name}" for value in values)
        choice = f" (? is {list_first(names, SHOWN)} or null)" if name == "?" and names else ""
        return f"'data.mask_values={{{pairs}}}'{choice}"


def mask_rules(values: object, ignore: int | None, inverted: bool) -> MaskRules:
    """The rules of `data.mask_values`, `data.mask_ignore` and `data.mask_inverted`.

    Raises ConfigurationError for a value that has no meaning, or for rules that exclude each other.
    """
    if values in (None, "auto", "binary"):
        return MaskRules(ignore, inverted, binary=values == "binary")
    if not isinstance(values, Mapping) or not values:
        raise ConfigurationError(
            f"data.mask_values={values}: expected auto, binary, or a class for each value or "
            f"colour, as in {_EXAMPLE}."
        )
    classes = {_parse_value(key): _parse_name(key, name) for key, name in values.items()}
    if inverted:
        raise ConfigurationError(
            "data.mask_inverted=true and a map in data.mask_values exclude each other. Give 0 its "
            "class in the map, as in 'data.mask_values={0: crack, 255: background}'."
        )
    if ignore in classes:
        raise ConfigurationError(
            f"data.mask_ignore={ignore} is in data.mask_values too, as {classes[ignore]}. Take it "
            "out of one of them."
        )
    return MaskRules(ignore, classes=classes)


def compile_rules(rules: MaskRules, classes: Sequence[str], root: Path) -> MaskCode:
    """The rules for the classes of a data set, of which the first is the good one.

    Raises DataError where a map names classes that the data set does not have.
    """
    indices: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    indices.setdefault(BACKGROUND, GOOD_LABEL)
    indices[None] = IGNORE_INDEX
    unknown = sorted(name for name in rules.classes.values() if name and name not in indices)
    if unknown:
        raise DataError(
            f"{root}: data.mask_values names the classes {list_first(unknown, SHOWN)}; those of "
            f"the data set are {list_first(list(classes), SHOWN)}. Use these names, rename the "
            "classes with data.class_map, or set data.mask_values=binary where masks need no "
            "classes of their own."
        )
    labels = {value: indices[name] for value, name in rules.classes.items()}
    numbers = _numbers(classes)
    is_default = numbers == {index: index for index in range(1, len(classes))}
    used = [
        rules.ignore,
        rules.inverted,
        rules.binary,
        sorted((show_value(value), label) for value, label in labels.items()),
        [] if is_default or labels or rules.binary else sorted(numbers.items()),
    ]
    is_used = any(used) or rules.ignore == 0
    key = hashlib.sha256(json.dumps(used).encode()).hexdigest()[:12] if is_used else ""
    return MaskCode(tuple(classes), rules, labels, numbers, key)


def show_value(value: int | Colour) -> str:
    """A value or a colour as in `data.mask_values`; Hydra's grammar allows no commas in keys."""
    return str(value) if isinstance(value, int) else "-".join(map(str, value))


def _numbers(classes: Sequence[str]) -> dict[int, int]:
    """Class index of each number: the position, or the number in the names, as in `type 10`."""
    parts = [_NUMBERED.fullmatch(name) for name in classes[GOOD_LABEL + 1 :]]
    found = [(part[1], int(part[2])) for part in parts if part]
    numbers = {number: index for index, (_, number) in enumerate(found, 1)}
    is_numbered = len({prefix for prefix, _ in found}) == 1 and 0 not in numbers
    if is_numbered and len(numbers) == len(parts):
        return numbers
    return {index: index for index in range(1, len(classes))}


def _parse_value(key: object) -> int | Colour:
    """A value, or a colour such as `255-0-0`, `255,0,0` or `#ff0000`."""
    text = "" if isinstance(key, bool | float) else str(key).strip("()[] ")
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        text = "-".join(map(str, bytes.fromhex(text[1:])))
    parts = _SEPARATORS.split(text)
    numbers = [int(part) for part in parts if part.isdecimal()]
    if len(numbers) == len(parts) == 1:
        return numbers[0]
    if len(numbers) == len(parts) == 3 and max(numbers) <= 255:
        return numbers[0], numbers[1], numbers[2]
    raise ConfigurationError(
        f"data.mask_values: {key!r} is neither a value (0 or above) nor a colour of three numbers "
        f"(0 to 255); expected a map such as {_EXAMPLE}."
    )


def _parse_name(key: object, name: object) -> str | None:
    if name is None:
        return None
    if isinstance(name, bool | float | Mapping | list) or not str(name).strip():
        raise ConfigurationError(
            f"data.mask_values: {key} has the class {name!r}; expected the name of a class, or "
            f"null for pixels that are ignored, as in {_EXAMPLE}."
        )
    return str(name).strip()
