"""Runs a sweep of train.py; prints the seconds from the end of each job to the next first step."""

from __future__ import annotations

import json
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

from capsule_inspection.config import entry

run = entry.run


class GapTimer:
    """The task function; measures the time from the end of a job to the next first step."""

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
        """Called after each optimizer step; records the first step of each further job."""
        if self.ended is not None:
            self.gaps_s.append(time.perf_counter() - self.ended)
            self.ended = None


def run_watched(action: Callable[[Any], object], **settings: Any) -> int:
    """As `entry.run`, without the report; prints the gaps last."""
    timer = GapTimer(action)
    status = run(timer, **{**settings, "after_sweep": None})
    print(json.dumps(timer.gaps_s))
    sys.exit(status)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    entry.run = run_watched
    runpy.run_path(sys.argv[0], run_name="__main__")
