"""From the outputs of an inference model to a prediction, by hand and without a network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from capsule_inspection import tasks
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.tasks.anomaly_detection.post_processor import AnomalyDetectionPostProcessor
from capsule_inspection.tasks.classification.post_processor import ClassificationPostProcessor
from capsule_inspection.tasks.post_processor import (
    PostProcessor,
    Prediction,
    post_processor_type,
    to_float16,
)
from capsule_inspection.tasks.segmentation.post_processor import SegmentationPostProcessor
from capsule_inspection.types import ConfigurationError

CLASSES = ("good", "crack", "poke")
BINARY = ("good", "defect")
SIZE = (20, 40)
VALID = np.ones(SIZE, bool)
VALID[15:] = False  # the last rows are padding
MASK = MaskPostProcessor(0.25, 0.5, 8, good_images=3, defect_images=2)
THRESHOLD = Threshold(2.0, "conformal", good_images=20, target_fpr=0.05)
OPERATING_POINT = Threshold(0.5, "operating_point", 35, 17, criterion="balanced_error")


def classify(*probabilities: float, threshold: float | None = 0.5) -> Prediction:
    logits = np.log(np.array(probabilities, np.float32))
    post_processor = ClassificationPostProcessor(CLASSES, replace(OPERATING_POINT, value=threshold))
    return post_processor({"logits": logits}, valid=VALID)


def detect(score: float, *, threshold: float = 2.0) -> Prediction:
    post_processor = AnomalyDetectionPostProcessor(BINARY, Threshold(threshold, "conformal", 20))
    outputs = {"anomaly_map": np.full(SIZE, 0.1, np.float32), "score": np.float64(score)}
    return post_processor(outputs, valid=VALID)


def segment(
    probability: float = 0.9, *, is_binary: bool = False, mask: MaskPostProcessor = MASK
) -> Prediction:
    """A region of 4 by 10 pixels of the last class, and a certain one on padding."""
    classes = BINARY if is_binary else CLASSES
    foreground = np.zeros(SIZE, np.float32)
    foreground[2:6, 10:20] = probability
    foreground[16:, 30:] = 1.0
    class_probabilities = np.zeros((len(classes) - 1, *SIZE), np.uint8)
    class_probabilities[-1] = 255
    outputs = {"foreground": foreground, "class_probabilities": class_probabilities}
    return SegmentationPostProcessor(classes, mask, is_binary=is_binary)(outputs, valid=VALID)


def test_a_classifier_predicts_the_most_probable_class_and_scores_all_defects() -> None:
    prediction = classify(0.2, 0.5, 0.3)
    assert CLASSES[prediction.label] == "crack"
    assert prediction.probabilities == pytest.approx([0.2, 0.5, 0.3])
    assert prediction.probabilities.dtype == np.float64
    assert prediction.score == pytest.approx(0.8)
    assert prediction.threshold == 0.5
    assert prediction.anomaly_map is prediction.predicted_mask is None


@pytest.mark.parametrize(
    ("threshold", "label"), [(0.5, 2), (0.549, 2), (0.551, 0), (1.0, 0), (0.0, 2), (None, 0)]
)
def test_the_probability_of_any_defect_decides_and_the_most_probable_defect_is_named(
    threshold: float | None, label: int
) -> None:
    prediction = classify(0.45, 0.2, 0.35, threshold=threshold)
    assert prediction.label == label
    assert prediction.score == pytest.approx(0.55)
    assert prediction.threshold == threshold


def test_a_low_threshold_names_a_defect_that_is_less_probable_than_good() -> None:
    assert CLASSES[classify(0.9, 0.06, 0.04, threshold=0.05).label] == "crack"


def test_a_score_at_the_threshold_is_good() -> None:
    score = classify(0.5, 0.25, 0.25).score
    assert classify(0.5, 0.25, 0.25, threshold=score).label == 0
    assert classify(0.5, 0.25, 0.25, threshold=np.nextafter(score, 0)).label == 1


@pytest.mark.parametrize(("score", "label"), [(2.0, 0), (np.nextafter(2.0, 3.0), 1), (0.0, 0)])
def test_anomaly_detection_rejects_what_exceeds_its_threshold(score: float, label: int) -> None:
    prediction = detect(score)
    assert (prediction.label, prediction.score, prediction.threshold) == (label, score, 2.0)
    assert prediction.probabilities is prediction.predicted_mask is None


def test_a_threshold_is_not_rounded_to_the_type_of_the_score() -> None:
    between = 0.1 + 1e-10  # the float32 next to it is larger
    assert detect(0.1, threshold=between).label == 0
    post_processor = AnomalyDetectionPostProcessor(BINARY, Threshold(between, "conformal", 20))
    outputs = {"anomaly_map": np.zeros(SIZE, np.float32), "score": np.float32(between)}
    assert post_processor(outputs, valid=VALID).label == 1


def test_maps_are_rounded_to_what_a_run_folder_stores() -> None:
    for prediction, value in ((detect(1.0), 0.1), (segment(0.7), 0.7)):
        assert prediction.anomaly_map.dtype == np.float16
        assert prediction.anomaly_map[3, 12] == np.float16(np.float32(value))


def test_segmentation_finds_regions_and_none_on_padding() -> None:
    prediction = segment()
    (region,) = prediction.regions
    assert (region.label, region.area_px, region.box) == (2, 40, (10, 2, 20, 6))
    assert region.probability == pytest.approx(0.9, abs=1e-3)
    assert prediction.label == 2
    assert prediction.predicted_mask.dtype == np.uint8
    assert np.count_nonzero(prediction.predicted_mask) == 40
    assert set(prediction.predicted_mask[2:6, 10:20].flat) == {2}
    assert not prediction.anomaly_map[~VALID].any()


def test_the_score_of_a_segmentation_exceeds_its_threshold_where_there_is_a_region() -> None:
    for probability, label in ((0.5, 0), (0.501, 2)):  # not above the threshold, and above it
        prediction = segment(probability)
        assert prediction.label == label
        assert len(prediction.regions) == (label > 0)
        assert (prediction.score > prediction.threshold) == (label > 0)
        assert prediction.score == np.float16(probability)
    too_small = segment(mask=MaskPostProcessor(0.25, 0.5, 41))
    assert (too_small.label, too_small.score, list(too_small.regions)) == (0, 0.0, [])


def test_probabilities_of_a_segmentation_sum_to_one_and_agree_with_its_label() -> None:
    for probability in (0.3, 0.9):
        prediction = segment(probability)
        assert prediction.probabilities.sum() == pytest.approx(1)
        assert prediction.probabilities.argmax() == prediction.label


def test_a_binary_segmentation_predicts_a_defect_and_no_probabilities() -> None:
    prediction = segment(is_binary=True)
    assert prediction.label == 1
    assert [region.label for region in prediction.regions] == [1]
    assert prediction.probabilities is None


POST_PROCESSORS: dict[str, PostProcessor] = {
    "classification": ClassificationPostProcessor(CLASSES, OPERATING_POINT),
    "anomaly_detection": AnomalyDetectionPostProcessor(BINARY, THRESHOLD),
    "segmentation": SegmentationPostProcessor(CLASSES, MASK, is_binary=False),
}


def test_every_task_has_its_post_processor_here() -> None:
    assert sorted(POST_PROCESSORS) == tasks.names()
    for name, post_processor in POST_PROCESSORS.items():
        assert post_processor_type(name, where="here") is type(post_processor)


@pytest.mark.parametrize("task", POST_PROCESSORS)
def test_a_post_processor_is_equal_after_json(task: str) -> None:
    post_processor = POST_PROCESSORS[task]
    state: dict[str, Any] = json.loads(json.dumps(post_processor.state_dict()))
    restored = type(post_processor).from_state_dict(state, classes=post_processor.classes)
    assert vars(restored) == vars(post_processor)
    assert state == restored.state_dict()


@pytest.mark.parametrize("task", ["classification", "anomaly_detection"])
def test_another_threshold_replaces_that_of_the_run(task: str) -> None:
    post_processor = POST_PROCESSORS[task]
    given = Threshold(0.25, "given", target_fpr=post_processor.threshold.target_fpr)
    changed = post_processor.with_threshold(Threshold(0.25, "given"))
    assert (vars(changed), type(changed)) == (
        {"classes": post_processor.classes, "threshold": given},
        type(post_processor),
    )
    assert vars(post_processor)["threshold"] != given


def test_the_thresholds_of_a_mask_cannot_be_replaced_by_one() -> None:
    with pytest.raises(ConfigurationError, match=r"threshold=0\.25: .* Remove it\.$"):
        POST_PROCESSORS["segmentation"].with_threshold(Threshold(0.25, "given"))


@pytest.mark.parametrize("task", ["classification", "anomaly_detection", "segmentation"])
def test_a_damaged_state_is_refused(task: str) -> None:
    post_processor = POST_PROCESSORS[task]
    state = post_processor.state_dict()
    for damaged in ({}, {**state, "other": 1}):
        with pytest.raises((KeyError, TypeError)):
            type(post_processor).from_state_dict(damaged, classes=post_processor.classes)


def test_maps_are_rounded_to_float16_as_torch_rounds_them() -> None:
    smallest, below = 2.0**-24, np.geomspace(1e-12, 1e-3, 999)
    ties = smallest * np.array([0.5, 1.5, 2.5, 1023.5, 1024.5])
    values = np.concatenate([below, -below, ties, [0.0, -0.0, 1.0, 65504.0]]).astype(np.float32)
    rounded = to_float16(values)
    assert rounded.dtype == np.float16
    expected = torch.from_numpy(values).half().numpy()
    assert (rounded.view(np.uint16) == expected.view(np.uint16)).all()
