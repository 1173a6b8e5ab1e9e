from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from capsule_inspection.metrics import paired_overlap
from capsule_inspection.metrics.bootstrap import stratified_weights
from capsule_inspection.metrics.paired_tests import PairedDifference
from capsule_inspection.metrics.segmentation import pooled_overlap_metrics

DICE, IOU = "binary_dice_global", "mean_iou_global"
CLASSES = ("good", "crack", "poke")


def draw(
    seeds: int = 1, *, skill: float = 0.6, good: int = 20, defects: int = 24, chance: int = 0
) -> np.ndarray:
    """Counts (S, N, 3, 3): of each defect about `skill` is hit, some under the other's name."""
    generator = np.random.default_rng(chance)
    label = np.array([0] * good + [1 + i % 2 for i in range(defects)])
    counts = np.zeros((seeds, len(label), 3, 3), dtype=np.int64)
    for seed in range(seeds):
        for row, of_image in enumerate(label):
            false_positives = int(generator.integers(0, 20))
            counts[seed, row, 0, 1], counts[seed, row, 0, 0] = (
                false_positives,
                1000 - false_positives,
            )
            if of_image:
                size = 100 + 10 * row
                hit = int(size * np.clip(skill + generator.normal(0, 0.15), 0, 1))
                named = int(hit * generator.uniform(0.5, 1))
                counts[seed, row, of_image] = [size - hit, 0, 0]
                counts[seed, row, of_image, of_image] = named
                counts[seed, row, of_image, 3 - of_image] = hit - named
    return counts


def overlap_differences(
    first: np.ndarray, second: np.ndarray, *, by_class: bool, group: np.ndarray | None = None
) -> dict[str, PairedDifference]:
    alone = np.arange(first.shape[1]) if group is None else group
    return paired_overlap.overlap_differences(first, second, group=alone, by_class=by_class)


def value_of(counts: np.ndarray, metric: str) -> float:
    """The estimate that `segmentation` gives of these seeds."""
    identity = np.arange(counts.shape[1])
    metrics = pooled_overlap_metrics([[(of_seed, identity)] for of_seed in counts], classes=CLASSES)
    return metrics[metric].value


@pytest.mark.parametrize("seeds", [(1, 1), (3, 2)])
def test_differences_are_those_of_the_pooled_metrics(seeds: tuple[int, int]) -> None:
    first, second = draw(seeds[0], skill=0.7), draw(seeds[1], skill=0.5, chance=9)
    for metric, found in overlap_differences(first, second, by_class=True).items():
        expected = value_of(first, metric) - value_of(second, metric)
        assert found.value == pytest.approx(expected)
        assert found.ci_low < expected < found.ci_high
        assert found.n == 44


def test_two_equal_models_are_never_distinguished_also_where_they_predict_nothing() -> None:
    once, nothing = draw(), np.zeros((1, 16, 3, 3), dtype=np.int64)
    nothing[0, :8, 1, 0] = nothing[0, 8:, 0, 0] = 10
    for counts, *seeds in ((once, 1, 1), (once, 2, 2), (once, 1, 3), (nothing, 1, 1)):
        pair = (np.repeat(counts, count, axis=0) for count in seeds)
        found = overlap_differences(*pair, by_class=True)
        assert set(found) == {DICE, IOU}
        for difference in found.values():
            assert (difference.value, difference.ci_low, difference.p_value) == (0, None, 1.0)


def test_a_clear_difference_survives_the_correction_for_28_pairs() -> None:
    found = overlap_differences(draw(skill=0.9), draw(skill=0.3, chance=5), by_class=True)
    assert 28 * found[DICE].p_value < 0.05


def test_exchanging_the_two_mirrors_everything() -> None:
    pair = draw(skill=0.7), draw(2, skill=0.5, chance=9)
    back = overlap_differences(*pair[::-1], by_class=True)
    for metric, one in overlap_differences(*pair, by_class=True).items():
        other = back[metric]
        assert (one.value, one.p_value) == pytest.approx((-other.value, other.p_value))
        assert one.ci_low == pytest.approx(-other.ci_high, abs=0.02)  # seldom the very same images


def test_the_p_value_agrees_with_the_interval() -> None:
    for chance in range(12):
        pair = draw(skill=0.6), draw(skill=0.5, chance=100 + chance)
        for found in overlap_differences(*pair, by_class=True).values():
            assert (found.p_value < 0.05) == (not found.ci_low <= 0 <= found.ci_high)


def test_models_of_equal_skill_are_seldom_distinguished() -> None:
    differences = [
        overlap_differences(
            *(draw(chance=2 * trial + side, good=4, defects=14) for side in range(2)),
            by_class=True,
        )
        for trial in range(60)
    ]
    for metric in (DICE, IOU):
        distinguished = sum((found[metric].p_value or 1) < 0.05 for found in differences)
        assert distinguished <= 8  # 5% are 3; of 60 draws 8 come about once in a hundred


def test_more_seeds_of_one_model_make_no_narrower_interval() -> None:
    pair = draw(skill=0.7), draw(skill=0.5, chance=9)
    once, often = (
        overlap_differences(*(np.repeat(of, seeds, axis=0) for of in pair), by_class=True)
        for seeds in (1, 3)
    )
    assert often == once


def test_five_images_that_differ_are_too_few_for_a_test() -> None:
    second = draw(defects=12)
    first = second.copy()
    first[0, -5:, 1:, 1:] += 40
    fewer = overlap_differences(first, second, by_class=True)[DICE]
    first[0, -6, 1:, 1:] += 40
    enough = overlap_differences(first, second, by_class=True)[DICE]
    assert (fewer.ci_low, fewer.p_value, fewer.test) == (None, None, paired_overlap.TOO_FEW)
    assert fewer.value > 0
    assert enough.p_value is not None


def test_a_class_with_one_image_has_no_interval_of_the_mean() -> None:
    kept = [row for row in range(44) if row < 20 or row % 2 or row == 20]  # one of odd label, 1
    pair = draw(skill=0.8)[:, kept], draw(skill=0.4, chance=3)[:, kept]
    found = overlap_differences(*pair, by_class=True)
    assert (found[IOU].p_value, found[IOU].test) == (None, paired_overlap.SINGLE_IMAGE)
    assert found[DICE].p_value is not None


def test_a_model_without_names_is_compared_by_any_defect() -> None:
    named = draw(skill=0.7)
    binary = np.zeros((1, 44, 2, 2), dtype=np.int64)
    binary[0, :, 0] = np.stack([named[0, :, 0, 0], named[0, :, 0, 1:].sum(axis=-1)], axis=-1)
    binary[0, :, 1, 0] = named[0, :, 1:, 0].sum(axis=-1)
    binary[0, :, 1, 1] = named[0, :, 1:, 1:].sum(axis=(-2, -1))
    found = overlap_differences(named, binary, by_class=False)
    assert set(found) == {DICE}
    assert (found[DICE].value, found[DICE].p_value) == (0, 1.0)
    without_masks = draw(defects=0)
    assert overlap_differences(without_masks, without_masks, by_class=True) == {}


def test_images_of_one_group_are_one_observation() -> None:
    pair = draw(skill=0.7), draw(skill=0.5, chance=9)
    once = overlap_differences(*pair, by_class=True)
    four = [np.repeat(of, 4, axis=1) for of in pair]
    grouped = overlap_differences(*four, by_class=True, group=np.repeat(np.arange(44), 4))
    ignored = overlap_differences(*four, by_class=True)
    for metric, of_images in once.items():
        found = grouped[metric]
        assert (found.value, found.ci_low, found.p_value) == pytest.approx(
            (of_images.value, of_images.ci_low, of_images.p_value)
        )
        assert (found.n, found.n_groups) == (176, 44)
        width = ignored[metric].ci_high - ignored[metric].ci_low
        assert width < 0.6 * (found.ci_high - found.ci_low)


def test_five_groups_that_differ_are_too_few_for_a_test() -> None:
    pair = draw(skill=0.7, defects=10), draw(skill=0.5, defects=10, chance=9)
    group = np.concatenate([np.zeros(20, dtype=int), 1 + np.arange(10) // 3])
    found = overlap_differences(*pair, by_class=False, group=group)[DICE]
    assert (found.p_value, found.test) == (None, paired_overlap.TOO_FEW)
    assert overlap_differences(*pair, by_class=False)[DICE].p_value is not None


def test_limits_lie_further_out_than_what_is_drawn_as_t_does_for_so_few_images() -> None:
    pair = [
        draw(skill=skill, good=0, defects=8, chance=9 + int(10 * skill)) for skill in (0.7, 0.5)
    ]
    weights = stratified_weights(
        np.arange(8) % 2, seed=0, resamples=paired_overlap.RESAMPLES, rescaled=True
    )
    hit, predicted = (
        [
            np.einsum("rn,nij->rij", weights, counts[0, :, first:, 1:]).sum(axis=(1, 2))
            for counts in pair
        ]
        for first in (1, 0)
    )
    truth = weights @ pair[0][0, :, 1:].sum(axis=(1, 2))
    first, second = (2 * h / (truth + m) for h, m in zip(hit, predicted, strict=True))
    found = overlap_differences(*pair, by_class=False)[DICE]
    wider = t.ppf(0.975, 7) / norm.ppf(0.975)
    limits = [
        np.quantile(first - second, level, method=method)
        for level, method in ((0.025, "lower"), (0.975, "higher"))
    ]
    expected = found.value + wider * (np.array(limits) - found.value)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(expected))
