"""JSON, YAML and XML documents whose values name their place where they are not as expected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        return DataError(f"{self.where}: expected {expected}, found {_show(self.value)}.")

    def find(self, *keys: str) -> Node | None:
        """The value of the first of these keys that there is; None where it is missing or null."""
        if not isinstance(self.value, Mapping):
            raise self.fault("an object with named values")
        for key in keys:
            if self.value.get(key) is not None:
                return Node(self.value[key], f"{self.where}.{key}")
        return None

    def get(self, key: str) -> Node:
        found = self.find(key)
        if found is None:
            raise DataError(
                f"{self.where}: expected a value named {key}, found "
                f"{_show(list(self.value)) if self.value else 'none'}."
            )
        return found

    def items(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.fault("a list")
        return [Node(item, f"{self.where}[{place}]") for place, item in enumerate(self.value)]

    def text(self) -> str:
        if isinstance(self.value, str) and self.value.strip():
            return self.value
        if isinstance(self.value, int | float) and not isinstance(self.value, bool):
            return str(self.value)
        raise self.fault("a text")

    def number(self) -> float:
        return to_number(self.value, self.where)

    def whole(self, *, least: int | None = None) -> int:
        number = self.number()
        if number != int(number) or (least is not None and number < least):
            raise self.fault("a whole number" + (f" from {least}" if least is not None else ""))
        return int(number)

    def numbers(self) -> tuple[float, ...]:
        if not isinstance(self.value, list):
            raise self.fault("a list of numbers")
        if all(type(value) in (int, float) and math.isfinite(value) for value in self.value):
            return tuple(self.value)
        return tuple(to_number(value, self.where) for value in self.value)

    def points(self) -> list[tuple[float, ...]]:
        """A list of points x, y."""
        points = [item.numbers() for item in self.items()]
        if any(len(point) != 2 for point in points):
            raise self.fault("a list of points [x, y]")
        return points


def to_number(value: object, where: str) -> float:
    """A finite number, also one that is written as text."""
    try:
        if not isinstance(value, bool | int | float | str) or isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: expected a number, found {_show(value)}.")
    return number


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    is_wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected text in UTF-8, found the byte 0x{content[error.start]:02x} at "
            f"position {error.start}. Save the file in UTF-8."
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blanks around them; empty ones are left out."""
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_json(path: Path) -> Node:
    """A JSON file; raises DataError with the line of the first mistake."""
    try:
        return Node(json.loads(read_text(path)), f"{path}")
    except json.JSONDecodeError as error:
        problem = f"{error.msg} in line {error.lineno}"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:  # a number of thousands of digits
        problem = str(error)
    raise DataError(f"{path}: expected JSON, found a mistake: {problem}. Export the file again.")


def read_yaml(path: Path) -> Node:
    """A YAML file without tags of Python objects."""
    import yaml

    try:
        return Node(yaml.safe_load(read_text(path)), f"{path}")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise DataError(
            f"{path}: expected YAML, found a mistake: {problem}{place}. Mend the file."
        ) from None


def read_xml(path: Path, *, root: str) -> Element:
    """The root element of an XML file, whose name must be `root`; entities are refused."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        element = fromstring(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except DefusedXmlException:
        problem = "it defines entities, which are not read"
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        problem = str(error)
    else:
        if element.tag == root:
            return element
        raise DataError(f"{path}: expected XML with <{root}>, found <{element.tag}>.")
    raise DataError(f"{path}: expected XML, found a mistake: {problem}. Export the file again.")


def child_text(element: Element, name: str, where: str) -> str:
    """The text of a child of an XML element, which must be there."""
    text = (element.findtext(name) or "").strip()
    if not text:
        raise DataError(f"{where}: expected <{name}> with a text in <{element.tag}>, found none.")
    return text


def attribute(element: Element, name: str, where: str) -> str:
    """An attribute of an XML element, which must be there."""
    value = element.get(name)
    if value is None:
        raise DataError(f"{where}: expected the attribute {name} of <{element.tag}>, found none.")
    return value


def _show(value: object) -> str:
    """A value in a message, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
