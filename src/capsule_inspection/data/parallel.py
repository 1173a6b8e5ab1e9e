"""Work in threads, in order: Pillow, OpenCV and NumPy release the interpreter's lock.

Decoded images would cost more to send between processes than the lock costs threads.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THRESHOLDS = {-1: 2**30, -3: 2**25}
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3); glibc takes no larger one of the latter."""


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Results in the order of the items, with a few calls running at a time."""
    workers = max(1, workers)
    with ThreadPoolExecutor(workers) as executor:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of one image, or of one training step, for the next.

    By default it returns large blocks to the kernel: the page faults are a quarter of a cold start,
    and of a short epoch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, size_bytes in _THRESHOLDS.items():
            mallopt(parameter, size_bytes)
