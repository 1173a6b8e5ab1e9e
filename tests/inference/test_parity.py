"""When an exported model differs from its run, and when a difference is rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_inference_models import (
    ANOMALY_DETECTION,
    CLASSIFICATION,
    HEIGHT,
    SEGMENTATION,
    WIDTH,
    build_metadata,
)

from capsule_inspection.inference.parity import TOLERANCE, Outputs, Parity

SIZE = (HEIGHT, WIDTH)
GOOD = math.log(4.5)


def compare(task: str, *pairs: tuple[Outputs, Outputs]) -> Parity:
    """The parity of images 0.png on; the threshold of anomaly scores is 2, that of probabilities
    0.4, and pixels are defects above 0.9 and 0.8."""
    parity = Parity(build_metadata(task).post_processor())
    for number, (expected, found) in enumerate(pairs):
        parity.add(expected, found, valid=np.ones(SIZE, bool), path=f"{number}.png")
    return parity


def logits(*values: float) -> dict[str, np.ndarray]:
    return {"logits": np.array(values, np.float32)}


def scored(score: float, *, map_value: float = 0.0) -> dict[str, np.ndarray]:
    return {"anomaly_map": np.full(SIZE, map_value, np.float32), "score": np.float64(score)}


def segmented(probability: float, *, label: int = 1, part: int = 255) -> dict[str, np.ndarray]:
    """A square of 6 pixels a side with a probability; `part` of 255 of it is that of the label."""
    foreground = np.zeros(SIZE, np.float32)
    foreground[10:16, 10:16] = probability
    class_probabilities = np.full((3, *SIZE), 255 - part, np.uint8)
    class_probabilities[label - 1] = part
    return {"foreground": foreground, "class_probabilities": class_probabilities}


SAME = {
    "equal logits": (CLASSIFICATION, logits(1, 2, 3, 4), logits(1, 2, 3, 4)),
    "equal scores": (ANOMALY_DETECTION, scored(3), scored(3)),
    "equal masks": (SEGMENTATION, segmented(0.95), segmented(0.95)),
    "a fraction of the scale": (CLASSIFICATION, logits(0, 0, 50, 0), logits(0, 0, 50.004, 0)),
    "a fraction of one": (CLASSIFICATION, logits(0, 0, 0.5, 0), logits(0, 0, 0.50009, 0)),
    "a fraction of the threshold": (ANOMALY_DETECTION, scored(0.01), scored(0.01015)),
    "a step of rounding": (SEGMENTATION, segmented(0.95), segmented(0.95, part=254)),
    "class of background": (SEGMENTATION, segmented(0.005), segmented(0.005, label=2)),
}
DIFFERENT = {
    "more than the fraction of the scale": (
        SAME["a fraction of the scale"][1],
        logits(0, 0, 50.006, 0),
    ),
    "more than the fraction of the threshold": (scored(0.01), scored(0.0103)),
    "a logit that is NaN": (logits(1, 2, 3, 4), logits(1, 2, 3, np.nan)),
    "an infinite logit": (logits(1, 2, 3, 4), logits(1, 2, 3, np.inf)),
    "a map of NaN": (scored(1), scored(1, map_value=np.nan)),
    "an infinite map": (scored(1), scored(1, map_value=np.inf)),
    "another size": (logits(1, 2, 3, 4), logits(1, 2, 3)),
    "twice the tolerance at the threshold": (segmented(0.8999), segmented(0.9002)),
    "another class": (segmented(0.95), segmented(0.95, label=2)),
}


@pytest.mark.parametrize("case", SAME)
def test_differences_within_the_tolerance_are_accepted(case: str) -> None:
    task, expected, found = SAME[case]
    parity = compare(task, (expected, found))
    assert (parity.errors(), parity.ties, parity.pixels) == ([], [], 0)


@pytest.mark.parametrize("case", DIFFERENT)
def test_larger_differences_are_errors(case: str) -> None:
    pair = DIFFERENT[case]
    tasks = {
        "logits": CLASSIFICATION,
        "anomaly_map": ANOMALY_DETECTION,
        "foreground": SEGMENTATION,
    }
    (error,) = compare(tasks[next(iter(pair[0]))], pair).errors()
    assert "0.png" in error
    if case == "more than the fraction of the scale":
        assert error.startswith("logits differs by 0.006")
    if case == "another class":
        assert error.startswith("class_probabilities differs by 1")


@pytest.mark.parametrize(
    ("task", "expected", "found", "pixels"),
    [
        (CLASSIFICATION, logits(0, 1, 1 + 1e-5, 0), logits(0, 1 + 1e-5, 1, 0), 0),
        # The threshold is 0.4: good is 1.5 times as probable as the three defects together.
        (CLASSIFICATION, logits(GOOD + 1e-5, 0, 0, 0), logits(GOOD - 1e-5, 0, 0, 0), 0),
        (CLASSIFICATION, logits(GOOD - 1e-5, 0, 0, 0), logits(GOOD + 1e-5, 0, 0, 0), 0),
        (ANOMALY_DETECTION, scored(2 - 1e-5), scored(2 + 1e-5), 0),
        # In half precision, in which pixels are decided, these are the neighbours of 0.9.
        (SEGMENTATION, segmented(0.90011), segmented(0.90018), 36),
    ],
)
def test_outputs_at_the_threshold_are_ties(
    task: str, expected: Outputs, found: Outputs, pixels: int
) -> None:
    parity = compare(task, (expected, found))
    assert (parity.errors(), parity.ties, parity.pixels) == ([], ["0.png"], pixels)


def test_the_worst_image_is_named() -> None:
    pairs = [(logits(1, 2, 3, 4), logits(1 + by, 2, 3, 4)) for by in (1e-5, 5e-3, 1e-6)]
    parity = compare(CLASSIFICATION, *pairs)
    assert parity.differences["logits"].path == "1.png"
    assert parity.differences["logits"].allowed == pytest.approx(4 * TOLERANCE)
    assert len(parity.errors()) == 1
