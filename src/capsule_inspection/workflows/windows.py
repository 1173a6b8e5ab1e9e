"""How much of an image is shown in training, and from when on all of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from omegaconf import DictConfig

from capsule_inspection.models.base import Network
from capsule_inspection.workflows.inputs import sees_tiles

log = logging.getLogger(__name__)

AUTO = "auto"
_WINDOWS_FIRST = 0.5
"""Share of the epochs that `task.whole_from=auto` gives to windows, where all is to be learnt."""
_EPOCHS_FROM_RANDOM = 90
"""What was measured where all is to be learnt; with 30, marks were poor (docs/experiments.md)."""


def epochs_of(config: DictConfig) -> int:
    """Epochs of a training; those of the task where steps or time limit it instead."""
    most = config.trainer.max_epochs
    return int(config.task.epochs if most is None or most < 0 else most)


def window_of(window: Sequence[int] | None, image_size: Sequence[int]) -> tuple[int, int] | None:
    """The part of an image that is shown in training, None for the whole; never larger than it."""
    if window is None:
        return None
    return min(window[0], image_size[0]), min(window[1], image_size[1])


def shown_first(config: DictConfig) -> tuple[int, int] | None:
    """What of an image is shown in training at first: a tile, where images are seen in tiles."""
    part = config.data.tile if sees_tiles(config.data) else config.task.get("window")
    return window_of(part, config.data.image_size)


def seen_sizes(config: DictConfig) -> list[list[int]]:
    """The sizes (height, width) of what a network is shown, in training and in use."""
    size, window = list(config.data.image_size), shown_first(config)
    if window is None:
        return [size]
    if sees_tiles(config.data) or config.task.get("whole_from") == 1:
        return [list(window)]
    return [list(window), size]


def settle(config: DictConfig, network: Network) -> bool:
    """Decide, in place, what `task.whole_from=auto` leaves to the first weights; whether it did.

    A network that has learnt to mark whole images already unlearns it while windows are shown. One
    that has not needs more epochs than the default has, and that is said.
    """
    if config.task.get("whole_from") != AUTO:
        return False
    config.task.whole_from = 0.0 if network.has_learnt else _WINDOWS_FIRST
    if not network.has_learnt and epochs_of(config) < _EPOCHS_FROM_RANDOM:
        log.warning(
            "task.epochs=%d: few for first weights that cannot mark yet, such as these. Expected "
            "task.epochs=%d or more, or model.weights=painted where the project brings some.",
            epochs_of(config),
            _EPOCHS_FROM_RANDOM,
        )
    return True


def whole_from(config: DictConfig) -> int | None:
    """The epoch from which on whole images are shown; None where they never are.

    Only once `task.whole_from` is settled.
    """
    share = config.task.get("whole_from", 0.0)
    if sees_tiles(config.data) or share == 1:
        return None
    return round(share * epochs_of(config))


def judged_from(config: DictConfig) -> int:
    """The first epoch that is compared with others to find the best.

    Before it a segmentation network is shown windows, and judged on whole images all the same.
    """
    return (whole_from(config) or 0) if config.task.name == "segmentation" else 0
