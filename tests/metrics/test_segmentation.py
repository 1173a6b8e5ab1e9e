from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.segmentation import (
    confusions,
    pooled_segmentation,
    segmentation_figures,
)
from capsule_inspection.types import Figure

CLASSES = ("good", "crack", "scratch", "poke")
BINARY = ("good", "defect")
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def drawn(seed: int, *, images: int = 12, num_classes: int = 4) -> Arrays:
    """Masks, marked classes and valid pixels; every third image is good, the last one unmarked."""
    generator = np.random.default_rng(seed)
    truths, marked = np.zeros((2, images, 10, 14), dtype=np.uint8)
    for image in range(images):
        first = 1 + image % (num_classes - 1)
        for row in generator.integers(0, 7, size=2) if image % 3 else ():
            truths[image, row : row + 3, 2:9] = first
            first = 1 + first % (num_classes - 1)
        marked[image] = np.roll(truths[image], generator.integers(0, 3), axis=1)
        wrong = generator.random((10, 14)) < 0.05
        marked[image][wrong] = generator.integers(0, num_classes, size=wrong.sum())
    marked[-1] = 0
    valid = np.ones(truths.shape, dtype=bool)
    valid[:, :2] = False
    return truths, marked, valid


def counted(seed: int, *, images: int = 12, num_classes: int = 4) -> np.ndarray:
    return confusions(*drawn(seed, images=images, num_classes=num_classes), num_classes=num_classes)


def of(truths: list, marked: object, classes: tuple[str, ...] = CLASSES) -> dict[str, Figure]:
    """Figures of images that are given as rows of pixels, all valid; nothing marked if 0."""
    masks = np.array(truths)
    given = np.broadcast_to(np.array(marked), masks.shape)
    counts = confusions(masks, given, np.ones(masks.shape, dtype=bool), num_classes=len(classes))
    return segmentation_figures(counts, classes=classes)


def values(figures: dict[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


def check_equal(found: dict[str, Figure], expected: dict[str, Figure]) -> None:
    """The same values, limits and numbers of images, up to rounding."""
    assert set(found) == set(expected)
    for name, figure in expected.items():
        assert vars(found[name]) == pytest.approx(vars(figure)), name


def test_counts_by_hand() -> None:
    truths = np.array([[[0, 1, 1], [2, 0, 0]]])
    marked = np.array([[[0, 1, 2], [2, 1, 1]]])
    valid = np.array([[[True, True, True], [True, True, False]]])
    counts = confusions(truths, marked, valid, num_classes=3)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[[1, 1, 0], [0, 1, 1], [0, 0, 1]]]


def test_images_may_come_one_by_one_differ_in_size_or_be_missing() -> None:
    truths = [np.ones((2, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint8)]
    valid = [np.ones(truth.shape, dtype=np.uint8) * 255 for truth in truths]
    counts = confusions(iter(truths), iter(truths), iter(valid), num_classes=2)
    assert counts.tolist() == [[[0, 0], [0, 6]], [[16, 0], [0, 0]]]
    none = confusions([], [], [], num_classes=4)
    assert none.shape == (0, 4, 4)
    assert segmentation_figures(none, classes=CLASSES) == {}


def test_padding_changes_no_figure() -> None:
    truths, marked, _ = drawn(2)
    everywhere, frame = np.ones(truths.shape, dtype=bool), ((0, 0), (2, 1), (3, 3))
    padded = np.pad(truths, frame, constant_values=1), np.pad(marked, frame, constant_values=2)
    found = confusions(*padded, np.pad(everywhere, frame), num_classes=4)
    assert np.array_equal(found, confusions(truths, marked, everywhere, num_classes=4))
    # A defect that lies on padding alone makes a good image.
    truths = np.array([[[1, 0, 0]]])
    counts = confusions(truths, np.zeros((1, 1, 3)), truths == 0, num_classes=2)
    assert list(segmentation_figures(counts, classes=BINARY)) == ["false_alarm_area"]


@pytest.mark.parametrize("bad", [4, 255])
def test_classes_outside_are_refused(bad: int) -> None:
    truth, marked = np.zeros((2, 1, 2, 2), dtype=np.uint8)
    marked[0, 0, 0] = bad
    valid = np.ones((1, 2, 2), dtype=bool)
    with pytest.raises(ValueError, match=rf"lie in 0\.\.3, found \[ *0 +{bad}\]"):
        confusions(truth, marked, valid, num_classes=4)
    assert confusions(truth, marked, valid & (marked == 0), num_classes=4).sum() == 3


def test_arrays_that_do_not_fit_are_refused() -> None:
    valid = np.ones((1, 2, 2), dtype=bool)
    with pytest.raises(ValueError, match="must have one shape"):
        confusions(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), valid, num_classes=2)
    with pytest.raises(ValueError, match=r"longer|shorter"):
        confusions(np.zeros((2, 2, 2)), np.zeros((1, 2, 2)), valid, num_classes=2)
    with pytest.raises(ValueError, match=r"\(12, 2, 2\).*found \(12, 4, 4\)"):
        segmentation_figures(counted(0), classes=BINARY)
    with pytest.raises(ValueError, match="at least one class"):
        segmentation_figures(np.ones((3, 1, 1), dtype=np.int64), classes=("good",))
    with pytest.raises(ValueError, match=r"\(3, 4, 4\).*found \(12, 4, 4\)"):
        pooled_segmentation([[(counted(0), ["a", "b", "c"])]], classes=CLASSES)


def test_a_figure_stands_on_the_images_it_is_a_mean_over() -> None:
    found = of([[1, 2, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], 0)
    counts = {name: figure.n for name, figure in found.items()}
    assert counts["iou_of_pixels/scratch"] == counts["mean_dice_of_pixels"] == 5
    assert counts["foreground_iou_of_pixels"] == 5
    assert (counts["dice_of_images/crack"], counts["dice_of_images/scratch"]) == (2, 1)
    assert counts["mean_iou_of_images"] == counts["foreground_dice_of_images"] == 2
    assert (counts["defects_touched"], counts["false_alarm_area"]) == (2, 3)


@pytest.mark.parametrize("seed", range(2))
def test_figures_equal_scikit_learn(seed: int) -> None:
    """Those of pixels over all of them, those of images image by image."""
    truths, marked, valid = drawn(seed)
    scores = {"iou": jaccard_score, "dice": f1_score}
    images = [(t[v], m[v]) for t, m, v in zip(truths, marked, valid, strict=True)]
    truth, called = truths[valid], marked[valid]
    expected = {}
    for kind, score in scores.items():
        of_classes = score(truth, called, labels=[1, 2, 3], average=None)
        of_images = [
            np.mean([score(t == c, m == c) for t, m in images if (t == c).any()])
            for c in range(1, len(CLASSES))
        ]
        for row, name in enumerate(CLASSES[1:]):
            expected[f"{kind}_of_pixels/{name}"] = of_classes[row]
            expected[f"{kind}_of_images/{name}"] = of_images[row]
        expected[f"mean_{kind}_of_pixels"] = np.mean(of_classes)
        expected[f"mean_{kind}_of_images"] = np.mean(of_images)
        expected[f"foreground_{kind}_of_pixels"] = score(truth > 0, called > 0)
        any_defect = [score(t > 0, m > 0) for t, m in images if t.any()]
        expected[f"foreground_{kind}_of_images"] = np.mean(any_defect)
    alarms = [(m > 0).mean() for t, m in images if not t.any()]
    touched = [((t > 0) & (m > 0)).any() for t, m in images if t.any()]
    expected |= {"false_alarm_area": np.mean(alarms), "defects_touched": np.mean(touched)}
    found = values(segmentation_figures(counted(seed), classes=CLASSES))
    assert found == pytest.approx(expected)


def test_what_cannot_be_had_is_absent() -> None:
    assert list(of([[0, 0, 0, 0]] * 2, [[1, 0, 0, 0], [0, 0, 0, 0]])) == ["false_alarm_area"]
    without_good = of([[1, 0]] * 3, [[1, 0]] * 3)
    assert "false_alarm_area" not in without_good
    assert "mean_dice_of_images" in without_good
    # A class that no mask has is not in the mean.
    found = of([[1, 1, 0]], [[1, 1, 3]])
    assert not [name for name in found if name.endswith(("/scratch", "/poke", "/good"))]
    assert found["mean_iou_of_pixels"].value == 1
    assert found["foreground_iou_of_pixels"].value == pytest.approx(2 / 3)


def test_intervals_enclose_their_values_and_repeat_with_their_seed() -> None:
    counts = counted(0, images=30)
    first, again, other = (
        segmentation_figures(counts, classes=CLASSES, seed=seed) for seed in (0, 0, 1)
    )
    assert len(first) == 12 + 4 + 4 + 2
    for name, figure in first.items():
        assert 0 <= figure.low <= figure.value <= figure.high <= 1, name
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

    direct = intervals.bootstrap(mean_iou, [counts], stratify=stratum)
    found = segmentation_figures(counts, classes=CLASSES)["mean_iou_of_pixels"]
    assert found.value == pytest.approx(direct.value)
    assert (found.low, found.high) == pytest.approx((direct.low, direct.high), abs=0.01)


def test_one_image_of_a_class_has_no_interval_nor_has_the_mean_over_classes() -> None:
    truths = [[1, 1, 0, 0], [1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    marked = [[1, 1, 0, 0], [1, 0, 0, 0], [2, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    without = {name for name, figure in of(truths, marked).items() if figure.low is None}
    assert without >= {f"{name}/scratch" for name in ("iou_of_pixels", "dice_of_images")}
    assert without >= {"mean_iou_of_pixels", "mean_dice_of_images"}
    assert not without & {"iou_of_pixels/crack", "foreground_dice_of_images", "false_alarm_area"}


def test_every_draw_has_as_many_images_of_each_class() -> None:
    # All cracks are found and no scratch is, so the mean of a draw tells how many it has of them.
    found = of([[1, 1, 0]] * 3 + [[2, 2, 0]] * 5, [[1, 1, 0]] * 3 + [[0, 0, 0]] * 5)
    assert found["foreground_dice_of_images"] == Figure(3 / 8, None, None, 8)


def test_defects_touched_has_the_interval_of_a_proportion() -> None:
    found = of([[1, 0], [1, 0], [2, 0], [0, 0]], [[2, 0], [0, 1], [2, 2], [0, 0]])
    assert found["defects_touched"] == intervals.proportion(2, 3)


def in_folds(counts: np.ndarray, folds: int) -> list:
    """Every so many of the images in a fold of their own."""
    identity = np.array([f"image {image:03}" for image in range(len(counts))])
    return [(counts[fold::folds], identity[fold::folds]) for fold in range(folds)]


def test_pooled_folds_of_one_seed_equal_one_run_over_all_images() -> None:
    counts = counted(4, images=25)
    found = pooled_segmentation([in_folds(counts, 4)], classes=CLASSES, seed=3)
    check_equal(found, segmentation_figures(counts, classes=CLASSES, seed=3))


def test_several_seeds_have_the_mean_of_their_values_in_any_order() -> None:
    truths, marked, valid = drawn(9, images=24)
    moved = [np.roll(marked, shift, axis=2) for shift in range(3)]
    of_seeds = [confusions(truths, m, valid, num_classes=4) for m in moved]
    runs = [in_folds(counts, 2 + row) for row, counts in enumerate(of_seeds)]
    found = pooled_segmentation(runs, classes=CLASSES)
    alone = [values(segmentation_figures(counts, classes=CLASSES)) for counts in of_seeds]
    mean = {name: np.mean([figures[name] for figures in alone]) for name in alone[0]}
    assert values(found) == pytest.approx(mean)
    assert found["mean_iou_of_pixels"].n == 24
    assert found["defects_touched"].n == 16
    turned = [folds[::-1] for folds in runs[::-1]]
    check_equal(pooled_segmentation(turned, classes=CLASSES), found)


def test_the_same_result_with_more_seeds_makes_no_interval_narrower() -> None:
    folds = in_folds(counted(5, images=20), 2)
    once, thrice = (pooled_segmentation([folds] * seeds, classes=CLASSES) for seeds in (1, 3))
    check_equal(thrice, once)


def test_seeds_and_folds_without_images_do_not_count() -> None:
    folds, none = in_folds(counted(5), 1), (np.zeros((0, 4, 4), dtype=np.int64), [])
    found = pooled_segmentation([[none, *folds], [], [none]], classes=CLASSES)
    assert found == pooled_segmentation([folds], classes=CLASSES)
    assert pooled_segmentation([], classes=CLASSES) == {}
    assert pooled_segmentation([[], [none]], classes=CLASSES) == {}


def test_a_seed_that_lost_its_good_images_still_counts_for_the_defects() -> None:
    counts = counted(5)
    ((_, identity),) = whole = in_folds(counts, 1)
    defect = counts[:, 1:].any(axis=(1, 2))
    found = pooled_segmentation([whole, [(counts[defect], identity[defect])]], classes=CLASSES)
    alone = segmentation_figures(counts, classes=CLASSES)
    for name in ("mean_dice_of_images", "defects_touched", "false_alarm_area"):
        assert found[name].value == pytest.approx(alone[name].value)
        assert found[name].n == alone[name].n


def test_every_name_is_listed_as_what_it_is() -> None:
    figures = segmentation_figures(counted(0), classes=CLASSES)
    of_classes = {name.partition("/")[0] for name in figures if "/" in name}
    assert of_classes <= set(names.PER_CLASS)
    assert not set(figures) & set(names.PER_CLASS)
    assert set(figures) & names.LOWER_IS_BETTER == {"false_alarm_area"}
    assert list(names.of_classes(figures, names.DICE_OF_IMAGES)) == list(CLASSES[1:])
