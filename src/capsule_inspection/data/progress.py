"""Progress of long steps: bars in a terminal, elsewhere log lines with the time that is left.

The first line comes after some seconds, so that short steps stay quiet.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from capsule_inspection.config import terminal

if TYPE_CHECKING:
    from rich import progress

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Shows progress; its arguments are the numbers of finished and of all items."""

FIRST_S, EVERY_S = 5.0, 10.0
"""Seconds until a time is estimated, and at least between two lines."""

_open: list[progress.Progress] = []
"""The display of all bars, while there are any: a terminal has place for one."""


@contextmanager
def progress_bar(title: str, *, every_s: float = EVERY_S) -> Iterator[Progress]:
    """Progress of a step whose items are counted; a bar appears with the first call.

    Lines are `every_s` apart, and the first one comes after half of that.
    """
    if not terminal.is_interactive():
        yield _Lines(title, every_s).show
        return
    start = time.monotonic()
    with _bars() as bars:
        task = bars.add_task(title, total=None, visible=False, state="")

        def show(done: int, total: int) -> None:
            state = _state(done, total, start)
            bars.update(task, completed=done, total=total, visible=True, state=state)
            bars.start()

        try:
            yield show
        finally:
            bars.remove_task(task)


@contextmanager
def activity(title: str) -> Iterator[None]:
    """A step whose items are not counted: a moving bar, or one line if it takes some seconds."""
    with ExitStack() as stack:
        if terminal.is_interactive():
            bars = stack.enter_context(_bars())
            stack.callback(bars.remove_task, bars.add_task(title, total=None, state=""))
            bars.start()
        else:
            timer = threading.Timer(FIRST_S, log.info, ("%s ...", title))
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        yield


def format_time_left(seconds: float) -> str:
    """An estimated duration: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _state(done: int, total: int, start: float) -> str:
    """`40 of 328, about 12 s left`; the time after some seconds and a few items, the first slow."""
    elapsed = time.monotonic() - start
    if elapsed < FIRST_S or not max(3, min(total / 20, 10)) <= done < total:
        return f"{done} of {total}"
    left = format_time_left(elapsed * (total - done) / done)
    return f"{done} of {total}, about {left} left"


class _Lines:
    """Progress as log lines."""

    def __init__(self, title: str, every_s: float) -> None:
        self.title, self.every_s = title, every_s
        self.start = time.monotonic()
        self.due = self.start + every_s / 2

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self.due or not 0 < done < total or not terminal.is_first_process():
            return
        self.due = now + self.every_s
        log.info("%s: %s", self.title, _state(done, total, self.start))


@contextmanager
def _bars() -> Iterator[progress.Progress]:
    """The display that is open, or a new one, which is closed again."""
    if _open:
        yield _open[0]
        return
    from rich import progress

    console = terminal.console()
    console.soft_wrap = True  # messages are not broken at the width: paths can be copied
    bars = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=20),
        progress.TextColumn("{task.fields[state]}"),
        progress.TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    _open.append(bars)
    try:
        yield bars
    finally:
        _open.clear()
        bars.stop()
