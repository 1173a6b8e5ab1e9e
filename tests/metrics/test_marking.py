from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from capsule_inspection.metrics import marking
from capsule_inspection.metrics.marking import Decision, choose_decision, mark, region_score


def certain(kind: np.ndarray) -> np.ndarray:
    """Shares of two or three kinds (K, H, W) where each pixel is sure of one."""
    kinds = np.arange(1, max(2, int(kind.max())) + 1)[:, None, None]
    return np.where(kinds == kind, 255, 0).astype(np.uint8)


def drawn(seed: int, *, values: int | None = None, size: tuple[int, int] = (9, 11)) -> np.ndarray:
    """A map of noise and soft blobs; with `values` only so many different ones."""
    rough = np.random.default_rng(seed).random(size)
    soft = (rough + np.roll(rough, 1, axis=0) + np.roll(rough, 1, axis=1)) / 3
    found = soft**2 if values is None else np.floor(soft * values) / values
    return found.astype(np.float32)


def marks(foreground: np.ndarray, decision: Decision) -> marking.Marked:
    """What is marked where there is one kind of defect."""
    return mark(foreground, np.full((1, *foreground.shape), 255, np.uint8), decision)


def finds(foreground: np.ndarray, probability: float, area_px: int) -> bool:
    return bool(marks(foreground, Decision(probability, area_px)).regions)


def test_regions_boxes_and_classes_by_hand() -> None:
    foreground = np.array(
        [
            [0.9, 0.9, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.7, 0.7],
            [0.0, 0.0, 0.0, 0.7, 0.0, 0.7],
            [0.6, 0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )
    kind = np.full((4, 6), 3, dtype=np.uint8)
    kind[0, :2] = 1

    marked = mark(foreground, certain(kind), Decision(0.5, 2))

    assert marked.mask.dtype == np.uint8
    assert marked.mask.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 3, 3],
        [0, 0, 0, 3, 0, 3],
        [0, 0, 0, 0, 0, 0],
    ]
    assert [region.label for region in marked.regions] == [3, 1]
    assert [region.area_px for region in marked.regions] == [4, 2]
    assert [region.box for region in marked.regions] == [(3, 1, 6, 3), (0, 0, 2, 1)]
    assert [region.probability for region in marked.regions] == pytest.approx([0.7, 0.9])
    assert marked.label == 3


def test_nothing_above_the_probability_is_a_good_image_and_everything_one_region() -> None:
    nothing = marks(np.full((4, 6), 0.5), Decision(0.5, 1))
    assert (nothing.regions, nothing.label, nothing.mask.any()) == ([], 0, False)
    everything = marks(np.ones((4, 6), dtype=np.float16), Decision(0.95, 24))
    assert everything.regions == [marking.Region(1, 24, (0, 0, 6, 4), 1.0)]
    assert everything.mask.all()
    corners = np.eye(4, dtype=np.float32)  # pixels that touch at a corner are one region
    assert finds(corners, 0.5, 4)
    assert not finds(corners, 0.5, 5)


def test_a_region_has_the_class_that_all_its_pixels_together_make_most_probable() -> None:
    foreground = np.array([[0.95, 0.95, 0.6, 0.6, 0.6]])
    equally_sure = certain(np.array([[2, 2, 1, 1, 1]], dtype=np.uint8))
    assert mark(foreground, equally_sure, Decision(0.5, 1)).mask.tolist() == [[1, 1, 1, 1, 1]]
    # Two that all but rule class 1 out outweigh three that are nearly undecided, which are more.
    shares = np.array([[[10, 10, 140, 140, 140]], [[245, 245, 115, 115, 115]]], dtype=np.uint8)
    for alike in (foreground, np.full_like(foreground, 0.6)):
        assert mark(alike, shares, Decision(0.5, 1)).mask.tolist() == [[2, 2, 2, 2, 2]]
    # One pixel cannot rule a class out, and pixels without any share speak for none.
    for shares, expected in (
        ([[[0, 250, 250, 250]], [[255, 5, 5, 5]]], 1),
        ([[[0, 0, 0, 0]], [[0, 0, 0, 200]], [[0, 0, 0, 0]]], 2),
    ):
        found = mark(np.full((1, 4), 0.9), np.array(shares, np.uint8), Decision(0.5, 1))
        assert found.label == expected


def test_the_class_of_an_image_is_that_of_its_regions_together() -> None:
    # Three small regions of class 1 with 0.8 each outweigh one of class 2 with 1.8.
    foreground = np.array([[0.8, 0, 0.8, 0, 0.8, 0, 0.9, 0.9]])
    kinds = certain(np.array([[1, 1, 1, 1, 1, 1, 2, 2]], dtype=np.uint8))
    marked = mark(foreground, kinds, Decision(0.5, 1))
    assert [region.label for region in marked.regions] == [2, 1, 1, 1]
    assert marked.label == 1
    assert mark(foreground, kinds, Decision(0.5, 2)).label == 2


def test_a_probability_is_not_rounded_to_the_type_of_the_map() -> None:
    foreground = np.full((2, 2), 0.1, dtype=np.float32)  # 0.10000000149
    assert finds(foreground, 0.1, 4)
    assert not finds(foreground, float(foreground[0, 0]), 4)


def test_maps_may_be_views_of_larger_arrays() -> None:
    foreground, decision = drawn(3), Decision(0.2, 3)
    kinds = (255 * np.stack([drawn(4), 1 - drawn(4)])).astype(np.uint8)
    straight = mark(foreground, kinds, decision).mask
    turned = mark(foreground.T, kinds.transpose(0, 2, 1), decision)
    mirrored = mark(foreground[:, ::-1], kinds[:, :, ::-1], decision)
    assert np.array_equal(turned.mask.T, straight)
    assert np.array_equal(mirrored.mask[:, ::-1], straight)
    assert region_score(foreground.T, 5) == region_score(foreground, 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_region_is_found_exactly_below_the_score(dtype: type[np.floating]) -> None:
    for seed, values in enumerate((None, 4, 12)):
        foreground = drawn(seed, values=values).astype(dtype)
        occurring = np.unique(foreground).astype(np.float64)
        between = (occurring[1:] + occurring[:-1]) / 2
        probabilities = [0.0, 1.0, *occurring, *between, *marking.PROBABILITIES]
        for area_px in (1, 2, 7, 40, 98, 99, 100):
            score = region_score(foreground, area_px)
            for probability in probabilities:
                assert (score > probability) == finds(foreground, float(probability), area_px)


def test_the_score_of_an_empty_map_or_of_one_smaller_than_the_area_is_zero() -> None:
    assert [region_score(np.zeros((3, 4)), area_px) for area_px in (1, 12, 13)] == [0, 0, 0]
    assert [region_score(np.ones((3, 4)), area_px) for area_px in (12, 13)] == [1, 0]


def test_a_map_of_no_numbers_has_no_score() -> None:
    for foreground in (np.full((6, 6), np.nan), drawn(0)):
        foreground[0, 0] = np.nan
        with pytest.raises(ValueError, match="no numbers"):
            region_score(foreground, 5)


def blob(*, probability: float, beside: float, speck: float = 0.0) -> np.ndarray:
    """100 by 100 pixels: a square of 400, the rest lower, and a speck of one pixel."""
    found = np.full((100, 100), beside)
    found[10:30, 10:30] = probability
    found[80, 80] = max(speck, beside)
    return found


SQUARE = (blob(probability=1, beside=0) > 0).astype(np.uint8)
EMPTY = np.zeros_like(SQUARE)


def agreement(
    foregrounds: list[np.ndarray], truths: list[np.ndarray], decision: Decision
) -> np.ndarray:
    """Dice of each image under a decision, from what `mark` marks."""
    found = []
    for foreground, truth in zip(foregrounds, truths, strict=True):
        marked = marks(foreground, decision).mask > 0
        both = marked.sum() + (truth > 0).sum()
        found.append(2 * (marked & (truth > 0)).sum() / both if both else 1.0)
    return np.array(found)


def test_a_speck_on_a_good_image_raises_the_area_not_the_probability() -> None:
    # The square alone is marked from 0.2 to 0.55. The speck on the good image goes with an area of
    # 2, and of 10,000 pixels the largest area is 20.
    foregrounds = [blob(probability=0.6, beside=0.2), blob(probability=0, beside=0, speck=0.95)]
    found = choose_decision(foregrounds, [SQUARE, EMPTY])
    assert found.area_px == 20
    assert 0.2 <= found.extent <= found.probability <= 0.55
    assert agreement(foregrounds, [SQUARE, EMPTY], found).tolist() == [1, 1]


def test_a_small_defect_keeps_the_area_small() -> None:
    truth = np.zeros((100, 100), dtype=np.uint8)
    truth[3:5, 3:7] = 1  # 8 pixels; tried are 2, 5, 10 and 20
    assert choose_decision([truth * 0.7], [truth]).area_px == 5


def test_of_equally_good_ones_the_largest_area_and_the_middle_count() -> None:
    good = np.full((5, 5, 2), -np.inf)
    good[0:3, 3, 1] = good[2, 2, 0] = 1.0
    assert marking._best(good) == (1, 3, 1)
    assert marking._best(good[:, :, :1]) == (2, 2, 0)


def test_a_region_reaches_as_far_as_the_lower_probability() -> None:
    halo = SQUARE * 0.6
    halo[22:28, 22:28] = 0.9  # within the square
    alone = np.zeros_like(halo)
    alone[70:90, 70:90] = 0.6  # as probable as the halo, and nothing certain in it
    found = marks(halo + alone, Decision(0.8, 5, extent=0.5))
    assert np.array_equal(found.mask, SQUARE)
    assert len(found.regions) == 1
    assert marks(halo, Decision(0.8, 50, extent=0.5)).label == 0
    assert np.count_nonzero(marks(halo, Decision(0.8, 5)).mask) == 36


def test_one_probability_and_one_area_are_all_there_is() -> None:
    found = choose_decision([SQUARE * 0.3], [SQUARE], probabilities=[0.4], area_shares=[0.02])
    assert found == Decision(0.4, 200, good_images=0, defect_images=1, extent=0.4)


def test_no_decision_agrees_better_by_marking_with_every_one() -> None:
    generator = np.random.default_rng(0)
    truths = [(drawn(i, size=(30, 40)) > 0.4).astype(np.uint8) for i in range(5)]
    truths[0][:] = 0
    foregrounds = [
        np.clip(0.5 * truth + 0.4 * generator.random(truth.shape), 0, 1).astype(np.float16)
        for truth in truths
    ]
    areas_px = [1, 2, 6]  # of 1,200 pixels

    found = choose_decision(foregrounds, truths)

    levels = marking.PROBABILITIES
    every = np.full((len(levels), len(levels), len(areas_px)), np.nan)
    for extent, row in itertools.combinations_with_replacement(range(len(levels)), 2):
        for column, area_px in enumerate(areas_px):
            decision = Decision(levels[row], area_px, extent=levels[extent])
            good, *defects = agreement(foregrounds, truths, decision)
            every[extent, row, column] = (good + np.mean(defects)) / 2

    def judged(extent: int, row: int, column: int) -> float:
        """Mean of the neighbours, less what speaks against pairs far from the usual one."""
        near = every[max(0, extent - 1) : extent + 2, max(0, row - 1) : row + 2, column]
        far = (levels[extent] - 0.5) ** 2 + (levels[row] - 0.75) ** 2
        return float(np.nanmean(near) - 3 / 4 * far)

    best = max(judged(*place) for place in np.argwhere(np.isfinite(every)).tolist())
    place = (levels.index(found.extent), levels.index(found.probability))
    assert judged(*place, areas_px.index(found.area_px)) == pytest.approx(best)
    assert (found.good_images, found.defect_images) == (1, 4)
    turned = choose_decision(
        iter(foregrounds[::-1]), iter(truths[::-1]), probabilities=levels[::-1]
    )
    assert turned == found


def test_few_images_choose_near_the_usual_decision_and_many_where_they_agree() -> None:
    """Blurred squares: .3 marks them exactly, and the usual .75 a little less."""
    truth = np.zeros((60, 80), dtype=np.uint8)
    truth[20:40, 20:60] = 1
    foreground = np.where(truth, 0.35, 0.02)
    foreground[21:39, 21:59] = 0.85  # Dice .92 of the inner part alone
    few, many = (choose_decision([foreground] * n, [truth] * n) for n in (1, 10))
    assert few.extent == pytest.approx(0.5, abs=0.15)
    assert many.extent < 0.35
    assert few.probability == pytest.approx(0.75, abs=0.1)


def test_good_images_alone_want_nothing_marked() -> None:
    found = choose_decision([blob(probability=0.5, beside=0.1)], [EMPTY])
    assert found.probability > 0.5
    assert (found.good_images, found.defect_images) == (1, 0)


def test_choosing_from_what_does_not_fit_is_refused() -> None:
    image = np.zeros((2, 2))
    with pytest.raises(ValueError, match="there is none"):
        choose_decision([], [])
    with pytest.raises(ValueError, match=r"one size, found \[\(2, 2\), \(2, 3\)\]"):
        choose_decision([image], [np.zeros((2, 3))])
    with pytest.raises(ValueError, match="longer"):
        choose_decision([image], [image] * 2)


def test_a_decision_survives_as_plain_values_and_unknown_names_are_refused() -> None:
    decision = choose_decision([SQUARE * np.float32(0.7)], [SQUARE])
    stored = decision.as_dict()
    assert {type(value) for value in stored.values()} == {float, int}
    assert Decision.from_dict(json.loads(json.dumps(stored))) == decision
    with pytest.raises(TypeError, match="margin"):
        Decision.from_dict({"probability": 0.5, "area_px": 1, "margin": 2})
