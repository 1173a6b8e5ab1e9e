from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.functional.classification import multiclass_jaccard_index

from capsule_inspection.contracts import Figure
from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.segmentation import (
    confusions,
    pooled_segmentation,
    segmentation_figures,
)

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


def of(truths: list, marked: list, classes: tuple[str, ...] = CLASSES) -> dict[str, Figure]:
    """Figures of images that are given as rows of pixels, all valid."""
    arrays = np.array(truths), np.array(marked)
    counts = confusions(*arrays, np.ones(arrays[0].shape, dtype=bool), num_classes=len(classes))
    return segmentation_figures(counts, classes=classes)


def values(figures: dict[str, Figure]) -> dict[str, float]:
    return {name: figure.value for name, figure in figures.items()}


# --- counting


def test_counts_by_hand() -> None:
    truths = np.array([[[0, 1, 1], [2, 0, 0]]])
    marked = np.array([[[0, 1, 2], [2, 1, 1]]])
    valid = np.array([[[True, True, True], [True, True, False]]])

    counts = confusions(truths, marked, valid, num_classes=3)

    assert counts.dtype == np.int64
    assert counts.tolist() == [[[1, 1, 0], [0, 1, 1], [0, 0, 1]]]


def test_images_may_come_one_by_one_and_differ_in_size() -> None:
    truths = [np.ones((2, 3), dtype=np.uint8), np.zeros((4, 4), dtype=np.uint8)]
    valid = [np.ones(truth.shape, dtype=np.uint8) * 255 for truth in truths]

    counts = confusions(iter(truths), iter(truths), iter(valid), num_classes=2)

    assert counts.tolist() == [[[0, 0], [0, 6]], [[16, 0], [0, 0]]]


def test_padding_changes_no_figure() -> None:
    truths, marked, _ = drawn(2)
    bare = confusions(truths, marked, np.ones(truths.shape, dtype=bool), num_classes=4)
    frame = ((0, 0), (2, 1), (3, 3))
    valid = np.pad(np.ones(truths.shape, dtype=bool), frame)
    padded = [
        np.pad(truths, frame, constant_values=1),
        np.pad(marked, frame, constant_values=2),
    ]

    assert np.array_equal(confusions(*padded, valid, num_classes=4), bare)


def test_no_images_have_no_counts_and_no_figures() -> None:
    counts = confusions([], [], [], num_classes=4)

    assert counts.shape == (0, 4, 4)
    assert segmentation_figures(counts, classes=CLASSES) == {}


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


# --- values


def test_figures_by_hand() -> None:
    # Crack: 3 pixels, of which 2 are marked crack and 1 scratch; 1 more on the second image.
    # Scratch: 4 pixels, none found. Good: 2 of 5 pixels are marked.
    truths = [[1, 1, 1, 0, 0], [2, 2, 2, 2, 0], [0, 0, 0, 0, 0]]
    marked = [[1, 1, 2, 0, 0], [0, 0, 0, 0, 1], [3, 3, 0, 0, 0]]

    found = of(truths, marked)

    assert values(found) == pytest.approx(
        {
            "iou_of_pixels/crack": 2 / 4,
            "dice_of_pixels/crack": 4 / 6,
            "iou_of_images/crack": 2 / 3,
            "dice_of_images/crack": 4 / 5,
            "iou_of_pixels/scratch": 0,
            "dice_of_pixels/scratch": 0,
            "iou_of_images/scratch": 0,
            "dice_of_images/scratch": 0,
            "mean_iou_of_pixels": 1 / 4,
            "mean_dice_of_pixels": 1 / 3,
            "mean_iou_of_images": 1 / 3,
            "mean_dice_of_images": 2 / 5,
            "foreground_iou_of_pixels": 3 / 10,
            "foreground_dice_of_pixels": 6 / 13,
            "foreground_iou_of_images": 1 / 2,
            "foreground_dice_of_images": 1 / 2,
            "defects_touched": 1 / 2,
            "false_alarm_area": 2 / 5,
        }
    )


def test_a_figure_stands_on_the_images_it_is_a_mean_over() -> None:
    found = of([[1, 2, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], np.zeros((5, 3), dtype=int))

    counts = {name: figure.n for name, figure in found.items()}
    assert counts["iou_of_pixels/scratch"] == counts["mean_dice_of_pixels"] == 5
    assert counts["foreground_iou_of_pixels"] == 5
    assert (counts["dice_of_images/crack"], counts["dice_of_images/scratch"]) == (2, 1)
    assert counts["mean_iou_of_images"] == counts["foreground_dice_of_images"] == 2
    assert (counts["defects_touched"], counts["false_alarm_area"]) == (2, 3)


@pytest.mark.parametrize("seed", range(4))
def test_figures_of_pixels_equal_scikit_learn(seed: int) -> None:
    truths, marked, valid = drawn(seed)

    found = values(segmentation_figures(counted(seed), classes=CLASSES))

    truth, called = truths[valid], marked[valid]
    iou = jaccard_score(truth, called, labels=[1, 2, 3], average=None)
    dice = f1_score(truth, called, labels=[1, 2, 3], average=None)
    for row, name in enumerate(CLASSES[1:]):
        assert found[f"iou_of_pixels/{name}"] == pytest.approx(iou[row])
        assert found[f"dice_of_pixels/{name}"] == pytest.approx(dice[row])
    assert found["mean_iou_of_pixels"] == pytest.approx(iou.mean())
    assert found["mean_dice_of_pixels"] == pytest.approx(dice.mean())
    assert found["foreground_iou_of_pixels"] == pytest.approx(jaccard_score(truth > 0, called > 0))
    assert found["foreground_dice_of_pixels"] == pytest.approx(f1_score(truth > 0, called > 0))


@pytest.mark.parametrize("seed", range(4))
def test_figures_of_images_equal_scikit_learn_image_by_image(seed: int) -> None:
    truths, marked, valid = drawn(seed)

    found = values(segmentation_figures(counted(seed), classes=CLASSES))

    images = [(t[v], m[v]) for t, m, v in zip(truths, marked, valid, strict=True)]
    means = []
    for label, name in enumerate(CLASSES[1:], start=1):
        ious = [jaccard_score(t == label, m == label) for t, m in images if (t == label).any()]
        dices = [f1_score(t == label, m == label) for t, m in images if (t == label).any()]
        assert found[f"iou_of_images/{name}"] == pytest.approx(np.mean(ious))
        assert found[f"dice_of_images/{name}"] == pytest.approx(np.mean(dices))
        means.append((np.mean(ious), np.mean(dices)))
    assert found["mean_iou_of_images"] == pytest.approx(np.mean(means, axis=0)[0])
    assert found["mean_dice_of_images"] == pytest.approx(np.mean(means, axis=0)[1])
    dices = [f1_score(t > 0, m > 0) for t, m in images if t.any()]
    assert found["foreground_dice_of_images"] == pytest.approx(np.mean(dices))
    alarms = [(m > 0).mean() for t, m in images if not t.any()]
    assert found["false_alarm_area"] == pytest.approx(np.mean(alarms))
    touched = [((t > 0) & (m > 0)).any() for t, m in images if t.any()]
    assert found["defects_touched"] == pytest.approx(np.mean(touched))


def test_mean_iou_equals_torchmetrics_where_the_background_is_ignored() -> None:
    truths, marked, valid = drawn(5)

    found = values(segmentation_figures(counted(5), classes=CLASSES))

    pair = torch.tensor(marked[valid]).long(), torch.tensor(truths[valid]).long()
    of_classes = multiclass_jaccard_index(*pair, num_classes=4, average="none")
    assert found["mean_iou_of_pixels"] == pytest.approx(float(of_classes[1:].mean()), rel=1e-5)


def test_the_order_of_images_does_not_change_values() -> None:
    counts = counted(6)
    order = np.random.default_rng(0).permutation(len(counts))

    straight, mixed = (
        values(segmentation_figures(rows, classes=CLASSES)) for rows in (counts, counts[order])
    )

    assert mixed == pytest.approx(straight)


def test_with_one_class_its_figures_the_means_and_the_foreground_agree() -> None:
    figures = segmentation_figures(counted(7, num_classes=2), classes=BINARY)

    for kind in ("iou_of_pixels", "dice_of_pixels", "iou_of_images", "dice_of_images"):
        of_class = figures[f"{kind}/defect"]
        assert figures[f"mean_{kind}"] == figures[f"foreground_{kind}"] == of_class


def test_a_defect_with_the_wrong_class_counts_for_the_foreground_alone() -> None:
    found = values(of([[1, 1, 0]], [[2, 2, 0]]))

    assert found["foreground_dice_of_pixels"] == found["defects_touched"] == 1
    assert found["dice_of_pixels/crack"] == found["mean_dice_of_images"] == 0


def test_a_false_mark_on_another_image_lowers_figures_of_pixels_alone() -> None:
    found = values(of([[1, 1, 0], [0, 0, 0]], [[1, 1, 0], [1, 1, 0]]))

    assert found["dice_of_pixels/crack"] == pytest.approx(2 / 3)
    assert found["dice_of_images/crack"] == 1


# --- what is missing, and the ends


def test_without_masks_there_is_no_overlap() -> None:
    assert list(of([[0, 0, 0, 0]] * 2, [[1, 0, 0, 0], [0, 0, 0, 0]])) == ["false_alarm_area"]


def test_without_good_images_there_is_no_false_alarm_area() -> None:
    found = of([[1, 0]] * 3, [[1, 0]] * 3)

    assert "false_alarm_area" not in found
    assert "mean_dice_of_images" in found


def test_a_class_that_no_mask_has_is_absent_and_not_in_the_mean() -> None:
    found = of([[1, 1, 0]], [[1, 1, 3]])

    assert not [name for name in found if name.endswith(("/scratch", "/poke", "/good"))]
    assert found["mean_iou_of_pixels"].value == 1
    assert found["foreground_iou_of_pixels"].value == pytest.approx(2 / 3)


def test_overlap_is_zero_where_nothing_is_marked() -> None:
    found = of([[1, 1, 0], [0, 2, 0], [0, 0, 0]], np.zeros((3, 3), dtype=int))

    assert set(values(found).values()) == {0.0}
    assert found["defects_touched"] == intervals.proportion(0, 2)


def test_where_everything_is_marked_dice_comes_from_the_size_of_the_mask() -> None:
    found = values(of([[1, 0, 0, 0], [0, 0, 0, 0]], np.ones((2, 4), dtype=int)))

    assert found["foreground_dice_of_images"] == pytest.approx(2 / 5)
    assert found["foreground_dice_of_pixels"] == pytest.approx(2 / 9)
    assert found["false_alarm_area"] == found["defects_touched"] == 1


def test_overlap_is_one_where_marks_equal_masks() -> None:
    truths, _, valid = drawn(8)
    figures = segmentation_figures(
        confusions(truths, truths, valid, num_classes=4), classes=CLASSES
    )

    assert figures.pop("false_alarm_area").value == 0
    assert set(values(figures).values()) == {1.0}


def test_a_defect_that_lies_on_padding_alone_makes_a_good_image() -> None:
    truths, marked = np.array([[[1, 0, 0]]]), np.zeros((1, 1, 3))

    counts = confusions(truths, marked, truths == 0, num_classes=2)

    assert list(segmentation_figures(counts, classes=BINARY)) == ["false_alarm_area"]


# --- intervals


@pytest.mark.parametrize("seed", range(3))
def test_intervals_enclose_their_values(seed: int) -> None:
    figures = segmentation_figures(counted(seed, images=30), classes=CLASSES)

    assert len(figures) == 12 + 4 + 4 + 2
    for figure in figures.values():
        assert figure.low is not None
        assert figure.high is not None
        assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_the_same_seed_gives_the_same_intervals() -> None:
    first, again, other = (
        segmentation_figures(counted(1), classes=CLASSES, seed=seed) for seed in (0, 0, 1)
    )

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

    found = of(truths, marked)

    without = {name for name, figure in found.items() if figure.low is None}
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


# --- cross validation


def in_folds(counts: np.ndarray, identity: np.ndarray, folds: int) -> list:
    """Every so many of the images in a fold of their own."""
    return [(counts[fold::folds], identity[fold::folds]) for fold in range(folds)]


def identities(count: int) -> np.ndarray:
    return np.array([f"photograph {image:03}" for image in range(count)])


def test_pooled_folds_of_one_seed_equal_one_run_over_all_images() -> None:
    counts = counted(4, images=25)
    one_run = segmentation_figures(counts, classes=CLASSES, seed=3)

    found = pooled_segmentation([in_folds(counts, identities(25), 4)], classes=CLASSES, seed=3)

    assert values(found) == pytest.approx(values(one_run))
    for name, figure in one_run.items():
        assert (found[name].low, found[name].high) == pytest.approx((figure.low, figure.high))
        assert found[name].n == figure.n


def test_several_seeds_have_the_mean_of_their_values() -> None:
    truths, marked, valid = drawn(9, images=24)
    moved = [np.roll(marked, shift, axis=2) for shift in range(3)]
    of_seeds = [confusions(truths, m, valid, num_classes=4) for m in moved]
    runs = [in_folds(counts, identities(24), 2 + row) for row, counts in enumerate(of_seeds)]

    found = pooled_segmentation(runs, classes=CLASSES)

    alone = [values(segmentation_figures(counts, classes=CLASSES)) for counts in of_seeds]
    assert values(found) == pytest.approx(
        {name: np.mean([figures[name] for figures in alone]) for name in alone[0]}
    )
    assert found["mean_iou_of_pixels"].n == 24
    assert found["defects_touched"].n == 16


def test_the_same_result_with_more_seeds_makes_no_interval_narrower() -> None:
    folds = in_folds(counted(5, images=20), identities(20), 2)

    once, thrice = (pooled_segmentation([folds] * seeds, classes=CLASSES) for seeds in (1, 3))

    for name, figure in once.items():
        assert vars(thrice[name]) == pytest.approx(vars(figure))


def test_neither_the_order_of_folds_nor_of_seeds_matters() -> None:
    runs = [in_folds(counted(5, images=20), identities(20), 2 + seed) for seed in range(2)]

    straight = pooled_segmentation(runs, classes=CLASSES)
    turned = pooled_segmentation([folds[::-1] for folds in runs[::-1]], classes=CLASSES)

    for name, figure in straight.items():
        assert vars(turned[name]) == pytest.approx(vars(figure))


def test_seeds_and_folds_without_images_do_not_count() -> None:
    counts, none = counted(5), (np.zeros((0, 4, 4), dtype=np.int64), [])
    folds = [(counts, identities(12))]

    found = pooled_segmentation([[none, *folds], [], [none]], classes=CLASSES)

    assert found == pooled_segmentation([folds], classes=CLASSES)
    assert pooled_segmentation([], classes=CLASSES) == {}
    assert pooled_segmentation([[], [none]], classes=CLASSES) == {}


def test_a_seed_that_lost_its_good_images_still_counts_for_the_defects() -> None:
    counts, names_of = counted(5), identities(12)
    defect = counts[:, 1:].any(axis=(1, 2))

    found = pooled_segmentation(
        [[(counts, names_of)], [(counts[defect], names_of[defect])]], classes=CLASSES
    )

    alone = segmentation_figures(counts, classes=CLASSES)
    for name in ("mean_dice_of_images", "defects_touched", "false_alarm_area"):
        assert found[name].value == pytest.approx(alone[name].value)
        assert found[name].n == alone[name].n


# --- names


def test_every_name_is_listed_as_what_it_is() -> None:
    figures = segmentation_figures(counted(0), classes=CLASSES)

    of_classes = {name.partition("/")[0] for name in figures if "/" in name}
    assert of_classes <= set(names.PER_CLASS)
    assert not set(figures) & set(names.PER_CLASS)
    assert set(figures) & names.LOWER_IS_BETTER == {"false_alarm_area"}
    assert list(names.of_classes(figures, names.DICE_OF_IMAGES)) == list(CLASSES[1:])
