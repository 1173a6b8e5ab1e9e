"""Bootstrap over images: weights of the resamples, and limits from the resampled metrics.

Where a metric is a sum over images, a thousand resamples are one product of matrices. Images are
drawn, never pixels, and an image that is tested in several folds is drawn as often in each. Source:
Davison and Hinkley 1997, sections 2.4 (strata) and 3.8 (clusters). Own, since scipy's bootstrap has
neither strata of paired arrays nor resamples without a value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from capsule_inspection.metrics.intervals import CONFIDENCE, Limits

RESAMPLES = 1000

_MIN_USABLE = 0.9
"""With a smaller fraction of resamples that have a value there is no interval."""

_NO_WIDTH = 1e-9
"""Spread that rounding can cause; an interval as narrow would claim certainty."""


def stratified_weights(
    stratum: np.ndarray, *, seed: int, resamples: int = RESAMPLES, rescaled: bool = False
) -> np.ndarray:
    """Weight of each image in each resample, (resamples, N) float64; strata keep their sizes.

    With `rescaled`, n - 1 images of a stratum of n are drawn and weighted by n / (n - 1): drawing n
    shows only (n - 1) / n of the variance, three quarters for four images (Rao and Wu 1988). The
    only image of a stratum always has weight 1. Shapes: stratum (N,).
    """
    generator = np.random.default_rng(seed)
    weights = np.ones((resamples, len(stratum)))
    for name in np.unique(stratum):
        rows = np.flatnonzero(stratum == name)
        count = len(rows)
        draws = count - 1 if rescaled else count
        if draws:
            drawn = generator.multinomial(draws, np.full(count, 1 / count), resamples)
            weights[:, rows] = drawn * (count / draws)
    return weights


def clustered_weights(
    identities: Sequence[np.ndarray], is_defect: Sequence[np.ndarray], *, seed: int
) -> list[np.ndarray]:
    """Weights of the images of each fold; an image has the same weight in all of its folds.

    Strata are good images, and those with a defect in any fold.
    Shapes: of each fold (N,) both. Returns (RESAMPLES, N) of each fold.
    """
    images, position = np.unique(np.concatenate(identities), return_inverse=True)
    defect = np.zeros(len(images), dtype=bool)
    defect[position[np.concatenate(is_defect)]] = True
    weights = stratified_weights(defect, seed=seed)
    ends = np.cumsum([len(fold) for fold in identities])[:-1]
    return [weights[:, rows] for rows in np.split(position, ends)]


def mean_of_folds(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the folds that have a value, NaN where none has. Shapes: (R,) each, and back."""
    stacked = np.stack(values)
    has_value = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(has_value, stacked, 0.0).sum(axis=0) / has_value.sum(axis=0)


def percentile_limits(drawn: np.ndarray) -> Limits | None:
    """95% limits of resamples (R,); None where too many have no value or all agree."""
    usable = drawn[np.isfinite(drawn)]
    if len(usable) < _MIN_USABLE * len(drawn) or np.ptp(usable) < _NO_WIDTH:
        return None
    low, high = np.quantile(usable, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def percentile_bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[np.ndarray],
    *,
    stratify: np.ndarray | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Limits | None:
    """`percentile_limits` of `statistic(*arrays)`, whole images drawn together.

    Source: Efron and Tibshirani 1993. With `stratify` (N,) each of its groups keeps its size, so
    that no class goes missing. Shapes: arrays (N, ...) each, N >= 1.
    """
    count = len(arrays[0])
    groups = np.zeros(count) if stratify is None else stratify
    strata = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    drawn = [
        statistic(*(array[rows] for array in arrays))
        for rows in itertools.islice(_drawn_rows(strata, np.random.default_rng(seed)), resamples)
    ]
    return percentile_limits(np.array(drawn, dtype=np.float64))


def _drawn_rows(strata: list[np.ndarray], generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of one resample after another, without end; drawn a hundred at a time."""
    while True:
        drawn = [generator.choice(stratum, (100, len(stratum))) for stratum in strata]
        yield from np.concatenate(drawn, axis=1)
