"""A progress bar in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Shows progress; its arguments are the numbers of finished and of all items."""


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A progress bar that appears with the first call."""
    from rich import progress

    bar = progress.Progress(transient=True, disable=not sys.stdout.isatty())
    tasks: list[progress.TaskID] = []

    def show(done: int, total: int) -> None:
        if not tasks:
            tasks.append(bar.add_task(title, total=total))
            bar.start()
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
