"""JSON, YAML and XML documents whose values name their place where they are not as expected."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capsule_inspection.data.text_encoding import decode_unicode
from capsule_inspection.types import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document and its place, as in `labels.json: annotations[3].bbox`."""

    value: Any
    where: str

    def fault(self, expected: str) -> DataError:
        """The error for a value that is something else."""
        shown = json.dumps(self.value, ensure_ascii=False, default=str)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return DataError(f"{self.where}: expected {expected}, found {shown}.")

    def find(self, key: str) -> Node | None:
        """The value of a key, None where it is missing or null."""
        if not isinstance(self.value, Mapping):
            raise self.fault("an object with named values")
        found = self.value.get(key)
        return None if found is None else Node(found, f"{self.where}.{key}")

    def get(self, key: str) -> Node:
        found = self.find(key)
        if found is None:
            raise Node(list(self.value), self.where).fault(f"a value named {key}")
        return found

    def is_true(self, key: str) -> bool:
        """Whether there is a value of this key that is true or a number that is not 0."""
        found = self.find(key)
        return found is not None and found.value not in (False, 0, "0", "")

    def items(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.fault("a list")
        return [Node(item, f"{self.where}[{place}]") for place, item in enumerate(self.value)]

    def text(self) -> str:
        if isinstance(self.value, str) and self.value.strip():
            return self.value
        if type(self.value) in (int, float) and math.isfinite(self.value):
            return str(int(self.value) if self.value == int(self.value) else self.value)
        raise self.fault("a text")

    def number(self) -> float:
        """A finite number, also one that is written as text."""
        number = math.nan
        if isinstance(self.value, int | float | str) and not isinstance(self.value, bool):
            with contextlib.suppress(ValueError, OverflowError):
                number = float(self.value)
        if not math.isfinite(number):
            raise self.fault("a number")
        return number

    def whole(self) -> int:
        number = self.number()
        if number != int(number):
            raise self.fault("a whole number")
        return int(number)

    def numbers(self) -> tuple[float, ...]:
        if not isinstance(self.value, list):
            raise self.fault("a list of numbers")
        if all(type(value) in (int, float) and math.isfinite(value) for value in self.value):
            return tuple(self.value)  # quick, for long polygons
        return tuple(Node(value, self.where).number() for value in self.value)

    def points(self) -> list[tuple[float, ...]]:
        """A list of one or more points x, y."""
        points = [item.numbers() for item in self.items()]
        if {len(point) for point in points} != {2}:
            raise self.fault("a list of points x, y")
        return points

    def size(self, width: str, height: str) -> tuple[int, int] | None:
        """A size under two keys; None where it is missing or 0, as some tools write."""
        sides = [each.whole() for key in (width, height) if (each := self.find(key)) is not None]
        return (sides[0], sides[1]) if len(sides) == 2 and all(sides) else None


def read_text(path: Path) -> str:
    """The text of a file in Unicode."""
    try:
        text = decode_unicode(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise DataError(f"{path}: expected text in UTF-8. Save the file in UTF-8.")
    return text


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blanks around them; empty ones are left out."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_json(path: Path, name: str) -> Node:
    """A JSON file; raises DataError with the line of the first mistake."""
    try:
        return Node(json.loads(read_text(path)), name)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} in line {error.lineno}"
    except (RecursionError, ValueError) as error:  # of many brackets, or digits
        problem = str(error)
    raise _mistake(name, "JSON", problem)


def read_yaml(path: Path, name: str) -> Node:
    """A YAML file without tags of Python objects and aliases, which can expand to any size."""
    import yaml

    text = read_text(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise yaml.YAMLError("it has aliases (*name), which are not read")
        return Node(yaml.safe_load(text), name)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _mistake(name, "YAML", " ".join(str(error).split())) from None


def read_xml(path: Path, name: str, *, root: str) -> Element:
    """The root element of an XML file, whose name must be `root`; entities are refused."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        element = fromstring(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except DefusedXmlException:
        raise _mistake(name, "XML", "it defines entities, which are not read") from None
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise _mistake(name, "XML", str(error)) from None
    if element.tag != root:
        raise DataError(f"{name}: expected XML with <{root}>, found <{element.tag}>.")
    return element


def child(element: Element, name: str, where: str) -> Node:
    """The text of a child of an XML element, which must be there."""
    text = (element.findtext(name) or "").strip()
    if not text:
        raise DataError(f"{where}: expected <{name}> with a text in <{element.tag}>, found none.")
    return Node(text, f"{where}: <{name}>")


def attribute(element: Element, name: str, where: str) -> Node:
    """An attribute of an XML element, which must be there."""
    value = element.get(name)
    if value is None:
        raise DataError(f"{where}: expected the attribute {name} of <{element.tag}>, found none.")
    return Node(value, f"{where}: {name} of <{element.tag}>")


def _mistake(name: str, kind: str, problem: str) -> DataError:
    return DataError(f"{name}: expected {kind}, found a mistake: {problem}. Export the file again.")
