"""How well do marked pixels cover what the masks say? Overlap by class, and false alarms.

Each pixel has one class, 0 where nothing is wrong. Overlap is IoU, hit / (mask or marked), and
Dice, 2 hit / (mask + marked): of pixels, where those of all images are put together and a false
mark on any image counts; and of images, the mean over the images whose mask has the class. Values
of pixels are those of scikit-learn's `jaccard_score` and `f1_score`. Intervals draw whole images,
one fewer of each class than there are, since classes are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from capsule_inspection.metrics import intervals, names, resampling
from capsule_inspection.metrics.classification import confusion
from capsule_inspection.types import Figure

_OF_PIXELS = 2
"""So many of each four are of pixels, the others of images."""

_FEWEST = 2
"""Images for an interval: one, drawn again and again, does not vary."""

Fold = tuple[np.ndarray, Sequence[str] | np.ndarray]
"""Counts (N, C, C) of the images of a fold, and their identities (N,), such as SHA-256."""


def confusions(
    truths: Iterable[np.ndarray],
    marked: Iterable[np.ndarray],
    valid: Iterable[np.ndarray],
    *,
    num_classes: int,
) -> np.ndarray:
    """How often each class of a mask (row) was marked as each class (column), image by image.

    Shapes: N of (H, W) each, of one size for an image: truths and marked classes in
    [0, num_classes); valid bool, false on padding, which is left out. Returns (N, C, C) int64.
    Raises ValueError where numbers or shapes differ or a class lies outside.
    """
    images = zip(truths, marked, valid, strict=True)
    found = [_confusion(*image, num_classes) for image in images]
    return np.stack(found) if found else np.zeros((0, num_classes, num_classes), dtype=np.int64)


def segmentation_figures(
    counts: np.ndarray, *, classes: Sequence[str], seed: int = 0
) -> dict[str, Figure]:
    """Every figure of one set of images, each with its 95% interval, without a stage in the keys.

    Means are over the defect classes that some mask has, the background never among them. The
    foreground is any defect, whichever class it was given. `defects_touched` is the share of images
    with a mask on which any marked pixel lies; `false_alarm_area` the mean share of a good image
    that is marked. A figure that cannot be had is absent. n is the number of all images for figures
    of pixels, else of those that it is a mean over: images with the class, with a mask, good ones.
    Intervals are a bootstrap over images, each defect class and the good ones keeping their
    numbers; that of `defects_touched` is Wilson's. None where one class of a figure has fewer than
    two images or all draws agree. An empty mask means a good image: leave out defects without a
    mask (`pixel_counts.rows_that_tell`).
    Shapes: counts (N, C, C) as `confusions` gives them; classes C names, that of good first.
    Raises ValueError where they do not fit or there is no defect class.
    """
    return pooled_segmentation([[(counts, np.arange(len(counts)))]], classes=classes, seed=seed)


def pooled_segmentation(
    runs_of_seeds: Sequence[Sequence[Fold]], *, classes: Sequence[str], seed: int = 0
) -> dict[str, Figure]:
    """Figures of cross validation: folds of one seed are pooled, then the mean over seeds is taken.

    The folds of a seed test each image once. The bootstrap draws photographs: the same one as often
    in every seed, so that more seeds do not make more of them; n counts distinct ones. A photograph
    has the same mask in every seed. Otherwise as `segmentation_figures`.
    Raises ValueError too where the numbers of images and identities differ.
    """
    pooled = [_pooled(folds, len(classes)) for folds in runs_of_seeds]
    seeds = [areas for areas in pooled if len(areas.identity)]
    if not seeds:
        return {}
    identities = np.concatenate([areas.identity for areas in seeds])
    _, first, position = np.unique(identities, return_index=True, return_inverse=True)
    truth = np.concatenate([areas.truth for areas in seeds])[first]
    drawn = resampling.rescaled_weights(_stratum(truth), seed=seed)[:, position]
    ends = np.cumsum([len(areas.identity) for areas in seeds])[:-1]
    weights = np.split(drawn, ends, axis=1)
    overlap = _overlap_figures(seeds, weights, truth, classes)
    return overlap | _side_figures(seeds, weights, truth)


@dataclass(frozen=True)
class _Areas:
    """Pixels of N images by class; in column 0, which the background leaves free, of any defect.

    Shapes: hit, truth and marked (N, C) float64; pixels and identity (N,).
    """

    hit: np.ndarray
    truth: np.ndarray
    marked: np.ndarray
    pixels: np.ndarray
    identity: np.ndarray


def _confusion(
    truth: np.ndarray, marked: np.ndarray, valid: np.ndarray, num_classes: int
) -> np.ndarray:
    if not truth.shape == marked.shape == valid.shape:
        raise ValueError(
            "mask, marked pixels and valid of an image must have one shape, found "
            f"{truth.shape}, {marked.shape} and {valid.shape}"
        )
    kept = valid != 0
    of_truth, of_marked = truth[kept], marked[kept]
    for of_one in (of_truth, of_marked):
        if len(of_one) and not 0 <= of_one.min() <= of_one.max() < num_classes:
            raise ValueError(f"classes must lie in 0..{num_classes - 1}, found {np.unique(of_one)}")
    return confusion(of_truth, of_marked, num_classes)


def _pooled(folds: Sequence[Fold], num_classes: int) -> _Areas:
    """The images of all folds as one set."""
    for counts, identities in folds:
        _check(counts, identities, num_classes)
    if not folds:
        return _areas(np.zeros((0, num_classes, num_classes)), np.zeros(0))
    identities = np.concatenate([np.asarray(identities) for _, identities in folds])
    return _areas(np.concatenate([counts for counts, _ in folds]), identities)


def _check(counts: np.ndarray, identities: Sequence[str] | np.ndarray, num_classes: int) -> None:
    expected = (len(identities), num_classes, num_classes)
    if counts.shape != expected or num_classes < 2:
        raise ValueError(
            f"counts must be (identities, classes, classes) = {expected} with at least one class "
            f"beside that of good images, found {counts.shape}"
        )


def _areas(counts: np.ndarray, identity: np.ndarray) -> _Areas:
    counts = counts.astype(np.float64)
    hit = np.diagonal(counts, axis1=1, axis2=2).copy()
    truth, marked = counts.sum(axis=2), counts.sum(axis=1)
    hit[:, 0] = counts[:, 1:, 1:].sum(axis=(1, 2))
    truth[:, 0], marked[:, 0] = truth[:, 1:].sum(axis=1), marked[:, 1:].sum(axis=1)
    return _Areas(hit, truth, marked, counts.sum(axis=(1, 2)), identity)


def _stratum(truth: np.ndarray) -> np.ndarray:
    """The class that most of a mask (N, C) has, 0 where it is empty: (N,)."""
    return np.where(truth[:, 0] > 0, 1 + truth[:, 1:].argmax(axis=1), 0)


def _overlap_figures(
    seeds: Sequence[_Areas],
    weights: Sequence[np.ndarray],
    truth: np.ndarray,
    classes: Sequence[str],
) -> dict[str, Figure]:
    """IoU and Dice: means over classes, of the foreground, then class by class."""
    value, drawn = (_mean_of_seeds(_overlaps, seeds, rows) for rows in (_once(seeds), weights))
    with_class = (truth > 0).sum(axis=0)
    fewest = np.append(with_class.min(where=with_class > 0, initial=len(truth)), with_class)
    with_one = np.append(with_class[0], with_class)
    figures = {}
    for column, keys in enumerate(_keys(classes)):
        for row, key in enumerate(keys):
            n = len(truth) if row < _OF_PIXELS else int(with_one[column])
            rows = drawn[row, :, column] if fewest[column] >= _FEWEST else None
            figures[key] = _figure(float(value[row, 0, column]), rows, n)
    return {key: figure for key, figure in figures.items() if np.isfinite(figure.value)}


def _keys(classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Names of the four figures of each column of `_overlaps`."""
    of_classes = [
        tuple(names.class_metric(key, name) for key in names.OVERLAPS_OF_CLASS)
        for name in classes[1:]
    ]
    return [names.MEAN_OVERLAPS, names.FOREGROUND_OVERLAPS, *of_classes]


def _overlaps(areas: _Areas, weights: np.ndarray) -> np.ndarray:
    """IoU and Dice of pixels, then of images, for weights (R, N): (4, R, 1 + C).

    Columns: the mean over classes, any defect, each class. NaN where no mask was drawn.
    """
    parts, has = (areas.hit, areas.truth, areas.marked), areas.truth > 0
    of_pixels = _iou_and_dice(*(weights @ part for part in parts))
    of_images = _mean_over(has, _iou_and_dice(*parts), weights)
    found = np.concatenate([of_pixels, of_images])
    mean = resampling.mean_of_folds(list(np.moveaxis(found[..., 1:], -1, 0)))
    return np.concatenate([mean[..., None], found], axis=-1)


def _iou_and_dice(hit: np.ndarray, truth: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """IoU and Dice, NaN where the truth is empty. Shapes: (...) each; returns (2, ...)."""
    both = np.where(truth > 0, truth + marked, np.nan)
    return np.stack([hit / (both - hit), 2 * hit / both])


def _mean_over(among: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of values (..., N, C) or (N,) over the images among them, NaN where none was drawn."""
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(among, values, 0.0)) / (weights @ among)


def _side_figures(
    seeds: Sequence[_Areas], weights: Sequence[np.ndarray], truth: np.ndarray
) -> dict[str, Figure]:
    """Defects that are touched, and false alarms on good images; of each what can be had."""
    defects = int((truth[:, 0] > 0).sum())
    good = len(truth) - defects
    figures = {}
    if defects:
        touched = float(_mean_of_seeds(_touched, seeds, _once(seeds))[0])
        found = min(touched * defects, defects)
        figures[names.DEFECTS_TOUCHED] = intervals.proportion(found, defects)
    if good:
        area = float(_mean_of_seeds(_false_alarm_area, seeds, _once(seeds))[0])
        drawn = _mean_of_seeds(_false_alarm_area, seeds, weights) if good >= _FEWEST else None
        figures[names.FALSE_ALARM_AREA] = _figure(area, drawn, good)
    return figures


def _touched(areas: _Areas, weights: np.ndarray) -> np.ndarray:
    """Share of images with a mask on which a marked pixel lies, for weights (R, N): (R,)."""
    return _mean_over(areas.truth[:, 0] > 0, areas.hit[:, 0] > 0, weights)


def _false_alarm_area(areas: _Areas, weights: np.ndarray) -> np.ndarray:
    """Mean share of a good image's pixels that is marked, for weights (R, N): (R,)."""
    share = areas.marked[:, 0] / np.maximum(areas.pixels, 1)
    return _mean_over(areas.truth[:, 0] == 0, share, weights)


def _once(seeds: Sequence[_Areas]) -> list[np.ndarray]:
    """Weights (1, N) of each seed that give the figures themselves."""
    return [np.ones((1, len(areas.identity))) for areas in seeds]


def _mean_of_seeds(
    statistic: Callable[[_Areas, np.ndarray], np.ndarray],
    seeds: Sequence[_Areas],
    weights: Sequence[np.ndarray],
) -> np.ndarray:
    of_seeds = [statistic(*of_seed) for of_seed in zip(seeds, weights, strict=True)]
    return resampling.mean_of_folds(of_seeds)


def _figure(value: float, drawn: np.ndarray | None, n: int) -> Figure:
    limits = None if drawn is None else resampling.percentile_limits(drawn)
    return resampling.enclosing(value, limits, n=n)
