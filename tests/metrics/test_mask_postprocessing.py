from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from capsule_inspection.metrics import mask_postprocessing
from capsule_inspection.metrics.mask_postprocessing import (
    MaskPostProcessor,
    PredictedMask,
    Region,
    image_probabilities,
    region_score,
)
from capsule_inspection.types import IGNORE_INDEX


def one_hot(label: np.ndarray) -> np.ndarray:
    """Class probabilities (K, H, W) of two or three classes where each pixel has one class."""
    classes = np.arange(1, max(2, int(label.max())) + 1)[:, None, None]
    return np.where(classes == label, 255, 0).astype(np.uint8)


def post_processor(
    threshold: float, min_area_px: int, *, low: float | None = None
) -> MaskPostProcessor:
    return MaskPostProcessor(threshold if low is None else low, threshold, min_area_px)


def random_map(
    seed: int, *, values: int | None = None, size: tuple[int, int] = (9, 11)
) -> np.ndarray:
    """A map of noise and soft blobs; with `values` only so many different ones."""
    rough = np.random.default_rng(seed).random(size)
    soft = (rough + np.roll(rough, 1, axis=0) + np.roll(rough, 1, axis=1)) / 3
    found = soft**2 if values is None else np.floor(soft * values) / values
    return found.astype(np.float32)


def binary_mask(foreground: np.ndarray, process: MaskPostProcessor) -> PredictedMask:
    """The predicted mask where there is one defect class."""
    return process(foreground, np.full((1, *foreground.shape), 255, np.uint8))


def has_region(foreground: np.ndarray, threshold: float, min_area_px: int) -> bool:
    return bool(binary_mask(foreground, post_processor(threshold, min_area_px)).regions)


def test_regions_boxes_and_classes_by_hand() -> None:
    foreground = np.array(
        [
            [0.9, 0.9, 0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.7, 0.7],
            [0.0, 0.0, 0.0, 0.7, 0.0, 0.7],
            [0.6, 0.0, 0.0, 0.0, 0.0, 0.0],
        ]
    )
    label = np.full((4, 6), 3, dtype=np.uint8)
    label[0, :2] = 1

    predicted = post_processor(0.5, 2)(foreground, one_hot(label))

    assert predicted.mask.dtype == np.uint8
    assert predicted.mask.tolist() == [
        [1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 3, 3],
        [0, 0, 0, 3, 0, 3],
        [0, 0, 0, 0, 0, 0],
    ]
    assert [region.label for region in predicted.regions] == [3, 1]
    assert [region.area_px for region in predicted.regions] == [4, 2]
    assert [region.box for region in predicted.regions] == [(3, 1, 6, 3), (0, 0, 2, 1)]
    assert [region.probability for region in predicted.regions] == pytest.approx([0.7, 0.9])
    assert predicted.label == 3


def test_nothing_above_the_probability_is_a_good_image_and_everything_one_region() -> None:
    nothing = binary_mask(np.full((4, 6), 0.5), post_processor(0.5, 1))
    assert (nothing.regions, nothing.label, nothing.mask.any()) == ([], 0, False)
    everything = binary_mask(np.ones((4, 6), dtype=np.float16), post_processor(0.95, 24))
    assert everything.regions == [Region(1, 24, (0, 0, 6, 4), 1.0)]
    assert everything.mask.all()
    corners = np.eye(4, dtype=np.float32)  # pixels that touch at a corner are one region
    assert has_region(corners, 0.5, 4)
    assert not has_region(corners, 0.5, 5)


def test_a_region_has_the_class_that_all_its_pixels_together_make_most_probable() -> None:
    foreground = np.array([[0.95, 0.95, 0.6, 0.6, 0.6]])
    equally_sure = one_hot(np.array([[2, 2, 1, 1, 1]], dtype=np.uint8))
    assert post_processor(0.5, 1)(foreground, equally_sure).mask.tolist() == [[1, 1, 1, 1, 1]]
    # Two that all but rule class 1 out outweigh three that are nearly undecided, which are more.
    probabilities = np.array(
        [[[10, 10, 140, 140, 140]], [[245, 245, 115, 115, 115]]], dtype=np.uint8
    )
    for alike in (foreground, np.full_like(foreground, 0.6)):
        assert post_processor(0.5, 1)(alike, probabilities).mask.tolist() == [[2, 2, 2, 2, 2]]
    # One pixel cannot rule a class out, and pixels without any probability count for none.
    for probabilities, expected in (
        ([[[0, 250, 250, 250]], [[255, 5, 5, 5]]], 1),
        ([[[0, 0, 0, 0]], [[0, 0, 0, 200]], [[0, 0, 0, 0]]], 2),
    ):
        found = post_processor(0.5, 1)(np.full((1, 4), 0.9), np.array(probabilities, np.uint8))
        assert found.label == expected


def test_the_class_of_an_image_is_that_of_its_regions_together() -> None:
    # Three small regions of class 1 with 0.8 each outweigh one of class 2 with 1.8.
    foreground = np.array([[0.8, 0, 0.8, 0, 0.8, 0, 0.9, 0.9]])
    class_probabilities = one_hot(np.array([[1, 1, 1, 1, 1, 1, 2, 2]], dtype=np.uint8))
    predicted = post_processor(0.5, 1)(foreground, class_probabilities)
    assert [region.label for region in predicted.regions] == [2, 1, 1, 1]
    assert predicted.label == 1
    assert post_processor(0.5, 2)(foreground, class_probabilities).label == 2


def test_a_probability_is_not_rounded_to_the_type_of_the_map() -> None:
    foreground = np.full((2, 2), 0.1, dtype=np.float32)  # 0.10000000149
    assert has_region(foreground, 0.1, 4)
    assert not has_region(foreground, float(foreground[0, 0]), 4)


def test_maps_may_be_views_of_larger_arrays() -> None:
    foreground, process = random_map(3), post_processor(0.2, 3)
    class_probabilities = (255 * np.stack([random_map(4), 1 - random_map(4)])).astype(np.uint8)
    straight = process(foreground, class_probabilities).mask
    turned = process(foreground.T, class_probabilities.transpose(0, 2, 1))
    mirrored = process(foreground[:, ::-1], class_probabilities[:, :, ::-1])
    assert np.array_equal(turned.mask.T, straight)
    assert np.array_equal(mirrored.mask[:, ::-1], straight)
    assert region_score(foreground.T, 5) == region_score(foreground, 5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_region_is_found_exactly_below_the_score(dtype: type[np.floating]) -> None:
    for seed, values in enumerate((None, 4, 12)):
        foreground = random_map(seed, values=values).astype(dtype)
        occurring = np.unique(foreground).astype(np.float64)
        between = (occurring[1:] + occurring[:-1]) / 2
        probabilities = [0.0, 1.0, *occurring, *between, *mask_postprocessing.THRESHOLDS]
        for area_px in (1, 2, 7, 40, 98, 99, 100):
            score = region_score(foreground, area_px)
            for probability in probabilities:
                assert (score > probability) == has_region(foreground, float(probability), area_px)


def test_the_score_of_an_empty_map_or_of_one_smaller_than_the_area_is_zero() -> None:
    assert [region_score(np.zeros((3, 4)), area_px) for area_px in (1, 12, 13)] == [0, 0, 0]
    assert [region_score(np.ones((3, 4)), area_px) for area_px in (12, 13)] == [1, 0]


def test_a_map_of_no_numbers_has_no_score() -> None:
    for foreground in (np.full((6, 6), np.nan), random_map(0)):
        foreground[0, 0] = np.nan
        with pytest.raises(ValueError, match="not numbers"):
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
    foregrounds: list[np.ndarray], truths: list[np.ndarray], process: MaskPostProcessor
) -> np.ndarray:
    """Dice of each image of the predicted masks."""
    found = []
    for foreground, truth in zip(foregrounds, truths, strict=True):
        predicted = binary_mask(foreground, process).mask > 0
        both = predicted.sum() + (truth > 0).sum()
        found.append(2 * (predicted & (truth > 0)).sum() / both if both else 1.0)
    return np.array(found)


def test_a_speck_on_a_good_image_raises_the_area_not_the_probability() -> None:
    # The mask is the square alone from 0.2 to 0.55. An area of 2 removes the speck on the good
    # image, and of 10,000 pixels the largest area is 20.
    foregrounds = [blob(probability=0.6, beside=0.2), blob(probability=0, beside=0, speck=0.95)]
    found = MaskPostProcessor.fit(foregrounds, [SQUARE, EMPTY])
    assert found.min_area_px == 20
    assert 0.2 <= found.low_threshold <= found.high_threshold <= 0.55
    assert agreement(foregrounds, [SQUARE, EMPTY], found).tolist() == [1, 1]


def test_a_small_defect_keeps_the_area_small() -> None:
    truth = np.zeros((100, 100), dtype=np.uint8)
    truth[3:5, 3:7] = 1  # 8 pixels; tried are 2, 5, 10 and 20
    assert MaskPostProcessor.fit([truth * 0.7], [truth]).min_area_px == 5


def test_of_equally_good_ones_the_largest_area_and_the_middle_count() -> None:
    good = np.full((5, 5, 2), -np.inf)
    good[0:3, 3, 1] = good[2, 2, 0] = 1.0
    assert mask_postprocessing._best(good) == (1, 3, 1)
    assert mask_postprocessing._best(good[:, :, :1]) == (2, 2, 0)


def test_a_region_reaches_as_far_as_the_lower_probability() -> None:
    halo = SQUARE * 0.6
    halo[22:28, 22:28] = 0.9  # within the square
    alone = np.zeros_like(halo)
    alone[70:90, 70:90] = 0.6  # as probable as the halo, and nothing certain in it
    found = binary_mask(halo + alone, post_processor(0.8, 5, low=0.5))
    assert np.array_equal(found.mask, SQUARE)
    assert len(found.regions) == 1
    assert binary_mask(halo, post_processor(0.8, 50, low=0.5)).label == 0
    assert np.count_nonzero(binary_mask(halo, post_processor(0.8, 5)).mask) == 36


def test_one_probability_and_one_area_are_all_there_is() -> None:
    found = MaskPostProcessor.fit([SQUARE * 0.3], [SQUARE], thresholds=[0.4], area_fractions=[0.02])
    assert found == MaskPostProcessor(0.4, 0.4, 200, good_images=0, defect_images=1)


def test_no_thresholds_agree_better_by_trying_every_one() -> None:
    generator = np.random.default_rng(0)
    truths = [(random_map(i, size=(30, 40)) > 0.4).astype(np.uint8) for i in range(5)]
    truths[0][:] = 0
    foregrounds = [
        np.clip(0.5 * truth + 0.4 * generator.random(truth.shape), 0, 1).astype(np.float16)
        for truth in truths
    ]
    areas_px = [1, 2, 6]  # of 1,200 pixels

    found = MaskPostProcessor.fit(foregrounds, truths)

    levels = mask_postprocessing.THRESHOLDS
    every = np.full((len(levels), len(levels), len(areas_px)), np.nan)
    for low, high in itertools.combinations_with_replacement(range(len(levels)), 2):
        for column, area_px in enumerate(areas_px):
            process = MaskPostProcessor(levels[low], levels[high], area_px)
            good, *defects = agreement(foregrounds, truths, process)
            every[low, high, column] = (good + np.mean(defects)) / 2

    def judged(low: int, high: int, column: int) -> float:
        """Mean of the neighbours, less the penalty of pairs far from the prior."""
        near = every[max(0, low - 1) : low + 2, max(0, high - 1) : high + 2, column]
        far = (levels[low] - 0.5) ** 2 + (levels[high] - 0.75) ** 2
        return float(np.nanmean(near) - 3 / 4 * far)

    best = max(judged(*place) for place in np.argwhere(np.isfinite(every)).tolist())
    place = (levels.index(found.low_threshold), levels.index(found.high_threshold))
    assert judged(*place, areas_px.index(found.min_area_px)) == pytest.approx(best)
    assert (found.good_images, found.defect_images) == (1, 4)
    turned = MaskPostProcessor.fit(
        iter(foregrounds[::-1]), iter(truths[::-1]), thresholds=levels[::-1]
    )
    assert turned == found


def test_few_images_stay_near_the_prior_and_many_go_where_they_agree() -> None:
    """Blurred squares: the mask at .3 is exact, and that at the prior .75 a little smaller."""
    truth = np.zeros((60, 80), dtype=np.uint8)
    truth[20:40, 20:60] = 1
    foreground = np.where(truth, 0.35, 0.02)
    foreground[21:39, 21:59] = 0.85  # Dice .92 of the inner part alone
    few, many = (MaskPostProcessor.fit([foreground] * n, [truth] * n) for n in (1, 10))
    assert few.low_threshold == pytest.approx(0.5, abs=0.15)
    assert many.low_threshold < 0.35
    assert few.high_threshold == pytest.approx(0.75, abs=0.1)


def test_good_images_alone_prefer_empty_masks() -> None:
    found = MaskPostProcessor.fit([blob(probability=0.5, beside=0.1)], [EMPTY])
    assert found.high_threshold > 0.5
    assert (found.good_images, found.defect_images) == (1, 0)


def test_ignored_pixels_do_not_matter_to_the_fit() -> None:
    generator = np.random.default_rng(5)
    truths = np.zeros((6, 40, 40), np.uint8)
    truths[:3, 8:20, 8:20] = 1
    foregrounds = (0.85 * truths + 0.1 * generator.random(truths.shape)).astype(np.float16)
    truths[:, 25:] = IGNORE_INDEX
    fitted = MaskPostProcessor.fit(foregrounds, truths)
    foregrounds[:, 25:] = 0.8
    assert MaskPostProcessor.fit(foregrounds, truths) == fitted
    assert (fitted.good_images, fitted.defect_images) == (3, 3)
    assert MaskPostProcessor.fit(foregrounds, truths % IGNORE_INDEX) != fitted


def test_fitting_without_images_or_with_too_many_masks_is_refused() -> None:
    image = np.zeros((2, 2))
    with pytest.raises(ValueError, match="there are none"):
        MaskPostProcessor.fit([], [])
    with pytest.raises(ValueError, match="longer"):
        MaskPostProcessor.fit([image], [image] * 2)


def test_the_state_is_plain_values_and_unknown_names_are_refused() -> None:
    fitted = MaskPostProcessor.fit([SQUARE * np.float32(0.7)], [SQUARE])
    state = fitted.state_dict()
    assert {type(value) for value in state.values()} == {float, int}
    assert MaskPostProcessor.from_state_dict(json.loads(json.dumps(state))) == fitted
    with pytest.raises(TypeError, match="margin"):
        MaskPostProcessor.from_state_dict({**state, "margin": 2})


def probabilities_of(foreground, class_probabilities, *, score, predicted_label, threshold):
    return image_probabilities(
        np.asarray(foreground),
        np.array(class_probabilities, np.uint8),
        score=score,
        predicted_label=predicted_label,
        threshold=threshold,
    )


def test_probabilities_are_half_at_the_threshold_and_divided_by_pixels() -> None:
    everywhere, top, nowhere = np.zeros((3, 2, 2), np.float16)
    everywhere[:] = 0.8
    top[0] = 0.9
    cases = [
        (everywhere, 0.8, 0, [0.5, 0.375, 0.125]),
        (top, 0.9, 1, [0.25, 0.75, 0]),
        (nowhere, 0.0, 0, [1, 0, 0]),
    ]
    for foreground, score, predicted_label, expected in cases:
        found = probabilities_of(
            foreground,
            [[[255, 255], [255, 0]], [[0, 0], [0, 255]]],
            score=score,
            predicted_label=predicted_label,
            threshold=0.8,
        )
        assert found.sum() == pytest.approx(1)
        assert found == pytest.approx(expected, abs=1e-3)


def test_uncertain_pixels_divide_their_probability_and_without_any_all_defects_are_equal() -> None:
    found = probabilities_of(
        [[0.9, 0.6]], [[[204, 51]], [[51, 204]]], score=0.9, predicted_label=1, threshold=0.5
    )
    assert found == pytest.approx([0.1, 0.9 * (0.72 + 0.12) / 1.5, 0.9 * (0.18 + 0.48) / 1.5])
    none = np.zeros((1, 2)), np.zeros((2, 1, 2))
    found = probabilities_of(*none, score=0.4, predicted_label=0, threshold=0.8)
    assert found == pytest.approx([0.75, 0.125, 0.125])
