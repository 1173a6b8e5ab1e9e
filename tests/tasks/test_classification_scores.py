"""From logits to calibrated logits, probabilities and the score of a defect."""

from __future__ import annotations

import pytest
import torch

from capsule_inspection.metrics.temperature import TemperatureScaling
from capsule_inspection.tasks.classification.inference_model import scale_logits
from capsule_inspection.tasks.classification.post_processor import defect_probabilities


def test_score_is_one_minus_the_probability_of_good() -> None:
    probabilities, score = defect_probabilities(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
    assert probabilities.tolist() == [[0.25] * 4]
    assert score.tolist() == [0.75]


def test_scores_are_precise_where_good_is_nearly_certain() -> None:
    probabilities, _ = defect_probabilities(torch.randn(5, 6))
    assert probabilities.dtype == torch.float64
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5, dtype=torch.float64))
    _, score = defect_probabilities(torch.tensor([[60.0, 0.0], [61.0, 0.0]]))
    assert 0 < score[1] < score[0]
    assert (score[0] / score[1]).item() == pytest.approx(2.718281828, rel=1e-6)


def test_logits_are_divided_by_the_temperature_and_the_good_one_is_shifted() -> None:
    scaling = TemperatureScaling(temperature=2.0, good_shift=0.5)
    assert scale_logits(torch.tensor([[2.0, 4.0, -1.0]]), scaling).tolist() == [[1.5, 2.0, -0.5]]
    logits = torch.randn(3, 4)
    assert torch.equal(scale_logits(logits, TemperatureScaling()), logits)
