"""The pointing game against cases counted by hand; images are 25 pixels high, so 1 is tolerated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from capsule_inspection.contracts import Figure
from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.pointing import (
    TOLERANCE,
    chance_of_hit,
    is_hit,
    miss_px,
    peak_of,
    pointing_figures,
    tolerance_of,
)

SIZE = (25, 4)
Place = tuple[int, int]


def at(*places: Place, value: float = 1.0) -> np.ndarray:
    """An image that is zero but at these places."""
    found = np.zeros(SIZE, np.float32)
    for place in places:
        found[place] = value
    return found


def play(
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    valid: np.ndarray | None = None,
    part: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Figure]:
    everywhere = np.ones(SIZE, bool)
    return pointing_figures(
        maps,
        masks,
        [everywhere if valid is None else valid] * len(maps),
        [everywhere if part is None else part] * len(maps),
        class_names_of_images=["crack"] * len(maps) if classes is None else classes,
    )


# --- one image


def test_the_tolerance_is_a_share_of_the_height() -> None:
    assert TOLERANCE == 0.04
    assert tolerance_of(25) == 1


@pytest.mark.parametrize(
    ("peak", "distance_px", "hit"),
    [
        ((10, 1), 0.0, True),
        ((9, 1), 1.0, True),
        ((9, 0), 2**0.5, False),
        ((12, 1), 2.0, False),
        ((20, 1), 10.0, False),
    ],
)
def test_a_hit_lies_on_the_mask_or_within_the_tolerance_around_it(
    peak: Place, distance_px: float, hit: bool
) -> None:
    truth = at((10, 1))
    assert miss_px(at(peak), truth) == pytest.approx(distance_px)
    assert is_hit(at(peak), truth, tolerance_px=1) is hit


def test_a_mask_that_covers_everything_is_always_hit() -> None:
    assert is_hit(at((3, 3)), np.ones(SIZE), tolerance_px=0)


def test_padding_is_never_the_peak() -> None:
    found = at((2, 2), value=5.0) + at((10, 1))
    valid = np.ones(SIZE, bool)
    valid[:5] = False
    assert peak_of(found) == (2, 2)
    assert peak_of(found, valid) == (10, 1)
    assert is_hit(found, at((10, 1)), valid, tolerance_px=1)
    assert not is_hit(found, at((10, 1)), tolerance_px=1)


def test_of_many_highest_pixels_the_middle_of_the_largest_region_counts() -> None:
    assert peak_of(at((10, 1), (11, 1), (12, 1), (20, 3), (21, 3))) == (11, 1)
    assert peak_of(at((3, 0), (8, 0))) == (3, 0)  # as large: the first
    assert peak_of(at((4, 0), (5, 1), (6, 2))) == (5, 1)  # corners touch


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_map_that_is_equally_high_everywhere_has_no_peak_and_is_a_miss(value: float) -> None:
    flat = np.full(SIZE, value, np.float16)
    assert peak_of(flat) is None
    assert miss_px(flat, at((10, 1))) == float("inf")
    assert not is_hit(flat, at((10, 1)), tolerance_px=100)


def test_a_map_that_differs_on_padding_alone_has_no_peak() -> None:
    valid = np.ones(SIZE, bool)
    valid[0] = False
    assert peak_of(at((0, 0)), valid) is None


# --- chance


def test_chance_is_the_share_of_the_part_that_would_be_a_hit() -> None:
    # Around one pixel a cross of five, one of them beside the part of 25 times 3.
    part = np.zeros(SIZE, bool)
    part[:, 1:] = True
    valid = np.ones(SIZE, bool)
    assert chance_of_hit(at((10, 1)), valid, part, tolerance_px=1) == pytest.approx(4 / 75)
    assert chance_of_hit(at((10, 1)), valid, part, tolerance_px=0) == pytest.approx(1 / 75)


def test_chance_counts_no_padding_and_without_a_part_the_whole_image() -> None:
    valid = np.ones(SIZE, bool)
    valid[:10] = False  # one of the cross, and 40 of the 100 places
    nothing = np.zeros(SIZE, bool)
    assert chance_of_hit(at((10, 1)), valid, nothing, tolerance_px=1) == pytest.approx(4 / 60)


# --- figures


def test_figures_count_images_of_all_and_of_each_class() -> None:
    truth = at((10, 1))
    maps = [at((10, 1)), at((11, 1)), at((20, 1)), at((0, 0))]
    figures = play(maps, [truth] * 4, classes=["crack", "poke", "poke", "poke"])

    assert set(figures) == {
        "pointing_game", "pointing_game_chance", "pointing_game/crack", "pointing_game/poke",
    }  # fmt: skip
    assert figures["pointing_game"] == intervals.proportion(2, 4)
    assert figures["pointing_game/crack"] == intervals.proportion(1, 1)
    assert figures["pointing_game/poke"] == intervals.proportion(1, 3)
    assert figures["pointing_game_chance"] == Figure(pytest.approx(0.05), None, None, 4)


def test_chance_is_the_mean_over_images() -> None:
    # A cross of five, and a corner with two neighbours, of 100 places.
    figures = play([at((1, 1))] * 2, [at((10, 1)), at((0, 0))])
    assert figures["pointing_game_chance"].value == pytest.approx((0.05 + 0.03) / 2)


def test_images_without_a_mask_are_left_out() -> None:
    figures = play([at((10, 1)), at((0, 0))], [at((10, 1)), at()], classes=["crack", "poke"])
    assert figures["pointing_game"] == intervals.proportion(1, 1)
    assert "pointing_game/poke" not in figures


def test_a_mask_on_padding_alone_is_no_mask() -> None:
    valid = np.ones(SIZE, bool)
    valid[:5] = False
    assert play([at((2, 2))], [at((2, 2))], valid=valid) == {}


def test_without_any_mask_and_without_images_there_is_no_figure() -> None:
    assert play([at((1, 1))], [at()]) == {}
    assert play([], []) == {}


def test_half_precision_and_class_indices_are_taken_as_they_are() -> None:
    mask = (3 * at((10, 1))).astype(np.uint8)
    figures = play([at((10, 1)).astype(np.float16)], [mask])
    assert figures["pointing_game"].value == 1


def test_unequal_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="argument"):
        play([at((1, 1))], [at((1, 1))] * 2)
