"""A progress bar in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, called with (done, total), that appears with the first call."""
    from rich.progress import Progress, TaskID

    bar = Progress(transient=True, disable=not sys.stdout.isatty())
    tasks: list[TaskID] = []

    def show(done: int, total: int) -> None:
        if not tasks:
            tasks.append(bar.add_task(title, total=total))
            bar.start()
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
