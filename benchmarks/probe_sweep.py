"""Runs train.py with a sweep; prints the seconds from each job's end to the next first step."""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

from capsule_inspection.config import entry

run = entry.run


class Watch:
    """The task function, with a look at the clock behind each job and at the next first step."""

    def __init__(self, action: Callable[[Any], object]) -> None:
        self.action = action
        self.ended: float | None = None
        self.gaps_s: list[float] = []
        self.hooked = False

    def __call__(self, config: Any) -> object:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        if not self.hooked:
            register_optimizer_step_post_hook(lambda *_: self.step())
            self.hooked = True
        try:
            return self.action(config)
        finally:
            self.ended = time.perf_counter()

    def step(self) -> None:
        """Called behind each optimizer step; counts the first of each job but the first."""
        if self.ended is not None:
            self.gaps_s.append(time.perf_counter() - self.ended)
            self.ended = None


def run_watched(action: Callable[[Any], object], **settings: Any) -> int:
    """As `entry.run`, without the report, and with the gaps at the end."""
    watch = Watch(action)
    status = run(watch, **{**settings, "after_sweep": None})
    print(json.dumps(watch.gaps_s))
    sys.exit(status)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    entry.run = run_watched
    runpy.run_path(sys.argv[0], run_name="__main__")
