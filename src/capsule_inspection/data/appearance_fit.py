"""How training photographs look, fitted: centre, spread, and the distance that counts as far.

Whether another photograph looks like them is judged in appearance.py. scikit-learn and scipy, which
are imported when called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from capsule_inspection.data.appearance import Appearance, size_name
from capsule_inspection.data.appearance_entries import ENTRIES

FEWEST = 5
"""Training photographs from which on they can be said to be alike."""

_FOLDS = 20
"""Each photograph is left out once, in at most so many fits."""
_QUANTILE = 0.999
_SMALLEST_LIMIT = 3.0
"""Distance within which nothing is far: one entry off by three times its tolerance."""
_MARGIN, _MARGIN_OF_FEW = 2.0, 3.0
"""Factor of the limit's square, and what is added to it, divided by the number of photographs.

Chosen on the 262 real photographs: with 1.5, three badly dented capsules of 87 defects are marked
where only good ones were trained on; with 2 none, and what spoils photographs is far beyond it.
"""
_TOLERANCE = np.array([entry.tolerance for entry in ENTRIES])


def fit_appearance(
    descriptors: np.ndarray, *, sizes: Sequence[tuple[int, int]], found: Sequence[bool]
) -> Appearance:
    """How N training photographs look, from their descriptors (N, D), sizes and findings.

    `sizes` are (width, height) in pixels. Distances are those of photographs with a part, or of
    those without where these are more. Raises ValueError for fewer than `FEWEST`.
    """
    count = len(descriptors)
    if count < FEWEST:
        raise ValueError(f"{count} descriptors; at least {FEWEST} are needed.")
    has_part = np.asarray(found, bool)
    usual = descriptors[has_part == (2 * has_part.sum() >= count)]
    squares = _cross_fitted(usual)
    # One in a hundred may be a photograph that does not belong: it would take in all others.
    kept = np.sort(np.argsort(squares, kind="stable")[: len(usual) - len(usual) // 100])
    mean, scale, precision = _fit(usual[kept])
    return Appearance(
        sizes=dict(sorted(Counter(size_name(size) for size in sizes).items())),
        found=int(has_part.sum()),
        count=count,
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        precision=tuple(map(tuple, precision.tolist())),
        limit=_limit(squares[kept]),
    )


def _fit(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, scale and precision. The tolerance is added to the variance as if it were noise."""
    from sklearn.covariance import ledoit_wolf

    mean = descriptors.mean(0)
    scale = np.sqrt(descriptors.var(0) + _TOLERANCE**2)
    covariance, _ = ledoit_wolf((descriptors - mean) / scale, assume_centered=True)
    return mean, scale, np.linalg.inv(covariance + np.diag((_TOLERANCE / scale) ** 2))


def _cross_fitted(descriptors: np.ndarray) -> np.ndarray:
    """Squared distance (N,) of each descriptor to a fit of the others; in folds, where many."""
    fold = np.arange(len(descriptors)) % min(_FOLDS, len(descriptors))
    squares = np.empty(len(descriptors))
    for number in range(fold.max() + 1):
        mean, scale, precision = _fit(descriptors[fold != number])
        offset = (descriptors[fold == number] - mean) / scale
        squares[fold == number] = np.einsum("ij,jk,ik->i", offset, precision, offset)
    return squares


def _limit(squares: np.ndarray) -> float:
    """Distance above which a photograph is far, from squared ones of photographs left out, (N,).

    Their 99.9% quantile by a scaled chi-square of the same mean and variance (Satterthwaite): the
    empirical one would be their largest. Then a margin, since real tails are heavier and defects
    that no training photograph had are no reason to mark; a wider one for few photographs.
    """
    from scipy.stats import gamma

    mean, variance = float(squares.mean()), float(squares.var(ddof=1))
    quantile = mean
    if variance > 0:
        quantile = float(gamma.ppf(_QUANTILE, mean**2 / variance, scale=variance / mean))
    margin = _MARGIN + _MARGIN_OF_FEW / len(squares)
    return float(np.sqrt(margin * max(quantile, _SMALLEST_LIMIT**2)))
