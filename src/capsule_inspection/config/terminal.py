"""The terminal obeys control characters, and texts of files may hold some: they are shown as text.

Messages, log files and tables pass through here.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

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


class Handler(logging.StreamHandler[TextIO]):
    """Writes messages to what is sys.stdout at the time: rich replaces it where it draws bars."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def is_first_process() -> bool:
    """Whether this is the first of the processes that train together."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def is_interactive() -> bool:
    """Whether bars can be drawn: in a terminal, which this process does not share with others."""
    if not is_first_process() or not sys.stdout.isatty():
        return False
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        is_alone = str(HydraConfig.get().launcher["_target_"]).endswith(".BasicLauncher")
        return is_alone and console().is_interactive
    return console().is_interactive


def console() -> Console:
    """Rich's console, for tables. rich is imported when called."""
    from rich.console import Console
    from rich.segment import Segment

    class PlainConsole(Console):
        def render(self, *args: Any, **settings: Any) -> Any:
            for text, style, control in super().render(*args, **settings):
                yield Segment(text if control else printable(text), style, control)

    return PlainConsole()
