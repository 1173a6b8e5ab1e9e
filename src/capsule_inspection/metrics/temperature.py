"""Temperature scaling: how sure a classifier may be, and from when on a part is called good.

A network that has seen its few training images dozens of times may be too sure of what it says, and
finds good parts that it has not seen a little strange. Two numbers for both: its logits are divided
by a temperature (Guo et al. 2017), and the one of "good" is raised or lowered, a bias correction
(Alexandari et al. 2020, bias-corrected temperature scaling) of the one class that has enough
validation images to say so. Both are kept near 1 and 0 by a normal prior, so that a handful of
images moves them little. Arrays only; scipy is imported when called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from capsule_inspection.types import GOOD_LABEL

_SPREAD_OF_SHIFT = 0.5
"""Standard deviation of its prior, in logits; how it was chosen: docs/experiments.md."""

_SPREAD_OF_LOG_TEMPERATURE = 1.0
"""That of the prior of the temperature's logarithm."""


@dataclass(frozen=True)
class TemperatureScaling:
    """Logits become logits / temperature, and that of "good" more by `good_shift`.

    `images` is the number of validation images that both were fitted on. Plain types only, since
    it is kept in checkpoints.
    """

    temperature: float = 1.0
    good_shift: float = 0.0
    images: int = 0

    def as_dict(self) -> dict[str, float | int]:
        """Plain values by name; `from_dict` makes the same of them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TemperatureScaling:
        """That of `as_dict`. Raises TypeError where a name is unknown or missing."""
        return cls(**stored)


def fit_temperature_scaling(
    logits: np.ndarray, label: np.ndarray, *, weights: np.ndarray
) -> TemperatureScaling:
    """The most probable temperature and shift, by the likelihood of validation images.

    Without good images, or without a defect, nothing speaks for a shift, and it is 0. `weights` say
    how much an image of each class counts; their mean over the images is made 1.
    Shapes: logits (N, C), finite; label (N,), integers; weights (C,), at least 0.
    """
    from scipy.optimize import minimize

    if len(label) == 0:
        return TemperatureScaling()
    weight = weights[label] / weights[label].mean()
    rows = np.arange(len(label))
    is_good = label == GOOD_LABEL
    shifts = bool(is_good.any() and not is_good.all())

    def loss(parameters: np.ndarray) -> float:
        scaled = logits / np.exp(parameters[0])
        scaled[:, GOOD_LABEL] += shifts * parameters[1]
        scaled -= scaled.max(axis=1, keepdims=True)
        likelihood = scaled[rows, label] - np.log(np.exp(scaled).sum(axis=1))
        spreads = (_SPREAD_OF_LOG_TEMPERATURE, _SPREAD_OF_SHIFT)
        return float(-weight @ likelihood + 0.5 * np.sum((parameters / spreads) ** 2))

    log_temperature, shift = minimize(loss, np.zeros(2), method="L-BFGS-B").x
    return TemperatureScaling(
        temperature=float(np.exp(log_temperature)),
        good_shift=float(shift) if shifts else 0.0,
        images=len(label),
    )
