"""Plain dataclasses from values that a checkpoint, an export or a record holds, checked.

These files may come from elsewhere: what was fitted decides every prediction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

Stored = TypeVar("Stored")


def from_stored(stored_type: type[Stored], state: Mapping[str, Any]) -> Stored:
    """Build a dataclass of numbers, texts and booleans.

    Raises TypeError where a name is unknown or missing, a value of another type, a number not
    finite or a whole number negative.
    """
    hints = get_type_hints(stored_type)
    if not isinstance(state, Mapping):
        raise TypeError(f"expected values by name, found {type(state).__name__}")
    for name, value in state.items():
        if name in hints and not _is_valid(value, hints[name]):
            raise TypeError(f"{name} is {value!r:.50}")
    return stored_type(**state)


def _is_valid(value: object, hint: Any) -> bool:
    takes_float = isinstance(0.0, hint)
    if isinstance(value, bool):
        return hint is bool
    if isinstance(value, int):
        return takes_float or (isinstance(value, hint) and value >= 0)
    return isinstance(value, hint) and (not isinstance(value, float) or math.isfinite(value))
