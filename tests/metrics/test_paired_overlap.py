from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from capsule_inspection.metrics import paired_overlap
from capsule_inspection.metrics.paired_overlap import overlap_differences, photographs_needed
from capsule_inspection.metrics.segmentation import pooled_segmentation

DICE, IOU = "foreground_dice_of_pixels", "mean_iou_of_pixels"
CLASSES = ("good", "crack", "poke")


def counts_of(*images: dict[tuple[int, int], int], classes: int = 3) -> np.ndarray:
    """Counts (N, C, C) of images, from the pixels of a class (first) that are marked as another."""
    counts = np.zeros((len(images), classes, classes), dtype=np.int64)
    for row, image in enumerate(images):
        for cell, pixels in image.items():
            counts[row][cell] = pixels
    return counts


def drawn(
    seeds: int = 1, *, skill: float = 0.6, good: int = 20, defects: int = 24, chance: int = 0
) -> np.ndarray:
    """Counts (S, N, 3, 3): of each defect about `skill` is hit, some under the other's name."""
    generator = np.random.default_rng(chance)
    label = np.array([0] * good + [1 + i % 2 for i in range(defects)])
    counts = np.zeros((seeds, len(label), 3, 3), dtype=np.int64)
    for seed in range(seeds):
        for row, of_image in enumerate(label):
            false_alarm = int(generator.integers(0, 20))
            counts[seed, row, 0, 1], counts[seed, row, 0, 0] = false_alarm, 1000 - false_alarm
            if of_image:
                size = 100 + 10 * row
                hit = int(size * np.clip(skill + generator.normal(0, 0.15), 0, 1))
                named = int(hit * generator.uniform(0.5, 1))
                counts[seed, row, of_image] = [size - hit, 0, 0]
                counts[seed, row, of_image, of_image] = named
                counts[seed, row, of_image, 3 - of_image] = hit - named
    return counts


def value_of(counts: np.ndarray, metric: str) -> float:
    """The figure that `segmentation` gives of these seeds."""
    identity = np.arange(counts.shape[1])
    figures = pooled_segmentation([[(of_seed, identity)] for of_seed in counts], classes=CLASSES)
    return figures[metric].value


def test_both_figures_are_as_by_hand() -> None:
    """A crack of 10 pixels, a poke of 20, a good image; the second model marks 4 and 10 of them."""
    first = counts_of({(1, 1): 8, (1, 0): 2}, {(2, 2): 15, (2, 1): 5}, {(0, 0): 30, (0, 1): 2})
    second = counts_of({(1, 1): 4, (1, 0): 6}, {(2, 2): 10, (2, 0): 10}, {(0, 0): 32})

    found = overlap_differences(first[np.newaxis], second[np.newaxis], by_class=True)

    # First: any defect 28 of 30 pixels with 30 marked; crack 8 of 10, 15 marked; poke 15 of 20.
    # Second: 14 of 30 with 14 marked; crack 4 of 10; poke 10 of 20.
    assert found[DICE].value == pytest.approx(2 * 28 / 60 - 2 * 14 / 44)
    assert found[IOU].value == pytest.approx((8 / 17 + 15 / 20) / 2 - (4 / 10 + 10 / 20) / 2)
    assert (found[DICE].n, found[IOU].n) == (3, 3)


@pytest.mark.parametrize("seeds", [(1, 1), (3, 2)])
def test_differences_are_those_of_the_pooled_figures(seeds: tuple[int, int]) -> None:
    first, second = drawn(seeds[0], skill=0.7), drawn(seeds[1], skill=0.5, chance=9)

    found = overlap_differences(first, second, by_class=True)

    for metric in (DICE, IOU):
        expected = value_of(first, metric) - value_of(second, metric)
        assert found[metric].value == pytest.approx(expected)
        assert found[metric].low is not None
        assert found[metric].high is not None
        assert found[metric].low < expected < found[metric].high
    assert paired_overlap.foreground_dice(first) == pytest.approx(value_of(first, DICE))


@pytest.mark.parametrize("seeds", [(1, 1), (2, 2), (1, 3)])
def test_two_equal_models_are_never_told_apart(seeds: tuple[int, int]) -> None:
    once = drawn()
    first, second = (np.repeat(once, count, axis=0) for count in seeds)
    for difference in overlap_differences(first, second, by_class=True).values():
        assert (difference.value, difference.low, difference.p_value) == (0, None, 1.0)


def test_models_that_mark_nothing_are_equal() -> None:
    counts = counts_of(*[{(1, 0): 10}] * 8, *[{(0, 0): 10}] * 8)[np.newaxis]
    found = overlap_differences(counts, counts, by_class=True)
    assert [difference.p_value for difference in found.values()] == [1.0, 1.0]


def test_a_clear_difference_survives_the_correction_for_28_pairs() -> None:
    found = overlap_differences(drawn(skill=0.9), drawn(skill=0.3, chance=5), by_class=True)
    assert found[DICE].p_value is not None
    assert 28 * found[DICE].p_value < 0.05


def test_exchanging_the_two_mirrors_everything() -> None:
    pair = drawn(skill=0.7), drawn(2, skill=0.5, chance=9)
    there = overlap_differences(*pair, by_class=True)
    back = overlap_differences(*pair[::-1], by_class=True)
    for metric, one in there.items():
        other = back[metric]
        assert (one.value, one.p_value) == pytest.approx((-other.value, other.p_value))
        assert one.low == pytest.approx(-other.high, abs=0.02)  # seldom the very same photographs


def test_the_p_value_agrees_with_the_interval() -> None:
    for chance in range(12):
        pair = drawn(skill=0.6), drawn(skill=0.5, chance=100 + chance)
        for difference in overlap_differences(*pair, by_class=True).values():
            assert difference.low is not None
            assert difference.high is not None
            assert difference.p_value is not None
            apart = not difference.low <= 0 <= difference.high
            assert (difference.p_value < 0.05) == apart


def test_models_of_equal_skill_are_seldom_told_apart() -> None:
    told = [
        overlap_differences(
            drawn(chance=2 * trial, good=4, defects=14),
            drawn(chance=2 * trial + 1, good=4, defects=14),
            by_class=True,
        )
        for trial in range(60)
    ]
    for metric in (DICE, IOU):
        apart = sum((found[metric].p_value or 1) < 0.05 for found in told)
        assert apart <= 8  # 5% are 3; of 60 draws 8 come about once in a hundred


def test_more_seeds_of_one_kind_make_no_narrower_interval() -> None:
    first, second = drawn(skill=0.7), drawn(skill=0.5, chance=9)
    once = overlap_differences(first, second, by_class=True)
    often = overlap_differences(
        np.repeat(first, 3, axis=0), np.repeat(second, 3, axis=0), by_class=True
    )
    assert often == once


def test_five_photographs_that_differ_are_too_few_for_a_test() -> None:
    second = drawn(defects=12)
    first = second.copy()
    first[0, -5:, 1:, 1:] += 40
    fewer = overlap_differences(first, second, by_class=True)[DICE]
    first[0, -6, 1:, 1:] += 40
    enough = overlap_differences(first, second, by_class=True)[DICE]

    assert (fewer.low, fewer.p_value, fewer.test) == (None, None, paired_overlap.TOO_FEW)
    assert fewer.value > 0
    assert enough.p_value is not None


def test_a_class_with_one_photograph_has_no_interval_of_the_mean() -> None:
    first, second = drawn(skill=0.8), drawn(skill=0.4, chance=3)
    kept = [row for row in range(44) if row < 20 or row % 2 or row == 20]  # one of odd label, 1
    found = overlap_differences(first[:, kept], second[:, kept], by_class=True)

    assert (found[IOU].p_value, found[IOU].test) == (None, paired_overlap.LONELY)
    assert found[DICE].p_value is not None


def test_a_model_without_names_is_compared_by_any_defect() -> None:
    named = drawn(skill=0.7)
    binary = np.zeros((1, 44, 2, 2), dtype=np.int64)
    binary[0, :, 0] = np.stack([named[0, :, 0, 0], named[0, :, 0, 1:].sum(axis=-1)], axis=-1)
    binary[0, :, 1, 0] = named[0, :, 1:, 0].sum(axis=-1)
    binary[0, :, 1, 1] = named[0, :, 1:, 1:].sum(axis=(-2, -1))

    found = overlap_differences(named, binary, by_class=False)

    assert set(found) == {DICE}
    assert (found[DICE].value, found[DICE].p_value) == (0, 1.0)


def test_without_any_mask_there_is_no_difference() -> None:
    counts = drawn(defects=0)
    assert overlap_differences(counts, counts, by_class=True) == {}


@pytest.mark.parametrize(
    ("second", "by_class"),
    [
        (drawn(good=21), False),
        (np.zeros((1, 44, 2, 2), dtype=np.int64), True),
        (np.zeros((44, 3, 3), dtype=np.int64), False),
        (np.zeros((1, 44, 3, 2), dtype=np.int64), False),
    ],
    ids=["photographs", "classes", "axes", "not square"],
)
def test_what_does_not_fit_is_refused(second: np.ndarray, *, by_class: bool) -> None:
    with pytest.raises(ValueError, match="same photographs"):
        overlap_differences(drawn(), second, by_class=by_class)


def test_the_photographs_that_are_needed_grow_with_the_square_of_the_error() -> None:
    found: Any = overlap_differences(drawn(skill=0.6), drawn(skill=0.5, chance=4), by_class=False)
    difference = replace(found[DICE], value=0.1, low=0.0, high=0.2, n=100)
    # By hand: error .2 / (2 * 1.95996), so 100 * ((1.95996 + .84162) * .051021 / .1)^2 = 204.3.
    assert photographs_needed(difference) == 205
    assert photographs_needed(replace(difference, value=0.05)) == 818
    assert photographs_needed(replace(difference, value=0.0)) is None
    assert photographs_needed(replace(difference, low=None)) is None


def test_the_needed_photographs_have_the_power_that_was_promised() -> None:
    first, second = drawn(skill=0.6, defects=40), drawn(skill=0.52, defects=40, chance=7)
    difference = overlap_differences(first, second, by_class=False)[DICE]
    needed = photographs_needed(difference)
    assert needed is not None
    generator = np.random.default_rng(5)
    found = 0
    for _ in range(60):
        good = generator.integers(0, 20, needed // 3)
        defects = generator.integers(20, 60, needed - needed // 3)
        rows = np.concatenate([good, defects])
        p_value = overlap_differences(first[:, rows], second[:, rows], by_class=False)[DICE].p_value
        found += p_value is not None and p_value < 0.05
    assert 0.65 < found / 60 < 0.95
