"""Predictions of an evaluation as arrays: overlap with masks, and the pointing game."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from capsule_inspection.metrics import intervals
from capsule_inspection.tasks.adapter import pointing_metrics
from capsule_inspection.tasks.classification.adapter import ClassificationTask
from capsule_inspection.types import TEST, Estimate, Predictions
from capsule_inspection.workflows.evaluate import overlap_of_images

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


def test_maps_are_compared_with_the_masks_of_their_images() -> None:
    maps = np.zeros((3, 25, 4), np.float16)
    maps[0, PEAK[0], PEAK[1]] = 1  # of image 2
    maps[1, 20, 3] = 1  # of image 1
    maps[2, PEAK[0], PEAK[1]] = 1  # of image 0, which is good

    metrics = pointing_metrics(np.array([2, 1, 0]), maps, data_of(masks_of(0, 1, 2)))

    assert metrics["pointing_game"] == intervals.proportion(1, 2)
    assert metrics["pointing_game/poke"] == intervals.proportion(1, 1)
    assert metrics["pointing_game/crack"] == intervals.proportion(0, 1)
    # One pixel beside the defect is tolerated, and lies on the part.
    assert metrics["pointing_game_chance"] == Estimate(pytest.approx(1 / 50), None, None, 2)
    assert pointing_metrics(np.arange(4), np.ones((4, 25, 4)), data_of(masks_of())) == {}


@pytest.mark.parametrize(("masked", "is_told"), [((1,), True), ((), False), ((0,), False)])
def test_a_network_without_explanations_is_reported_where_masks_are_known(
    masked: tuple[int, ...], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    probabilities = np.full((4, 3), 1 / 3)
    label = np.array([0, 1, 2, 2])
    predictions = Predictions(np.arange(4), label, probabilities, np.ones(4), label)
    task = ClassificationTask(OmegaConf.create({"seed": 0}))
    caplog.set_level(logging.INFO)
    task.metrics(predictions, data_of(masks_of(*masked)), split=TEST)
    assert ("Explanations are not available" in caplog.text) is is_told


def test_overlap_of_an_image_is_that_of_any_defect_and_unknown_without_a_mask() -> None:
    target = np.zeros((4, 4), np.uint8)
    target[:2] = 1
    predicted = np.zeros((4, 4), np.uint8)
    predicted[1:3] = 2  # half of it, as another class
    found = overlap_of_images(np.stack([predicted, predicted]), np.stack([target, target * 0]))
    assert found[0].tolist() == pytest.approx([0.5, 1 / 3])
    assert np.isnan(found[1]).all()
