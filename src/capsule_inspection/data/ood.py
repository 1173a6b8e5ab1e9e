"""Out-of-distribution detection: how far an image is from the training images.

Mahalanobis distance of its features (ood_features.py) to those of the training images, with a
Ledoit-Wolf covariance. scikit-learn and SciPy are imported when a detector is fitted.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from capsule_inspection.archives import DAMAGE, describe
from capsule_inspection.data.ood_features import FEATURES, NAMES
from capsule_inspection.integrity import read_json
from capsule_inspection.types import RunError

MIN_IMAGES = 5
"""Fewest training images that a detector is fitted to."""

_RARE = 0.01
"""A property of at most this fraction of the training images is a warning."""
_FOLDS = 20
"""Largest number of fits; each image is left out of one."""
_QUANTILE = 0.999
_MIN_THRESHOLD = 3.0
"""No threshold is below this distance: one feature off by three times its tolerance."""
_MARGIN, _MARGIN_OF_FEW = 2.0, 3.0
"""Factor of the threshold's square, and a term divided by the number of images.

Chosen on the 262 real images: with 1.5, three badly dented capsules of 87 defects are out of
distribution of a training on good ones; with 2 none. Corrupted images exceed it by far.
"""
_SIZE = re.compile(r"[1-9]\d{0,6}x[1-9]\d{0,6}")
_TOLERANCE = np.array([feature.tolerance for feature in FEATURES])


@dataclass(frozen=True)
class OODDetector:
    """The distribution of training images, in plain values.

    `sizes` counts them by "widthxheight" in pixels; in `num_roi_found` of `num_images` a part was
    found on a plain background. Features are centred by `mean` (D,) and divided by `scale` (D,);
    `precision` (D, D) is the inverse of their shrunken covariance then. Images at distances above
    `threshold` are out of distribution.
    """

    sizes: Mapping[str, int]
    num_roi_found: int
    num_images: int
    mean: Sequence[float]
    scale: Sequence[float]
    precision: Sequence[Sequence[float]]
    threshold: float

    def distance(self, features: np.ndarray) -> float:
        """Mahalanobis distance of features (D,) to the training images."""
        return float(np.sqrt(max(self._contributions(features).sum(), 0.0)))

    def ood_warnings(
        self, features: np.ndarray, *, size: tuple[int, int], roi_found: bool
    ) -> list[str]:
        """How an image differs from the training images, a sentence each; none if it is like them.

        `size` is (width, height) of the image in pixels, `roi_found` whether a part was found.
        """
        warnings = [self._warn_of_size(size), self._warn_of_roi(roi_found)]
        # Where no part is found the crop is the full image: its features cannot be compared.
        if roi_found == (2 * self.num_roi_found >= self.num_images):
            warnings.append(self._warn_of_distance(features))
        return [warning for warning in warnings if warning is not None]

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for `from_dict`."""
        return {"features": list(NAMES), **dataclasses.asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], *, where: str = "ood.json") -> OODDetector:
        """The detector of `as_dict`.

        Raises RunError, naming `where`, for other features, or values that are not as expected.
        """
        count = len(NAMES)
        try:
            if stored["features"] != list(NAMES):
                raise ValueError(f"expected the features {', '.join(NAMES)}")
            detector = cls(
                sizes={str(size): int(number) for size, number in stored["sizes"].items()},
                num_roi_found=int(stored["num_roi_found"]),
                num_images=int(stored["num_images"]),
                mean=_finite(stored["mean"], (count,)),
                scale=_finite(stored["scale"], (count,)),
                precision=_finite(stored["precision"], (count, count)),
                threshold=_finite(stored["threshold"], ()),
            )
            _check_ranges(detector)
        except DAMAGE as error:
            raise RunError(
                f"{where}: damaged, or of another version ({type(error).__name__}: "
                f"{describe(error)}). Restore it from a copy, or remove it."
            ) from error
        return detector

    def _contributions(self, features: np.ndarray) -> np.ndarray:
        """Contribution of each feature to the squared distance, (D,)."""
        offset = (features - np.array(self.mean)) / np.array(self.scale)
        return offset * (np.array(self.precision) @ offset)

    def _warn_of_size(self, size: tuple[int, int]) -> str | None:
        name = _size_name(size)
        # Good-Turing estimate: the fraction of sizes that occur once is the chance of a new one.
        once = sum(count == 1 for count in self.sizes.values())
        if name in self.sizes or once > _RARE * self.num_images:
            return None
        if len(self.sizes) == 1:
            return (
                f"{name} pixels; all {self.num_images} training images had {next(iter(self.sizes))}"
            )
        most = Counter(self.sizes).most_common(3)
        listed = ", ".join(f"{other} ({count})" for other, count in most)
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        return f"{name} pixels; the {self.num_images} training images had {listed}{more}"

    def _warn_of_roi(self, roi_found: bool) -> str | None:
        alike = self.num_roi_found if roi_found else self.num_images - self.num_roi_found
        if alike > _RARE * self.num_images:
            return None
        return (
            f"{'a' if roi_found else 'no'} part was found on a plain background; in training one "
            f"was found in {self.num_roi_found} of {self.num_images}"
        )

    def _warn_of_distance(self, features: np.ndarray) -> str | None:
        """Named after the feature that adds most to the distance."""
        if self.distance(features) <= self.threshold:
            return None
        most = int(self._contributions(features).argmax())
        feature, value = FEATURES[most], float(features[most])
        low, high = (self.mean[most] + side * self.scale[most] for side in (-2, 2))
        what = feature.low if value < low else feature.high
        if low <= value <= high:
            what = "many small differences at once"
        return (
            f"far from the training images: {what} ({feature.quantity} {feature.format(value)}, "
            f"usually {feature.format(low)} to {feature.format(high)})"
        )


def read_detector(path: Path) -> OODDetector | None:
    """The detector in ood.json; None where there is no file. Raises RunError for damage."""
    if not path.is_file():
        return None
    try:
        return OODDetector.from_dict(read_json(path), where=str(path))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path}: cannot be read ({describe(error)}). Restore it, or remove it."
        ) from error


def fit_detector(
    features: np.ndarray, *, sizes: Sequence[tuple[int, int]], roi_found: Sequence[bool]
) -> OODDetector:
    """Fit a detector to the features (N, D) of N >= `MIN_IMAGES` training images.

    `sizes` are (width, height) in pixels, `roi_found` whether a part was found. Distances are those
    of images with a part, or of those without where these are more.
    """
    count, has_part = len(features), np.asarray(roi_found, bool)
    usual = features[has_part == (2 * has_part.sum() >= count)]
    squares = _cross_fit(usual)
    # One in a hundred may be an image that does not belong: it would take in all others.
    kept = np.sort(np.argsort(squares, kind="stable")[: len(usual) - len(usual) // 100])
    mean, scale, precision = _fit(usual[kept])
    return OODDetector(
        sizes=dict(sorted(Counter(_size_name(size) for size in sizes).items())),
        num_roi_found=int(has_part.sum()),
        num_images=count,
        mean=mean.tolist(),
        scale=scale.tolist(),
        precision=precision.tolist(),
        threshold=_fit_threshold(squares[kept]),
    )


def _fit(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, scale and precision. The tolerance is added to the variance as if it were noise."""
    from sklearn.covariance import ledoit_wolf

    mean = features.mean(0)
    scale = np.sqrt(features.var(0) + _TOLERANCE**2)
    covariance, _ = ledoit_wolf((features - mean) / scale, assume_centered=True)
    return mean, scale, np.linalg.inv(covariance + np.diag((_TOLERANCE / scale) ** 2))


def _cross_fit(features: np.ndarray) -> np.ndarray:
    """Squared distance (N,) of each image to a fit of the others; in folds, where many."""
    fold = np.arange(len(features)) % min(_FOLDS, len(features))
    squares = np.empty(len(features))
    for number in range(fold.max() + 1):
        mean, scale, precision = _fit(features[fold != number])
        offset = (features[fold == number] - mean) / scale
        squares[fold == number] = np.einsum("ij,jk,ik->i", offset, precision, offset)
    return squares


def _fit_threshold(squares: np.ndarray) -> float:
    """Threshold of the distance, from squared distances of images left out, (N,).

    Their 99.9% quantile by a scaled chi-square of the same mean and variance (Satterthwaite): the
    empirical one would be their largest. Then a margin, since real tails are heavier and defects
    that no training image had are no reason for a warning; a wider one for few images.
    """
    from scipy.stats import gamma

    mean, variance = float(squares.mean()), float(squares.var(ddof=1))
    quantile = mean
    if variance > 0:
        quantile = float(gamma.ppf(_QUANTILE, mean**2 / variance, scale=variance / mean))
    margin = _MARGIN + _MARGIN_OF_FEW / len(squares)
    return float(np.sqrt(margin * max(quantile, _MIN_THRESHOLD**2)))


def _size_name(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _finite(values: Any, shape: tuple[int, ...]) -> Any:
    """Finite numbers as (nested) lists. Raises ValueError where they are not of the shape."""
    array = np.asarray(values, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers of shape {shape}, found {array.shape}")
    return array.tolist()


def _check_ranges(detector: OODDetector) -> None:
    """Raise ValueError for values that no fit has."""
    precision = np.array(detector.precision)
    is_valid = {
        "sizes": all(map(_SIZE.fullmatch, detector.sizes)) and min(detector.sizes.values()) > 0,
        "num_images": sum(detector.sizes.values()) == detector.num_images,
        "num_roi_found": 0 <= detector.num_roi_found <= detector.num_images,
        "scale": min(detector.scale) > 0,
        "precision": np.allclose(precision, precision.T) and (precision.diagonal() > 0).all(),
        "threshold": detector.threshold > 0,
    }
    wrong = [name for name, valid in is_valid.items() if not valid]
    if wrong:
        raise ValueError(f"values out of range in {', '.join(wrong)}")
