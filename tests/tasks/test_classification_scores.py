"""From logits to calibrated logits, probabilities and the score of a defect."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.tasks.classification.inference_model import scale_logits
from capsule_inspection.tasks.classification.post_processor import defect_probabilities


def test_score_is_one_minus_the_probability_of_good() -> None:
    probabilities, score = defect_probabilities(np.zeros((1, 4), np.float32))
    assert probabilities.tolist() == [[0.25] * 4]
    assert score.tolist() == [0.75]


def test_scores_are_precise_where_good_is_nearly_certain() -> None:
    logits = torch.randn(5, 6)
    probabilities, _ = defect_probabilities(logits.numpy())
    assert probabilities.dtype == np.float64
    expected = logits.double().softmax(1).numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=1e-14)
    _, score = defect_probabilities(np.array([[60.0, 0.0], [61.0, 0.0]], np.float32))
    assert 0 < score[1] < score[0]
    assert score[0] / score[1] == pytest.approx(2.718281828, rel=1e-6)


def test_a_row_alone_has_the_scores_that_it_has_among_others() -> None:
    logits = torch.randn(9, 7).numpy()
    together = defect_probabilities(logits)
    for row in range(len(logits)):
        alone = defect_probabilities(logits[row : row + 1])
        assert all((one == of_all[row]).all() for one, of_all in zip(alone, together, strict=True))


def test_logits_are_divided_by_the_temperature_and_the_good_one_is_shifted() -> None:
    scaling = TemperatureScaling(temperature=2.0, good_shift=0.5)
    assert scale_logits(torch.tensor([[2.0, 4.0, -1.0]]), scaling).tolist() == [[1.5, 2.0, -0.5]]
    logits = torch.randn(3, 4)
    assert torch.equal(scale_logits(logits, TemperatureScaling()), logits)
