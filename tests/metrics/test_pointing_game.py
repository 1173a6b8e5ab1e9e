"""The pointing game against cases counted by hand; images are 25 pixels high, so 1 is tolerated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from capsule_inspection.metrics import intervals
from capsule_inspection.metrics.pointing_game import (
    TOLERANCE,
    chance_level,
    distance_to_defect_px,
    find_peak,
    pointing_game_metrics,
    tolerance_px_of,
)
from capsule_inspection.types import IGNORE_INDEX, Estimate

SIZE = (25, 4)
Place = tuple[int, int]


def at(*places: Place, value: float = 1.0) -> np.ndarray:
    """An image that is zero but at these places."""
    found = np.zeros(SIZE, np.float32)
    for place in places:
        found[place] = value
    return found


def valid_from(row: int) -> np.ndarray:
    """Valid pixels of an image whose first rows are padding."""
    found = np.ones(SIZE, bool)
    found[:row] = False
    return found


EVERYWHERE = valid_from(0)


def play(
    maps: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    valid: np.ndarray = EVERYWHERE,
    classes: Sequence[str] | None = None,
    group: Sequence[str] | None = None,
) -> dict[str, Estimate]:
    sides = [valid] * len(maps), [EVERYWHERE] * len(maps)
    names = ["crack"] * len(maps) if classes is None else classes
    return pointing_game_metrics(maps, masks, *sides, class_names=names, group=group)


def test_the_highest_point_is_looked_for_where_the_mask_ignores_nothing() -> None:
    mask = at((10, 1)).astype(np.uint8)
    mask[20:] = IGNORE_INDEX
    found = at((10, 1)) + at((20, 1), value=5)  # higher where it does not count
    assert play([found], [mask]) == play([at((10, 1))], [mask])
    assert play([found], [mask])["pointing_game"].value == 1
    assert play([found], [np.where(mask == IGNORE_INDEX, 0, mask)])["pointing_game"].value == 0
    assert play([found], [np.full(SIZE, IGNORE_INDEX)]) == {}


def test_a_hit_lies_on_the_mask_or_within_the_tolerance_around_it() -> None:
    assert (TOLERANCE, tolerance_px_of(25)) == (0.04, 1)
    truth = at((10, 1))
    distances = {(10, 1): 0.0, (9, 1): 1.0, (9, 0): 2**0.5, (12, 1): 2.0, (20, 1): 10.0}
    for peak, distance_px in distances.items():
        assert distance_to_defect_px(at(peak), truth) == pytest.approx(distance_px)
        found = play([at(peak)], [truth])["pointing_game"]
        assert found.value == (distance_px <= 1)


def test_padding_is_never_the_peak() -> None:
    found, valid = at((2, 2), value=5.0) + at((10, 1)), valid_from(5)
    assert find_peak(found) == (2, 2)
    assert find_peak(found, valid) == (10, 1)
    for kept, hits in ((valid, 1), (EVERYWHERE, 0)):
        assert play([found], [at((10, 1))], valid=kept)["pointing_game"].value == hits


def test_of_many_highest_pixels_the_middle_of_the_largest_region_counts() -> None:
    assert find_peak(at((10, 1), (11, 1), (12, 1), (20, 3), (21, 3))) == (11, 1)
    assert find_peak(at((3, 0), (8, 0))) == (3, 0)  # as large: the first
    assert find_peak(at((4, 0), (5, 1), (6, 2))) == (5, 1)  # corners touch


def test_a_map_that_is_equally_high_everywhere_has_no_peak_and_is_a_miss() -> None:
    for flat in (np.zeros(SIZE, np.float16), np.full(SIZE, 0.7, np.float16)):
        assert find_peak(flat) is None
        assert distance_to_defect_px(flat, at((10, 1))) == float("inf")
        assert play([flat], [at((10, 1))])["pointing_game"].value == 0
    assert find_peak(at((0, 0)), valid_from(1)) is None


def test_chance_is_the_fraction_of_the_part_that_would_be_a_hit() -> None:
    # Around one pixel a cross of five, one of them beside the part of 25 times 3.
    part = np.ones(SIZE, bool)
    part[:, 0] = False
    truth, nothing = at((10, 1)), np.zeros(SIZE, bool)
    assert chance_level(truth, EVERYWHERE, part, tolerance_px=1) == pytest.approx(4 / 75)
    assert chance_level(truth, EVERYWHERE, part, tolerance_px=0) == pytest.approx(1 / 75)
    # Without a part the whole image; on padding one of the cross, and 40 of the 100 places.
    assert chance_level(truth, valid_from(10), nothing, tolerance_px=1) == pytest.approx(4 / 60)


def test_metrics_count_images_of_all_and_of_each_class() -> None:
    maps = [at((10, 1)), at((11, 1)), at((20, 1)), at((0, 0))]
    metrics = play(maps, [at((10, 1))] * 4, classes=["crack", "poke", "poke", "poke"])
    assert metrics == {
        "pointing_game": intervals.proportion(2, 4),
        "pointing_game_chance": Estimate(pytest.approx(0.05), None, None, 4),
        "pointing_game/crack": intervals.proportion(1, 1),
        "pointing_game/poke": intervals.proportion(1, 3),
    }
    # A cross of five, and a corner with two neighbours, of 100 places.
    of_both = play([at((1, 1))] * 2, [at((10, 1)), at((0, 0))])
    assert of_both["pointing_game_chance"].value == pytest.approx((0.05 + 0.03) / 2)


def test_images_without_a_mask_are_left_out() -> None:
    metrics = play([at((10, 1)), at((0, 0))], [at((10, 1)), at()], classes=["crack", "poke"])
    assert metrics["pointing_game"] == intervals.proportion(1, 1)
    assert "pointing_game/poke" not in metrics
    assert play([at((2, 2))], [at((2, 2))], valid=valid_from(5)) == {}
    assert play([at((1, 1))], [at()]) == play([], []) == {}


def test_half_precision_and_class_indices_are_taken_as_they_are() -> None:
    mask = (3 * at((10, 1))).astype(np.uint8)
    assert play([at((10, 1)).astype(np.float16)], [mask])["pointing_game"].value == 1
    with pytest.raises(ValueError, match="argument"):
        play([at((1, 1))], [mask] * 2)


def test_images_of_one_group_are_one_observation() -> None:
    maps = [at((10, 1)), at((11, 1)), at((20, 1)), at((0, 0))]
    metrics = play(
        maps, [at((10, 1))] * 4, classes=["crack", "poke", "poke", "poke"], group=list("abba")
    )
    group = np.array(list("abba"))
    assert metrics["pointing_game"] == intervals.proportion(2, 4, group=group)
    assert metrics["pointing_game_chance"].n == 2
    assert metrics["pointing_game/poke"] == intervals.proportion(1, 3, group=group[1:])
