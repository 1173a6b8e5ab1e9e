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


def compared(task: str, expected: Outputs, found: Outputs) -> Parity:
    """The parity of one image; the threshold is 2, pixels are marked above 0.9 and 0.8."""
    parity = Parity(description_of(task))
    (read,) = reads_of(1)
    assert read.prepared is not None
    parity.add(expected, found, read.prepared, path="a.png")
    return parity


def logits(*values: float) -> dict[str, np.ndarray]:
    return {"logits": np.array(values, np.float32)}


def judged(score: float, *, map_value: float = 0.0) -> dict[str, np.ndarray]:
    return {"map": np.full(SIZE, map_value, np.float32), "score": np.float32(score)}


def marked(probability: float, *, kind: int = 1) -> dict[str, np.ndarray]:
    """A square of 6 pixels a side with a probability."""
    foreground = np.zeros(SIZE, np.float32)
    foreground[10:16, 10:16] = probability
    kinds = np.zeros((3, *SIZE), np.uint8)
    kinds[kind - 1] = 255
    return {"foreground": foreground, "kinds": kinds}


def test_equal_outputs_are_equal() -> None:
    for task, outputs in (
        (CLASSIFICATION, logits(1, 2, 3, 4)),
        (RECONSTRUCTION, judged(3)),
        (SEGMENTATION, marked(0.95)),
    ):
        parity = compared(task, outputs, outputs)
        assert parity.objections() == []
        assert not parity.ties
        assert parity.pixels == 0


def test_the_tolerance_is_a_share_of_the_outputs_scale() -> None:
    expected = logits(0, 0, 50, 0)
    assert not compared(CLASSIFICATION, expected, logits(0, 0, 50.004, 0)).objections()
    (objection,) = compared(CLASSIFICATION, expected, logits(0, 0, 50.006, 0)).objections()
    assert objection.startswith("logits differs by 0.006")
    assert "a.png" in objection


def test_scores_below_the_threshold_are_measured_against_it() -> None:
    assert not compared(RECONSTRUCTION, judged(0.01), judged(0.01015)).objections()
    assert compared(RECONSTRUCTION, judged(0.01), judged(0.0103)).objections()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_too_different(wrong: float) -> None:
    assert compared(CLASSIFICATION, logits(1, 2, 3, 4), logits(1, 2, 3, wrong)).objections()
    assert compared(RECONSTRUCTION, judged(1), judged(1, map_value=wrong)).objections()


def test_an_output_of_another_size_is_too_different() -> None:
    assert compared(CLASSIFICATION, logits(1, 2, 3, 4), logits(1, 2, 3)).objections()


def test_two_classes_that_are_equally_probable_are_a_tie() -> None:
    parity = compared(CLASSIFICATION, logits(0, 1, 1 + 1e-5, 0), logits(0, 1 + 1e-5, 1, 0))
    assert parity.ties == ["a.png"]
    assert parity.objections() == []


def test_a_score_at_the_threshold_is_a_tie() -> None:
    parity = compared(RECONSTRUCTION, judged(2 - 1e-5), judged(2 + 1e-5))
    assert parity.ties == ["a.png"]
    assert parity.objections() == []


def test_pixels_at_the_threshold_are_a_tie_and_counted() -> None:
    # In half precision, in which pixels are marked, these are the neighbours of 0.9.
    parity = compared(SEGMENTATION, marked(0.90011), marked(0.90018))
    assert not parity.objections()
    assert parity.ties == ["a.png"]
    assert parity.pixels == 36
    below, above = marked(0.8999), marked(0.9002)
    tied = compared(SEGMENTATION, below, above)
    assert tied.objections(), "twice the tolerance is no tie"


def test_another_kind_of_defect_is_another_answer() -> None:
    parity = compared(SEGMENTATION, marked(0.95), marked(0.95, kind=2))
    (objection,) = parity.objections()
    assert objection.startswith("kinds differs by 1")


def test_a_step_of_rounding_is_no_other_kind() -> None:
    outputs = marked(0.95)
    moved = {**outputs, "kinds": np.where(outputs["kinds"] > 0, 254, 1).astype(np.uint8)}
    assert not compared(SEGMENTATION, outputs, moved).objections()


def test_kinds_of_pixels_that_show_nothing_do_not_matter() -> None:
    assert not compared(SEGMENTATION, marked(0.005), marked(0.005, kind=2)).objections()


def test_the_worst_image_is_named() -> None:
    parity = Parity(description_of(CLASSIFICATION))
    (read,) = reads_of(1)
    assert read.prepared is not None
    for number, difference in enumerate((1e-5, 5e-3, 1e-6)):
        found = logits(1 + difference, 2, 3, 4)
        parity.add(logits(1, 2, 3, 4), found, read.prepared, path=f"{number}.png")
    assert parity.differences["logits"].path == "1.png"
    assert parity.differences["logits"].allowed == pytest.approx(4 * TOLERANCE)
    assert len(parity.objections()) == 1
