"""When does an exported model say something else than its run?"""

from __future__ import annotations

import numpy as np
import pytest
from small_inspectors import HEIGHT, WIDTH, description_of, reads_of

from capsule_inspection.inference.description import (
    CLASSIFICATION,
    RECONSTRUCTION,
    SEGMENTATION,
)
from capsule_inspection.inference.parity import TOLERANCE, Outputs, Parity

SIZE = (HEIGHT, WIDTH)


def compared(task: str, *pairs: tuple[Outputs, Outputs]) -> Parity:
    """The parity of images 0.png on; the threshold is 2, pixels are marked above 0.9 and 0.8."""
    parity = Parity(description_of(task))
    (read,) = reads_of(1)
    for number, (expected, found) in enumerate(pairs):
        parity.add(expected, found, read.prepared, path=f"{number}.png")
    return parity


def logits(*values: float) -> dict[str, np.ndarray]:
    return {"logits": np.array(values, np.float32)}


def judged(score: float, *, map_value: float = 0.0) -> dict[str, np.ndarray]:
    return {"map": np.full(SIZE, map_value, np.float32), "score": np.float32(score)}


def marked(probability: float, *, kind: int = 1, share: int = 255) -> dict[str, np.ndarray]:
    """A square of 6 pixels a side with a probability."""
    foreground = np.zeros(SIZE, np.float32)
    foreground[10:16, 10:16] = probability
    kinds = np.full((3, *SIZE), 255 - share, np.uint8)
    kinds[kind - 1] = share
    return {"foreground": foreground, "kinds": kinds}


SAME = {
    "equal logits": (CLASSIFICATION, logits(1, 2, 3, 4), logits(1, 2, 3, 4)),
    "equal scores": (RECONSTRUCTION, judged(3), judged(3)),
    "equal marks": (SEGMENTATION, marked(0.95), marked(0.95)),
    "a share of the scale": (CLASSIFICATION, logits(0, 0, 50, 0), logits(0, 0, 50.004, 0)),
    "a share of the threshold": (RECONSTRUCTION, judged(0.01), judged(0.01015)),
    "a step of rounding": (SEGMENTATION, marked(0.95), marked(0.95, share=254)),
    "kinds of nothing": (SEGMENTATION, marked(0.005), marked(0.005, kind=2)),
}
DIFFERENT = {
    "more than a share of the scale": (SAME["a share of the scale"][1], logits(0, 0, 50.006, 0)),
    "more than a share of the threshold": (judged(0.01), judged(0.0103)),
    "a logit that is no number": (logits(1, 2, 3, 4), logits(1, 2, 3, np.nan)),
    "an infinite logit": (logits(1, 2, 3, 4), logits(1, 2, 3, np.inf)),
    "a map of no numbers": (judged(1), judged(1, map_value=np.nan)),
    "an infinite map": (judged(1), judged(1, map_value=np.inf)),
    "another size": (logits(1, 2, 3, 4), logits(1, 2, 3)),
    "twice the tolerance at the threshold": (marked(0.8999), marked(0.9002)),
    "another kind": (marked(0.95), marked(0.95, kind=2)),
}


@pytest.mark.parametrize("case", SAME)
def test_what_differs_within_the_tolerance_is_the_same(case: str) -> None:
    task, expected, found = SAME[case]
    parity = compared(task, (expected, found))
    assert (parity.objections(), parity.ties, parity.pixels) == ([], [], 0)


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_differs_more_is_objected_to(case: str) -> None:
    pair = DIFFERENT[case]
    tasks = {"logits": CLASSIFICATION, "map": RECONSTRUCTION, "foreground": SEGMENTATION}
    (objection,) = compared(tasks[next(iter(pair[0]))], pair).objections()
    assert "0.png" in objection
    if case == "more than a share of the scale":
        assert objection.startswith("logits differs by 0.006")
    if case == "another kind":
        assert objection.startswith("kinds differs by 1")


@pytest.mark.parametrize(
    ("task", "expected", "found", "pixels"),
    [
        (CLASSIFICATION, logits(0, 1, 1 + 1e-5, 0), logits(0, 1 + 1e-5, 1, 0), 0),
        (RECONSTRUCTION, judged(2 - 1e-5), judged(2 + 1e-5), 0),
        # In half precision, in which pixels are marked, these are the neighbours of 0.9.
        (SEGMENTATION, marked(0.90011), marked(0.90018), 36),
    ],
)
def test_what_lies_at_the_threshold_is_a_tie(
    task: str, expected: Outputs, found: Outputs, pixels: int
) -> None:
    parity = compared(task, (expected, found))
    assert (parity.objections(), parity.ties, parity.pixels) == ([], ["0.png"], pixels)


def test_the_worst_image_is_named() -> None:
    pairs = [(logits(1, 2, 3, 4), logits(1 + by, 2, 3, 4)) for by in (1e-5, 5e-3, 1e-6)]
    parity = compared(CLASSIFICATION, *pairs)
    assert parity.differences["logits"].path == "1.png"
    assert parity.differences["logits"].allowed == pytest.approx(4 * TOLERANCE)
    assert len(parity.objections()) == 1
