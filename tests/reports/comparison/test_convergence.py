from __future__ import annotations

import numpy as np

from capsule_inspection.reports.comparison.convergence import converged_at


def test_a_course_that_rises_and_stays_converges_where_it_arrives() -> None:
    values = np.concatenate([np.linspace(0, 1, 20), np.ones(40)])
    assert 17 <= (converged_at(values) or 0) <= 22


def test_a_course_that_still_rises_at_the_end_has_not_converged() -> None:
    assert converged_at(np.linspace(0, 1, 60)) is None


def test_a_course_that_jumps_to_the_end_has_not_converged() -> None:
    assert converged_at(np.tile([0.0] * 6 + [1.0] * 6, 6)) is None


def test_a_few_epochs_are_too_few_to_tell() -> None:
    assert converged_at(np.ones(9)) is None


def test_epochs_without_a_figure_are_passed_over() -> None:
    values = np.concatenate([np.linspace(0, 1, 20), np.ones(40)])
    sparse = np.full(120, np.nan)
    sparse[::2] = values
    found = converged_at(values)
    assert found is not None
    assert converged_at(sparse) == 2 * found


def test_a_flat_course_has_converged_at_once() -> None:
    assert converged_at(np.full(30, 0.7)) == 4
