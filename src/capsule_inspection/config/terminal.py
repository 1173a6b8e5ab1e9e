"""The terminal obeys control characters, and texts of files may hold some: they are shown as text.

Messages, log files and tables pass through here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}
"""Tab and newline stay."""


def printable(text: str) -> str:
    """The text with escapes of Python in place of control characters."""
    return text.translate(_CONTROL)


class Formatter(logging.Formatter):
    """Formatter of log messages, for conf/hydra/."""

    def format(self, record: logging.LogRecord) -> str:
        """The message and its traceback as text."""
        return printable(super().format(record))


def console() -> Console:
    """Rich's console, for tables. rich is imported when called."""
    from rich.console import Console
    from rich.segment import Segment

    class PlainConsole(Console):
        def render(self, *args: Any, **settings: Any) -> Any:
            for text, style, control in super().render(*args, **settings):
                yield Segment(text if control else printable(text), style, control)

    return PlainConsole()
