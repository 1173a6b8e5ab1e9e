"""Long lists in messages: the first items, then how many more there are."""

from __future__ import annotations

from collections.abc import Sequence


def list_first(items: Sequence[str], limit: int) -> str:
    """At most `limit` items, separated by commas."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def list_lines(items: Sequence[str], *, limit: int = 20) -> str:
    """At most `limit` items, each on an indented line of its own."""
    lines = [*items[:limit], *([f"and {len(items) - limit} more"] if len(items) > limit else [])]
    return "".join(f"\n  {line}" for line in lines) + "\n"


def numbered(count: int, noun: str) -> str:
    """A number with its noun, as in `1 image` and `2 images`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
