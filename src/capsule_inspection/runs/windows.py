"""How much of an image is shown in training, and from when on all of it."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig


def epochs_of(config: DictConfig) -> int:
    """Epochs of a training; those of the task where steps or time limit it instead."""
    most = config.trainer.max_epochs
    return int(config.task.epochs if most is None or most < 0 else most)


def window_of(window: Sequence[int] | None, image_size: Sequence[int]) -> tuple[int, int] | None:
    """The part of an image that is shown in training, None for the whole; never larger than it."""
    if window is None:
        return None
    return min(window[0], image_size[0]), min(window[1], image_size[1])
