"""Runs train.py with its arguments and ends the process right after the first optimizer step."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

from capsule_inspection.config import entry

run = entry.run


def run_watched(action: Callable[[Any], object], **settings: Any) -> int:
    """As `entry.run`; registers the hook where train.py imports torch anyway."""

    def watched(config: Any) -> object:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda *_: os._exit(0))
        action(config)
        raise RuntimeError("the training ended without an optimizer step")

    return run(watched, **settings)


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    entry.run = run_watched
    runpy.run_path(sys.argv[0], run_name="__main__")
