"""Dataclasses from plain values that a checkpoint, an export or a record holds, checked by type.

These files may come from elsewhere: what was fitted decides every prediction.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from contextlib import suppress
from inspect import formatannotation
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Stored = TypeVar("Stored")


def from_stored(stored_type: type[Stored], state: Mapping[str, Any]) -> Stored:
    """Build a dataclass of numbers, texts, booleans, tuples of these, mappings and dataclasses.

    Raises TypeError where a name is unknown or missing, a value of another type, a number not
    finite or a whole number negative.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"expected values by name, found {type(state).__name__}")
    hints = get_type_hints(stored_type)
    return stored_type(**{key: _read(state[key], hints.get(key, object), key) for key in state})


def _read(value: Any, hint: Any, name: str) -> Any:
    """The value as the type `hint`. Raises TypeError where it is of another."""
    for option in get_args(hint) if isinstance(hint, UnionType) else ():
        with suppress(TypeError):
            return _read(value, option, name)
    kind, items = get_origin(hint) or hint, get_args(hint)
    if kind is tuple and isinstance(value, list | tuple):
        items = items[:1] * len(value) if items[-1] is Ellipsis else items
        if len(items) == len(value):
            return tuple(_read(item, each, name) for item, each in zip(value, items, strict=True))
    elif kind is float:
        if type(value) in (int, float) and abs(value) <= sys.float_info.max:
            return float(value)
    elif kind is int:
        if type(value) is int and value >= 0:
            return value
    elif isinstance(kind, type) and isinstance(value, kind):
        return value
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_stored(kind, value)
    raise TypeError(f"{name}: expected {formatannotation(hint)}, found {value!r:.60}")
