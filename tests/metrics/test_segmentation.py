from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.bootstrap import percentile_bootstrap
from capsule_inspection.metrics.registry import LOWER_IS_BETTER
from capsule_inspection.metrics.segmentation import (
    overlap_metrics,
    pixel_confusion_matrices,
    pooled_overlap_metrics,
)
from capsule_inspection.types import IGNORE_INDEX, Estimate

CLASSES = ("good", "crack", "scratch", "poke")
BINARY = ("good", "defect")
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw(seed: int, *, images: int = 12, num_classes: int = 4) -> Arrays:
    """Masks, predictions and valid pixels; every third image is good, the last has no region."""
    generator = np.random.default_rng(seed)
    truths, predicted = np.zeros((2, images, 10, 14), dtype=np.uint8)
    for image in range(images):
        first = 1 + image % (num_classes - 1)
        for row in generator.integers(0, 7, size=2) if image % 3 else ():
            truths[image, row : row + 3, 2:9] = first
            first = 1 + first % (num_classes - 1)
        predicted[image] = np.roll(truths[image], generator.integers(0, 3), axis=1)
        wrong = generator.random((10, 14)) < 0.05
        predicted[image][wrong] = generator.integers(0, num_classes, size=wrong.sum())
    predicted[-1] = 0
    valid = np.ones(truths.shape, dtype=bool)
    valid[:, :2] = False
    return truths, predicted, valid


def counted(seed: int, *, images: int = 12, num_classes: int = 4) -> np.ndarray:
    return pixel_confusion_matrices(
        *draw(seed, images=images, num_classes=num_classes), num_classes=num_classes
    )


def of(
    truths: object, predicted: object, classes: tuple[str, ...] = CLASSES
) -> dict[str, Estimate]:
    """Estimates of images that are given as rows of pixels, all valid; nothing predicted if 0."""
    masks = np.array(truths)
    given = np.broadcast_to(np.array(predicted), masks.shape)
    counts = pixel_confusion_matrices(
        masks, given, np.ones(masks.shape, dtype=bool), num_classes=len(classes)
    )
    return overlap_metrics(counts, classes=classes)


def values(metrics: dict[str, Estimate]) -> dict[str, float]:
    return {name: estimate.value for name, estimate in metrics.items()}


def check_equal(found: dict[str, Estimate], expected: dict[str, Estimate]) -> None:
    """The same values, limits and numbers of images, up to rounding."""
    assert set(found) == set(expected)
    for name, estimate in expected.items():
        assert vars(found[name]) == pytest.approx(vars(estimate)), name


def test_counts_by_hand() -> None:
    truths = np.array([[[0, 1, 1], [2, 0, 0]]])
    predicted = np.array([[[0, 1, 2], [2, 1, 1]]])
    valid = np.array([[[True, True, True], [True, True, False]]])
    counts = pixel_confusion_matrices(truths, predicted, valid, num_classes=3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[[1, 1, 0], [0, 1, 1], [0, 0, 1]]]


def test_images_may_come_one_by_one_differ_in_size_or_be_missing() -> None:
    truths = [np.ones((2, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint8)]
    valid = [np.ones(truth.shape, dtype=np.uint8) * 255 for truth in truths]
    counts = pixel_confusion_matrices(iter(truths), iter(truths), iter(valid), num_classes=2)
    assert counts.tolist() == [[[0, 0], [0, 6]], [[16, 0], [0, 0]]]
    none = pixel_confusion_matrices([], [], [], num_classes=4)
    assert none.shape == (0, 4, 4)
    assert overlap_metrics(none, classes=CLASSES) == {}


def test_padding_changes_no_metric() -> None:
    truths, predicted, _ = draw(2)
    everywhere, frame = np.ones(truths.shape, dtype=bool), ((0, 0), (2, 1), (3, 3))
    padded = np.pad(truths, frame, constant_values=1), np.pad(predicted, frame, constant_values=2)
    found = pixel_confusion_matrices(*padded, np.pad(everywhere, frame), num_classes=4)
    assert np.array_equal(
        found, pixel_confusion_matrices(truths, predicted, everywhere, num_classes=4)
    )
    # A defect that lies on padding alone makes a good image.
    truths = np.array([[[1, 0, 0]]])
    counts = pixel_confusion_matrices(truths, np.zeros((1, 1, 3)), truths == 0, num_classes=2)
    assert list(overlap_metrics(counts, classes=BINARY)) == ["pixel_fpr"]


def test_ignored_pixels_change_no_metric() -> None:
    truths = np.array([[[0, 1, 1, IGNORE_INDEX]], [[0, 0, IGNORE_INDEX, IGNORE_INDEX]]])
    predicted = np.array([[[0, 1, 0, 0]], [[0, 1, 0, 0]]])
    found = of(truths, predicted)
    # Of 2 true and 2 predicted pixels 1 is both; of 2 counted good pixels 1 is predicted.
    assert found["binary_dice_global"].value == pytest.approx(2 * 1 / (2 + 2))
    assert found["mean_iou_global"].value == pytest.approx(1 / 3)
    assert found["defect_hit_rate"].value == 1
    assert found["pixel_fpr"].value == pytest.approx(1 / 2)
    for label in (1, 2):
        assert of(truths, np.where(truths == IGNORE_INDEX, label, predicted)) == found


def test_a_metric_stands_on_the_images_it_is_a_mean_over() -> None:
    found = of([[1, 2, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], 0)
    counts = {name: estimate.n for name, estimate in found.items()}
    assert counts["iou_global/scratch"] == counts["mean_dice_global"] == 5
    assert counts["binary_iou_global"] == 5
    assert (counts["dice_samplewise/crack"], counts["dice_samplewise/scratch"]) == (2, 1)
    assert counts["mean_iou_samplewise"] == counts["binary_dice_samplewise"] == 2
    assert (counts["defect_hit_rate"], counts["pixel_fpr"]) == (2, 3)


@pytest.mark.parametrize("seed", range(2))
def test_metrics_equal_scikit_learn(seed: int) -> None:
    """Those of pixels over all of them, those of images image by image."""
    truths, predicted, valid = draw(seed)
    scores = {"iou": jaccard_score, "dice": f1_score}
    images = [(t[v], m[v]) for t, m, v in zip(truths, predicted, valid, strict=True)]
    truth, predicted = truths[valid], predicted[valid]
    expected = {}
    for overlap, score in scores.items():
        of_classes = score(truth, predicted, labels=[1, 2, 3], average=None)
        of_images = [
            np.mean([score(t == c, m == c) for t, m in images if (t == c).any()])
            for c in range(1, len(CLASSES))
        ]
        for row, name in enumerate(CLASSES[1:]):
            expected[f"{overlap}_global/{name}"] = of_classes[row]
            expected[f"{overlap}_samplewise/{name}"] = of_images[row]
        expected[f"mean_{overlap}_global"] = np.mean(of_classes)
        expected[f"mean_{overlap}_samplewise"] = np.mean(of_images)
        expected[f"binary_{overlap}_global"] = score(truth > 0, predicted > 0)
        any_defect = [score(t > 0, m > 0) for t, m in images if t.any()]
        expected[f"binary_{overlap}_samplewise"] = np.mean(any_defect)
    false_positives = [(m > 0).mean() for t, m in images if not t.any()]
    hits = [((t > 0) & (m > 0)).any() for t, m in images if t.any()]
    expected |= {"pixel_fpr": np.mean(false_positives), "defect_hit_rate": np.mean(hits)}
    found = values(overlap_metrics(counted(seed), classes=CLASSES))
    assert found == pytest.approx(expected)


def test_what_cannot_be_had_is_absent() -> None:
    assert list(of([[0, 0, 0, 0]] * 2, [[1, 0, 0, 0], [0, 0, 0, 0]])) == ["pixel_fpr"]
    without_good = of([[1, 0]] * 3, [[1, 0]] * 3)
    assert "pixel_fpr" not in without_good
    assert "mean_dice_samplewise" in without_good
    # A class that no mask has is not in the mean.
    found = of([[1, 1, 0]], [[1, 1, 3]])
    assert not [name for name in found if name.endswith(("/scratch", "/poke", "/good"))]
    assert found["mean_iou_global"].value == 1
    assert found["binary_iou_global"].value == pytest.approx(2 / 3)


def test_intervals_enclose_their_values_and_repeat_with_their_seed() -> None:
    counts = counted(0, images=30)
    first, again, other = (
        overlap_metrics(counts, classes=CLASSES, seed=seed) for seed in (0, 0, 1)
    )
    assert len(first) == 12 + 4 + 4 + 2
    for name, estimate in first.items():
        assert 0 <= estimate.ci_low <= estimate.value <= estimate.ci_high <= 1, name
    assert first == again
    assert first != other
    assert values(first) == values(other)


def test_intervals_equal_a_bootstrap_that_draws_the_images_themselves() -> None:
    counts = counted(3, images=30)
    of_class = counts[:, 1:].sum(axis=2)
    stratum = np.where(of_class.any(axis=1), 1 + of_class.argmax(axis=1), 0)

    def mean_iou(drawn_counts: np.ndarray) -> float:
        pooled = drawn_counts.sum(axis=0)
        either = pooled.sum(axis=0) + pooled.sum(axis=1) - np.diag(pooled)
        return float((np.diag(pooled) / either)[1:].mean())

    direct = percentile_bootstrap(mean_iou, [counts], stratify=stratum)
    found = overlap_metrics(counts, classes=CLASSES)["mean_iou_global"]
    assert found.value == pytest.approx(mean_iou(counts))
    assert (found.ci_low, found.ci_high) == pytest.approx(direct, abs=0.01)


def test_one_image_of_a_class_has_no_interval_nor_has_the_mean_over_classes() -> None:
    truths = [[1, 1, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    predicted = [[1, 1, 0, 0], [1, 0, 0, 0], [2, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    without = {name for name, estimate in of(truths, predicted).items() if estimate.ci_low is None}
    assert without >= {f"{name}/scratch" for name in ("iou_global", "dice_samplewise")}
    assert without >= {"mean_iou_global", "mean_dice_samplewise"}
    assert not without & {"iou_global/crack", "binary_dice_samplewise", "pixel_fpr"}


def test_every_draw_has_as_many_images_of_each_class() -> None:
    # All cracks are found and no scratch is, so the mean of a draw tells how many it has of them.
    found = of([[1, 1, 0]] * 3 + [[2, 2, 0]] * 5, [[1, 1, 0]] * 3 + [[0, 0, 0]] * 5)
    assert found["binary_dice_samplewise"] == Estimate(3 / 8, None, None, 8)


def test_defect_hit_rate_has_the_interval_of_a_proportion() -> None:
    found = of([[1, 0], [1, 0], [2, 0], [0, 0]], [[2, 0], [0, 1], [2, 2], [0, 0]])
    assert found["defect_hit_rate"] == intervals.proportion(2, 3)


def test_images_of_one_group_are_one_observation() -> None:
    counts, views = counted(3, images=30), np.repeat(np.arange(30), 3)
    once = overlap_metrics(counts, classes=CLASSES)
    thrice = overlap_metrics(counts[views], classes=CLASSES, group=views)
    check_equal(thrice, once)
    pooled = pooled_overlap_metrics(
        [[(counts[views], views)], [(counts[views], views)]], classes=CLASSES
    )
    check_equal(pooled, once)


def test_a_class_on_one_part_has_no_interval_however_many_images_show_it() -> None:
    truths = [[1, 1, 0, 0]] * 3 + [[0, 0, 0, 0]] * 2
    matrices = pixel_confusion_matrices(
        np.array(truths), np.array(truths), np.ones((5, 4), dtype=bool), num_classes=2
    )
    group = np.array(["part", "part", "part", "part", "other"])
    found = overlap_metrics(matrices, classes=BINARY, group=group)
    assert found["binary_dice_global"] == Estimate(1.0, None, None, 2)
    assert found["binary_dice_samplewise"].n == found["defect_hit_rate"].n == 1
    assert found["pixel_fpr"].n == 2


def in_folds(counts: np.ndarray, folds: int) -> list:
    """Every so many of the images in a fold of their own."""
    identity = np.array([f"image {image:03}" for image in range(len(counts))])
    return [(counts[fold::folds], identity[fold::folds]) for fold in range(folds)]


def test_pooled_folds_of_one_seed_equal_one_run_over_all_images() -> None:
    counts = counted(4, images=25)
    found = pooled_overlap_metrics([in_folds(counts, 4)], classes=CLASSES, seed=3)
    check_equal(found, overlap_metrics(counts, classes=CLASSES, seed=3))


def test_several_seeds_have_the_mean_of_their_values_in_any_order() -> None:
    truths, predicted, valid = draw(9, images=24)
    moved = [np.roll(predicted, shift, axis=2) for shift in range(3)]
    of_seeds = [pixel_confusion_matrices(truths, m, valid, num_classes=4) for m in moved]
    runs = [in_folds(counts, 2 + row) for row, counts in enumerate(of_seeds)]
    found = pooled_overlap_metrics(runs, classes=CLASSES)
    alone = [values(overlap_metrics(counts, classes=CLASSES)) for counts in of_seeds]
    mean = {name: np.mean([metrics[name] for metrics in alone]) for name in alone[0]}
    assert values(found) == pytest.approx(mean)
    assert found["mean_iou_global"].n == 24
    assert found["defect_hit_rate"].n == 16
    turned = [folds[::-1] for folds in runs[::-1]]
    check_equal(pooled_overlap_metrics(turned, classes=CLASSES), found)


def test_the_same_result_with_more_seeds_makes_no_interval_narrower() -> None:
    folds = in_folds(counted(5, images=20), 2)
    once, thrice = (pooled_overlap_metrics([folds] * seeds, classes=CLASSES) for seeds in (1, 3))
    check_equal(thrice, once)


def test_seeds_and_folds_without_images_do_not_count() -> None:
    folds, none = in_folds(counted(5), 1), (np.zeros((0, 4, 4), dtype=np.int64), [])
    found = pooled_overlap_metrics([[none, *folds], [], [none]], classes=CLASSES)
    assert found == pooled_overlap_metrics([folds], classes=CLASSES)
    assert pooled_overlap_metrics([], classes=CLASSES) == {}
    assert pooled_overlap_metrics([[], [none]], classes=CLASSES) == {}


def test_a_seed_that_lost_its_good_images_still_counts_for_the_defects() -> None:
    counts = counted(5)
    ((_, identity),) = whole = in_folds(counts, 1)
    defect = counts[:, 1:].any(axis=(1, 2))
    found = pooled_overlap_metrics([whole, [(counts[defect], identity[defect])]], classes=CLASSES)
    alone = overlap_metrics(counts, classes=CLASSES)
    for name in ("mean_dice_samplewise", "defect_hit_rate", "pixel_fpr"):
        assert found[name].value == pytest.approx(alone[name].value)
        assert found[name].n == alone[name].n


def test_every_name_is_listed_as_what_it_is() -> None:
    metrics = overlap_metrics(counted(0), classes=CLASSES)
    of_classes = {name.partition("/")[0] for name in metrics if "/" in name}
    assert of_classes <= set(names.PER_CLASS)
    assert not set(metrics) & set(names.PER_CLASS)
    assert set(metrics) & LOWER_IS_BETTER == {"pixel_fpr"}
    assert list(names.class_metrics(metrics, names.DICE_SAMPLEWISE)) == list(CLASSES[1:])
