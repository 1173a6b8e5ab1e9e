"""Metrics of a segmentation: overlap by class, hit rate of defects, false positives.

Each pixel has one class, 0 where nothing is wrong. Overlap is IoU, TP / (TP + FP + FN), and Dice,
2 TP / (2 TP + FP + FN). Global: over the pixels of all images together, so a false positive on any
image counts; these are scikit-learn's `jaccard_score` and `f1_score`. Samplewise: the mean over the
images whose mask has the class. Binary: of any defect, whichever class is predicted. Intervals draw
whole images, those of one group and class together, one group fewer of each class than there are,
since classes are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from capsule_inspection.metrics import bootstrap, intervals, names
from capsule_inspection.metrics.classification import classification_metrics, confusion_matrix
from capsule_inspection.metrics.detection import DEFAULT_TARGET_FPR, anomaly_metrics
from capsule_inspection.metrics.localization import localization_metrics
from capsule_inspection.metrics.pixel_counts import count_pixels, rows_with_known_mask
from capsule_inspection.metrics.target_masks import counted_pixels, limit_classes
from capsule_inspection.types import DEFECT, GOOD_LABEL, Estimate, Predictions

_NUM_GLOBAL = 2
"""So many of each four overlaps are global, the others samplewise."""

_MIN_IMAGES = 2
"""Groups for an interval: one, drawn again and again, does not vary."""

Fold = tuple[np.ndarray, Sequence[str] | np.ndarray]
"""Confusion matrices (N, C, C) of the images of a fold, and their groups (N,); SHA-256 if alone."""


def segmentation_metrics(
    predictions: Predictions,
    true_masks: Sequence[np.ndarray],
    valid: np.ndarray,
    *,
    classes: Sequence[str],
    seed: int = 0,
    group: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """All metrics of a run that segments: of images, of maps and of masks; keys have no stage.

    A defect whose mask is not known counts for the metrics of images alone. Where the run gives no
    probabilities it has a single defect class, and so have all masks.
    Shapes: true masks N of (H, W), see `target_masks`; valid (N, H, W) bool, false on padding;
    group (N,).
    """
    group = intervals.group_numbers(group, len(predictions.label))
    assert predictions.predicted_mask is not None
    assert predictions.anomaly_map is not None
    is_defect = predictions.label != GOOD_LABEL
    metrics = anomaly_metrics(
        is_defect,
        predictions.predicted_label != GOOD_LABEL,
        predictions.score,
        class_names=np.array(classes)[predictions.label],
        target_fpr=DEFAULT_TARGET_FPR,
        seed=seed,
        group=group,
    )
    if predictions.probabilities is not None:
        metrics |= classification_metrics(
            predictions.label,
            predictions.probabilities,
            classes=classes,
            predicted_label=predictions.predicted_label,
            score=predictions.score,
            seed=seed,
            group=group,
        )
    else:
        classes = (classes[GOOD_LABEL], DEFECT)
        true_masks = [limit_classes(mask) for mask in true_masks]
    known = rows_with_known_mask(is_defect, true_masks)
    masks = [true_masks[row] for row in known]
    matrices = pixel_confusion_matrices(
        masks, predictions.predicted_mask[known], valid[known], num_classes=len(classes)
    )
    counts = count_pixels(predictions.anomaly_map[known], masks, valid[known])
    return (
        metrics
        | overlap_metrics(matrices, classes=classes, seed=seed, group=group[known])
        | localization_metrics(counts, seed=seed, group=group[known])
    )


def pixel_confusion_matrices(
    true_masks: Iterable[np.ndarray],
    predicted_masks: Iterable[np.ndarray],
    valid: Iterable[np.ndarray],
    *,
    num_classes: int,
) -> np.ndarray:
    """Pixels of each class (row) that are predicted as each class (column), for each image.

    Shapes: N of (H, W) each, of one size for an image: true and predicted classes in
    [0, num_classes), or ignored; valid bool, false on padding. Ignored pixels and padding are left
    out. Returns (N, C, C) int64.
    """
    found = []
    for true_mask, predicted_mask, inside in zip(true_masks, predicted_masks, valid, strict=True):
        counted = counted_pixels(true_mask, inside)
        found.append(confusion_matrix(true_mask[counted], predicted_mask[counted], num_classes))
    return np.stack(found) if found else np.zeros((0, num_classes, num_classes), dtype=np.int64)


def overlap_metrics(
    matrices: np.ndarray,
    *,
    classes: Sequence[str],
    seed: int = 0,
    group: np.ndarray | None = None,
) -> dict[str, Estimate]:
    """Overlap, hit rate and pixel FPR of one set of images, each with its 95% interval.

    Means are over the defect classes that some mask has, the background never among them.
    `defect_hit_rate` is the fraction of images with a mask on which any predicted pixel lies;
    `pixel_fpr` the mean fraction of a good image that is predicted as a defect. A metric that is
    undefined is absent. n is the number of all groups for global metrics, else of those whose
    images it is a mean over: images with the class, with a mask, good ones. Intervals are a
    bootstrap over groups, each defect class and the good ones keeping their numbers; that of
    `defect_hit_rate` is Wilson's. There is none where one class of a metric has fewer than two
    groups or all draws agree. An empty mask means a good image: leave out defects without a mask
    (`pixel_counts.rows_with_known_mask`).
    Shapes: matrices (N, C, C) of `pixel_confusion_matrices`; classes C names, that of good first;
    group (N,), without which each image stands for itself.
    """
    group = intervals.group_numbers(group, len(matrices))
    return pooled_overlap_metrics([[(matrices, group)]], classes=classes, seed=seed)


def pooled_overlap_metrics(
    folds_of_seeds: Sequence[Sequence[Fold]], *, classes: Sequence[str], seed: int = 0
) -> dict[str, Estimate]:
    """Metrics of cross validation: folds of one seed are pooled, then the mean over seeds is taken.

    The folds of a seed test each image once. The bootstrap draws groups: the same one as often in
    every seed, so that more seeds do not make more of them. Otherwise as `overlap_metrics`.
    """
    pooled = [zip(*folds, strict=True) for folds in folds_of_seeds if folds]
    seeds = [tuple(np.concatenate(parts) for parts in of_seed) for of_seed in pooled]
    areas = [PixelAreas.of(matrices) for matrices, group in seeds if len(group)]
    if not areas:
        return {}
    groups = [group for _, group in seeds if len(group)]
    of_seeds = [strata(of_seed.truth) for of_seed in areas]
    weights = bootstrap.clustered_weights(groups, of_seeds, seed=seed, rescaled=True)
    group = np.concatenate(groups)
    return {
        **_overlap_estimates(areas, weights, group, classes),
        **_detection_estimates(areas, weights, group),
    }


@dataclass(frozen=True)
class PixelAreas:
    """Pixels of images by class; in column 0, which the background leaves free, of any defect.

    Shapes: hit, truth and predicted (..., C) float64; total (...).
    """

    hit: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, matrices: np.ndarray) -> PixelAreas:
        """Areas of confusion matrices (..., C, C)."""
        matrices = matrices.astype(np.float64)
        hit = np.diagonal(matrices, axis1=-2, axis2=-1).copy()
        truth, predicted = matrices.sum(axis=-1), matrices.sum(axis=-2)
        total = matrices.sum(axis=(-2, -1))
        hit[..., 0] = matrices[..., 1:, 1:].sum(axis=(-2, -1))
        truth[..., 0] = truth[..., 1:].sum(axis=-1)
        predicted[..., 0] = predicted[..., 1:].sum(axis=-1)
        return cls(hit, truth, predicted, total)


def strata(truth: np.ndarray) -> np.ndarray:
    """The class that most of a mask (N, C) has, 0 where it is empty: (N,)."""
    return np.where(truth[:, 0] > 0, 1 + truth[:, 1:].argmax(axis=1), 0)


def iou_and_dice(hit: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """IoU and Dice, NaN where the truth is empty. Shapes: (...) each; returns (2, ...)."""
    both = np.where(truth > 0, truth + predicted, np.nan)
    return np.stack([hit / (both - hit), 2 * hit / both])


def _overlap_estimates(
    areas: Sequence[PixelAreas],
    weights: Sequence[np.ndarray],
    group: np.ndarray,
    classes: Sequence[str],
) -> dict[str, Estimate]:
    """IoU and Dice: means over classes, of any defect, then class by class.

    Shapes: group (N,), of the images of all seeds.
    """
    value, drawn = (_mean_of_seeds(_overlaps, areas, rows) for rows in (_once(areas), weights))
    has_class = np.concatenate([of_seed.truth for of_seed in areas]) > 0
    total = intervals.num_groups(group)
    of_classes = [group[rows] for rows in has_class.T]
    with_class = np.array([intervals.num_groups(of_class) for of_class in of_classes])
    fewest = np.append(with_class.min(where=with_class > 0, initial=total), with_class)
    shown = [of_classes[0], *of_classes]
    keys = [
        names.MEAN_OVERLAPS,
        names.BINARY_OVERLAPS,
        *([names.class_metric(key, name) for key in names.CLASS_OVERLAPS] for name in classes[1:]),
    ]
    estimates = {}
    for column, of_column in enumerate(keys):
        for row, key in enumerate(of_column):
            rows = drawn[row, :, column] if fewest[column] >= _MIN_IMAGES else None
            found = _estimate(float(value[row, 0, column]), rows, shown[column])
            estimates[key] = replace(found, n=total) if row < _NUM_GLOBAL else found
    return {key: found for key, found in estimates.items() if np.isfinite(found.value)}


def _overlaps(areas: PixelAreas, weights: np.ndarray) -> np.ndarray:
    """IoU and Dice, global, then samplewise, for weights (R, N): (4, R, 1 + C).

    Columns: the mean over classes, any defect, each class. NaN where no mask is drawn.
    """
    parts = areas.hit, areas.truth, areas.predicted
    of_pixels = iou_and_dice(*(weights @ part for part in parts))
    samplewise = _mean_over(areas.truth > 0, iou_and_dice(*parts), weights)
    found = np.concatenate([of_pixels, samplewise])
    mean = bootstrap.mean_of_folds(list(np.moveaxis(found[..., 1:], -1, 0)))
    return np.concatenate([mean[..., None], found], axis=-1)


def _detection_estimates(
    areas: Sequence[PixelAreas], weights: Sequence[np.ndarray], group: np.ndarray
) -> dict[str, Estimate]:
    """Hit rate of defects and pixel FPR of good images, where there are such images."""
    has_defect = np.concatenate([of_seed.truth[:, 0] for of_seed in areas]) > 0
    estimates = {}
    if has_defect.any():
        defects = intervals.num_groups(group[has_defect])
        hits = float(_mean_of_seeds(_hit_rate, areas, _once(areas))[0]) * defects
        estimates[names.DEFECT_HIT_RATE] = intervals.proportion(
            min(hits, defects), defects, group=group[has_defect]
        )
    if not has_defect.all():
        value = float(_mean_of_seeds(_pixel_fpr, areas, _once(areas))[0])
        good = group[~has_defect]
        enough = intervals.num_groups(good) >= _MIN_IMAGES
        drawn = _mean_of_seeds(_pixel_fpr, areas, weights) if enough else None
        estimates[names.PIXEL_FPR] = _estimate(value, drawn, good)
    return estimates


def _hit_rate(areas: PixelAreas, weights: np.ndarray) -> np.ndarray:
    return _mean_over(areas.truth[:, 0] > 0, areas.hit[:, 0] > 0, weights)


def _pixel_fpr(areas: PixelAreas, weights: np.ndarray) -> np.ndarray:
    fraction = areas.predicted[:, 0] / np.maximum(areas.total, 1)
    return _mean_over(areas.truth[:, 0] == 0, fraction, weights)


def _mean_over(among: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of values (..., N, C) or (N,) over the images among them, NaN where none is drawn."""
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(among, values, 0.0)) / (weights @ among)


def _once(areas: Sequence[PixelAreas]) -> list[np.ndarray]:
    """Weights (1, N) of each seed that give the metrics themselves."""
    return [np.ones((1, len(of_seed.total))) for of_seed in areas]


def _mean_of_seeds(
    statistic: Callable[[PixelAreas, np.ndarray], np.ndarray],
    areas: Sequence[PixelAreas],
    weights: Sequence[np.ndarray],
) -> np.ndarray:
    of_seeds = [statistic(*of_seed) for of_seed in zip(areas, weights, strict=True)]
    return bootstrap.mean_of_folds(of_seeds)


def _estimate(value: float, drawn: np.ndarray | None, group: np.ndarray) -> Estimate:
    """A metric with the limits of its resamples; `group` (N,) of the images that it stands on."""
    limits = None if drawn is None else bootstrap.percentile_limits(drawn)
    n = intervals.num_groups(group)
    return intervals.estimate(value, bootstrap.widen(limits, value, group), n=n)
