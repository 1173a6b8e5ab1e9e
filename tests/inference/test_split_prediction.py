"""Predictions of an evaluation as arrays: explanations, overlap with masks, pointing game."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_inference_models import (
    ANOMALY_DETECTION,
    CLASSIFICATION,
    HEIGHT,
    SEGMENTATION,
    WIDTH,
    build_images,
    build_inference_model,
    build_metadata,
)

from capsule_inspection.data.module import EvaluationBatch
from capsule_inspection.inference.predictor import Predictor, stack
from capsule_inspection.inference.split_prediction import overlap_of_images, predict_split
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.metrics import intervals
from capsule_inspection.tasks.adapter import pointing_metrics
from capsule_inspection.tasks.classification.inference_model import ClassificationInferenceModel
from capsule_inspection.types import IGNORE_INDEX, TEST, Estimate, Predictions

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
        groups=np.array(["a", "b", "c", "d"]),
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


def predict_images(masks: np.ndarray, *, details: bool, task: str = CLASSIFICATION) -> Predictions:
    """Predictions of images 0 to 3 by a small model; the part is the whole crop."""
    backend = TorchBackend(build_inference_model(task), device="cpu", precision="32-true")
    images = [read.image for read in build_images(4) if read.image is not None]
    data = data_of(masks)
    data.evaluation_batches = lambda split, progress=None: [
        EvaluationBatch(np.array(rows), stack([images[row] for row in rows]))
        for rows in ([0, 1], [2, 3])
    ]
    return predict_split(Predictor(build_metadata(task), backend), data, TEST, details=details)


def crop_masks(*numbers: int) -> np.ndarray:
    masks = np.zeros((4, HEIGHT, WIDTH), np.uint8)
    masks[list(numbers), 10:20, 10:20] = 1
    return masks


def test_only_defects_with_a_mask_are_explained_and_only_with_details() -> None:
    found = predict_images(crop_masks(0, 1, 3), details=True).explanations
    assert found is not None
    assert found.index.tolist() == [1, 3]
    assert found.maps.shape == (2, HEIGHT, WIDTH)
    assert predict_images(crop_masks(1), details=False).explanations is None


@pytest.mark.parametrize(
    ("masked", "details", "task", "is_logged"),
    [
        ((1, 3), True, CLASSIFICATION, True),
        ((1, 3), False, CLASSIFICATION, False),
        ((), True, CLASSIFICATION, False),
        ((0,), True, CLASSIFICATION, False),
        ((1, 3), True, ANOMALY_DETECTION, False),
    ],
    ids=["missed", "without details", "without masks", "a good image", "another task"],
)
def test_missing_explanations_are_reported_once_where_they_would_be_compared_with_masks(
    masked: tuple[int, ...],
    details: bool,
    task: str,
    is_logged: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ClassificationInferenceModel, "explain", lambda *given: None)
    caplog.set_level(logging.INFO)
    assert predict_images(crop_masks(*masked), details=details, task=task).explanations is None
    assert caplog.text.count("Explanations are not available") == is_logged


def test_reconstructions_are_details_of_anomaly_detection() -> None:
    found = predict_images(crop_masks(), details=True, task=ANOMALY_DETECTION)
    assert found.reconstruction is not None
    assert found.reconstruction.shape == (4, HEIGHT, WIDTH, 3)
    found = predict_images(crop_masks(), details=False, task=ANOMALY_DETECTION)
    assert found.reconstruction is None


def test_arrays_of_an_evaluation_are_the_predictions_of_its_images() -> None:
    found = predict_images(crop_masks(1), details=True, task=SEGMENTATION)
    backend = TorchBackend(build_inference_model(SEGMENTATION), device="cpu", precision="32-true")
    predictor = Predictor(build_metadata(SEGMENTATION), backend)
    images = [read.image for read in build_images(4) if read.image is not None]
    expected = [
        of_one
        for rows in ([0, 1], [2, 3])
        for of_one in predictor.predict_arrays(stack([images[row] for row in rows]))
        if of_one is not None
    ]
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.label.tolist() == [0, 1, 2, 2]
    assert found.predicted_label.tolist() == [of_one.label for of_one in expected]
    assert found.score.tolist() == [of_one.score for of_one in expected]
    assert found.threshold == expected[0].threshold
    for name in ("probabilities", "anomaly_map", "predicted_mask"):
        of_each = [getattr(of_one, name) for of_one in expected]
        assert np.array_equal(getattr(found, name), np.stack(of_each)), name


def test_overlap_of_an_image_is_that_of_any_defect_and_unknown_without_a_mask() -> None:
    target = np.zeros((4, 4), np.uint8)
    target[:2] = 1
    predicted = np.zeros((4, 4), np.uint8)
    predicted[1:3] = 2  # half of it, as another class
    found = overlap_of_images(np.stack([predicted, predicted]), np.stack([target, target * 0]))
    assert found[0].tolist() == pytest.approx([0.5, 1 / 3])
    assert np.isnan(found[1]).all()
    target[1] = IGNORE_INDEX  # the half that is right
    ignored = np.full((4, 4), IGNORE_INDEX, np.uint8)
    found = overlap_of_images(np.stack([predicted, predicted]), np.stack([target, ignored]))
    assert found[0].tolist() == [0, 0]
    assert np.isnan(found[1]).all()
