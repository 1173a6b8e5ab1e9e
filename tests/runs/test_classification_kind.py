"""Which prior a classifier decides by, whatever its training shows."""

from __future__ import annotations

import math

import pytest

from capsule_inspection.runs.kinds.classification import decision_offset, natural_counts


def test_without_a_mixture_images_are_as_frequent_as_they_are() -> None:
    assert natural_counts([6, 2, 2], share=1.0, shown=None) == [6, 2, 2]


def test_defects_that_were_left_out_change_no_prior() -> None:
    assert natural_counts([60, 5, 4], share=0.25, shown=None) == [60, 20, 16]
    assert natural_counts([60, 5, 0], share=0.25, shown=[20.0, 20.0, 20.0]) == [60, 20, 1]


def test_where_no_defect_was_kept_the_mixture_is_all_that_is_known() -> None:
    assert natural_counts([60, 0, 0], share=0.0, shown=[30.0, 20.0, 10.0]) == [30, 20, 10]


@pytest.mark.parametrize(
    ("sampling", "shown", "seen"),
    [("natural", None, [0.5, 0.3, 0.2]), ("balanced", None, None), ("balanced", [1, 1, 2], None)],
)
def test_the_offset_is_what_is_seen_against_what_is_aimed_at(
    sampling: str, shown: list[float] | None, seen: list[float] | None
) -> None:
    counts = [5, 3, 2]
    found = decision_offset(counts, sampling=sampling, tau=0.25, shown=shown)
    seen = [share / sum(shown) for share in shown] if shown else seen or [1.0, 1.0, 1.0]
    expected = [
        math.log(share) - 0.75 * math.log(count / 10)
        for share, count in zip(seen, counts, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected)
