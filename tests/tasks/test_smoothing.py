"""The smoothed figure is unbiased at its start and can be put away and taken up again."""

from __future__ import annotations

import pytest

from capsule_inspection.tasks.smoothing import SmoothedFigure


def test_the_first_value_is_itself() -> None:
    assert SmoothedFigure(0.7).update(0.4) == pytest.approx(0.4)


def test_a_case_by_hand() -> None:
    figure = SmoothedFigure(0.5)
    figure.update(1.0)
    assert figure.update(0.0) == pytest.approx(0.25 / 0.75)


def test_no_past_means_the_value_itself() -> None:
    figure = SmoothedFigure(0.0)
    assert [figure.update(value) for value in (0.3, 0.9)] == pytest.approx([0.3, 0.9])


def test_it_goes_on_from_its_state() -> None:
    whole, first, second = SmoothedFigure(0.7), SmoothedFigure(0.7), SmoothedFigure(0.7)
    for value in (0.1, 0.5):
        whole.update(value)
        first.update(value)
    second.restore(first.state())
    assert second.update(0.8) == whole.update(0.8)
