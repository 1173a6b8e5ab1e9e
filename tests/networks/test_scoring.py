"""Probabilities and scores against hand-computed cases."""

from __future__ import annotations

import pytest
import torch

from capsule_inspection.networks.scoring import classification_scores, scaled_logits


def test_score_is_one_minus_the_probability_of_good() -> None:
    probabilities, score = classification_scores(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
    assert probabilities.tolist() == [[0.25] * 4]
    assert score.tolist() == [0.75]


def test_rows_sum_to_one_from_bfloat16_logits_too() -> None:
    probabilities, _ = classification_scores(torch.randn(5, 6).bfloat16())
    assert probabilities.dtype == torch.float64
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5, dtype=torch.float64))


def test_scores_stay_apart_where_good_is_nearly_certain() -> None:
    _, score = classification_scores(torch.tensor([[60.0, 0.0], [61.0, 0.0]]))
    assert 0 < score[1] < score[0]
    assert (score[0] / score[1]).item() == pytest.approx(2.718281828, rel=1e-6)


def test_logits_are_divided_and_good_is_raised() -> None:
    scaled = scaled_logits(torch.tensor([[2.0, 4.0, -1.0]]), temperature=2.0, good_shift=0.5)
    assert scaled.tolist() == [[1.5, 2.0, -0.5]]


def test_scaling_by_one_and_nothing_changes_nothing_and_is_exact_enough() -> None:
    logits = torch.randn(3, 4).bfloat16()
    scaled = scaled_logits(logits, temperature=1.0, good_shift=0.0)
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled, logits.float())
    assert scaled_logits(logits.double(), temperature=1.0, good_shift=0.0).dtype == torch.float64
