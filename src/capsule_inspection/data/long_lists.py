"""Long lists in error messages."""

from __future__ import annotations

from collections.abc import Sequence


def list_first(items: Sequence[str], limit: int, *, separator: str = ", ") -> str:
    """The first items, then how many more there are."""
    listed = separator.join(items[:limit])
    if len(items) <= limit:
        return listed
    return f"{listed}{separator.replace(',', '')}and {len(items) - limit} more"
