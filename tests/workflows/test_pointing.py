"""The pointing game on the images of a run, and what classifiers say where they cannot play it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from capsule_inspection.metrics import intervals
from capsule_inspection.tasks.classification.adapter import _explanations
from capsule_inspection.types import Figure
from capsule_inspection.workflows import pointing

PEAK = (10, 1)


def data_of(masks: np.ndarray) -> Any:
    """Images 0 to 3: good, crack, poke, poke; the part is the right half of 25 times 4 pixels."""
    foregrounds = np.zeros(masks.shape, np.uint8)
    foregrounds[:, :, 2:] = 1
    cache = SimpleNamespace(
        masks=masks,
        foregrounds=foregrounds,
        valid=lambda numbers: np.ones((len(numbers), *masks.shape[1:]), bool),
    )
    return SimpleNamespace(
        dataset=SimpleNamespace(cache=cache),
        labels=np.array([0, 1, 2, 2]),
        index=SimpleNamespace(classes=("good", "crack", "poke")),
    )


def masks_of(*numbers: int) -> np.ndarray:
    masks = np.zeros((4, 25, 4), np.uint8)
    masks[list(numbers), PEAK[0], PEAK[1]] = 2
    return masks


def test_maps_are_held_against_the_masks_of_their_images() -> None:
    maps = np.zeros((3, 25, 4), np.float16)
    maps[0, PEAK[0], PEAK[1]] = 1  # of image 2
    maps[1, 20, 3] = 1  # of image 1
    maps[2, PEAK[0], PEAK[1]] = 1  # of image 0, which is good

    figures = pointing.figures(np.array([2, 1, 0]), maps, data_of(masks_of(0, 1, 2)))

    assert figures["pointing_game"] == intervals.proportion(1, 2)
    assert figures["pointing_game/poke"] == intervals.proportion(1, 1)
    assert figures["pointing_game/crack"] == intervals.proportion(0, 1)
    # One pixel beside the defect is tolerated, and lies on the part.
    assert figures["pointing_game_chance"] == Figure(pytest.approx(1 / 50), None, None, 2)
    assert pointing.figures(np.arange(4), np.ones((4, 25, 4)), data_of(masks_of())) == {}


def test_a_network_that_cannot_be_explained_is_told_where_masks_are_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nothing = {
        "index": torch.arange(4),
        "label": torch.tensor([0, 1, 2, 2]),
        "explained": torch.zeros(0, dtype=torch.int64),
        "explanation": torch.zeros(0, 25, 4).half(),
    }
    caplog.set_level(logging.INFO)
    for masked, told in (((1,), True), ((), False), ((0,), False)):
        caplog.clear()
        assert _explanations(nothing, data_of(masks_of(*masked))) is None
        assert ("cannot be shown" in caplog.text) is told
