"""Thresholds and decisions that the page of app.py displays."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.tasks.anomaly_detection.post_processor import AnomalyDetectionPostProcessor
from capsule_inspection.tasks.classification.post_processor import ClassificationPostProcessor
from capsule_inspection.workflows.app_predictions import decide, make_slider

CLASSES = ("good", "crack", "poke")
VALID = np.ones((1, 1), bool)


def test_a_decision_by_another_threshold_is_that_of_the_post_processors():
    for logits in np.random.default_rng(0).normal(0, 2, (20, 3)):
        for value in (0.0, 0.1, 0.5, 0.9, 1.0):
            own, other = (
                ClassificationPostProcessor(CLASSES, Threshold(of, "given")) for of in (0.3, value)
            )
            row = row_of(own({"logits": logits}, valid=VALID), CLASSES)
            expected = row_of(other({"logits": logits}, valid=VALID), CLASSES)
            assert decide(row, value, CLASSES) == expected
            at_its_score = decide(row, row["score"], CLASSES)
            assert at_its_score["predicted_label"] == "good"  # a defect is above the threshold
    for value in (0.1, 0.5):
        own, other = (
            AnomalyDetectionPostProcessor(("good", "defect"), Threshold(of, "given"))
            for of in (0.3, value)
        )
        outputs = {"score": np.float32(0.4), "anomaly_map": np.zeros((1, 1), np.float32)}
        row, expected = (
            row_of(of(outputs, valid=VALID), ("good", "defect")) for of in (own, other)
        )
        assert decide(row, value, ("good", "defect")) == expected
    unreadable = {"score": None, "threshold": None, "is_defect": None}
    assert decide(unreadable, 0.5, CLASSES) == unreadable


def row_of(prediction: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    of_classes = prediction.probabilities
    return {
        "score": prediction.score,
        "threshold": prediction.threshold,
        "predicted_label": classes[prediction.label],
        "is_defect": prediction.label != 0,
        "probabilities": None
        if of_classes is None
        else dict(zip(classes, of_classes, strict=True)),
    }


@pytest.mark.parametrize(
    ("own", "scores", "is_probability", "limits", "digits"),
    [
        (0.335025, (), True, (0, 1), 3),
        (0.0021, (0.1, 0.9), True, (0, 1), 5),
        (0.0, (0.2, 0.7), True, (0, 1), 3),
        (0.0, (), True, (0, 1), 2),
        (0.5, (0.4998, 0.5002), False, (0.499799, 0.500201), 6),
        (30.0, (10.0, 250.0), False, (9, 251), 0),
        (3.0, (), False, (1.49, 4.51), 2),
        (0.0, (0.0,), False, (-0.51, 0.51), 2),
    ],
)
def test_a_slider_has_the_scores_of_the_test_in_steps_that_distinguish_them(
    own: float,
    scores: tuple[float, ...],
    is_probability: bool,
    limits: tuple[float, float],
    digits: int,
) -> None:
    slider = make_slider(own, scores=scores, is_probability=is_probability)
    assert (slider.own, slider.low, slider.high, slider.digits) == (own, *limits, digits)
    assert all(slider.has(value) for value in (own, *scores, *limits))
    for value in (limits[0] - 1, limits[1] + 1, float("nan"), 10**400, True, None, "0.5", [own]):
        assert not slider.has(value)


def test_the_page_imports_no_torch_and_its_command_no_gradio() -> None:
    pytest.importorskip("gradio")
    code = (
        "import sys; from capsule_inspection.workflows import app\n"
        "assert not {'torch', 'gradio', 'numpy'} & set(sys.modules)\n"
        "from capsule_inspection.workflows import app_page, app_predictions, app_server\n"
        "assert not {'torch', 'lightning', 'timm', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
