"""Bootstrap by weights: how often each image is drawn, and limits from what the draws gave.

Where a figure is a sum over images, a thousand resamples are one product of matrices. Images are
drawn, never pixels, and one that is tested in several folds is drawn as often in each: it is one
photograph. Source: Davison and Hinkley 1997, sections 2.4 (strata) and 3.8 (clusters).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.types import Figure

RESAMPLES = 1000
CONFIDENCE = 0.95

_FEWEST_USABLE = 0.9
"""As in `intervals.bootstrap`: with fewer resamples that have a value there is no interval."""

_NO_WIDTH = 1e-9
"""Spread that rounding can cause; an interval as narrow would claim certainty."""

Limits = tuple[float, float]


def stratified_weights(stratum: np.ndarray, *, seed: int) -> np.ndarray:
    """How often each image is drawn, each stratum keeping its size.

    Shapes: stratum (N,). Returns (RESAMPLES, N) float64, whole numbers.
    """
    generator = np.random.default_rng(seed)
    weights = np.zeros((RESAMPLES, len(stratum)))
    for name in np.unique(stratum):
        rows = np.flatnonzero(stratum == name)
        share = np.full(len(rows), 1 / len(rows))
        weights[:, rows] = generator.multinomial(len(rows), share, RESAMPLES)
    return weights


def rescaled_weights(stratum: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How much each image counts where strata are small: one fewer is drawn of each.

    What is drawn counts as much more. Drawing all n of a stratum of n shows (n - 1) / n of the
    spread: three quarters of it for four images (Rao and Wu 1988). An image that is alone always
    counts once.
    Shapes: stratum (N,). Returns (resamples, N) float64.
    """
    generator = np.random.default_rng(seed)
    weights = np.ones((resamples, len(stratum)))
    for name in np.unique(stratum):
        rows = np.flatnonzero(stratum == name)
        count = len(rows)
        if count > 1:
            drawn = generator.multinomial(count - 1, np.full(count, 1 / count), resamples)
            weights[:, rows] = drawn * (count / (count - 1))
    return weights


def clustered_weights(
    identities: Sequence[np.ndarray], is_defect: Sequence[np.ndarray], *, seed: int
) -> list[np.ndarray]:
    """How often each image of each fold is drawn: one image as often in all of its folds.

    Strata are good images and those with a defect, in whichever fold it shows.
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
    if len(usable) < _FEWEST_USABLE * len(drawn) or np.ptp(usable) < _NO_WIDTH:
        return None
    low, high = np.quantile(usable, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def limits_of(figure: Figure) -> Limits | None:
    """The interval of a figure, None where it has none."""
    return None if figure.low is None or figure.high is None else (figure.low, figure.high)


def enclosing(value: float, *limits: Limits | None, n: int) -> Figure:
    """A figure whose interval encloses its value and all limits there are, within [0, 1]."""
    found = [pair for pair in limits if pair is not None]
    if not found:
        return Figure(value, None, None, n)
    low = min(value, max(0.0, min(low for low, _ in found)))
    high = max(value, min(1.0, max(high for _, high in found)))
    return Figure(value, low, high, n)
