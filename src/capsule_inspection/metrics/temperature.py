"""Temperature scaling, with a bias of the good class.

A network that was trained for many epochs on few images is overconfident, and too suspicious of
good parts that it was not trained on. Its logits are divided by a temperature (Guo et al. 2017),
and that of the good class gets a bias (Alexandari et al. 2020, bias-corrected temperature scaling);
other classes have too few validation images for one. A normal prior keeps the temperature near 1
and the bias near 0. Own, since scikit-learn's temperature scaling has neither bias nor prior.
scipy is imported when called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from capsule_inspection.metrics.stored_values import from_stored
from capsule_inspection.types import GOOD_LABEL

_PRIOR_STD = 1.0, 0.5
"""Of the log temperature and of the shift in logits; see docs/experiments/classification.md."""


@dataclass(frozen=True)
class TemperatureScaling:
    """Divides logits by `temperature`, then adds `good_shift` to that of the good class.

    `images` is the number of validation images that both are fitted on. Plain types only, for
    checkpoints.
    """

    temperature: float = 1.0
    good_shift: float = 0.0
    images: int = 0

    @classmethod
    def fit(
        cls, logits: np.ndarray, label: np.ndarray, *, weights: np.ndarray
    ) -> TemperatureScaling:
        """The most probable temperature and shift, given validation images.

        Without good images, or without a defect, the shift is 0. `weights` are those of the classes
        in the likelihood; their mean over the images is made 1.
        Shapes: logits (N, C), finite; label (N,), integers; weights (C,), at least 0.
        """
        from scipy.optimize import minimize

        if len(label) == 0:
            return cls()
        weight = weights[label] / weights[label].mean()
        rows = np.arange(len(label))
        is_good = label == GOOD_LABEL
        shifts = bool(is_good.any() and not is_good.all())

        def loss(parameters: np.ndarray) -> float:
            scaled = logits / np.exp(parameters[0])
            scaled[:, GOOD_LABEL] += shifts * parameters[1]
            scaled -= scaled.max(axis=1, keepdims=True)
            log_likelihood = scaled[rows, label] - np.log(np.exp(scaled).sum(axis=1))
            return float(-weight @ log_likelihood + 0.5 * np.sum((parameters / _PRIOR_STD) ** 2))

        log_temperature, shift = minimize(loss, np.zeros(2), method="L-BFGS-B").x
        return cls(
            temperature=float(np.exp(log_temperature)),
            good_shift=float(shift) if shifts else 0.0,
            images=len(label),
        )

    def state_dict(self) -> dict[str, float | int]:
        """Plain values by name, for checkpoints and records."""
        return dataclasses.asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> TemperatureScaling:
        """The scaling of `state_dict`. Raises TypeError where a value is not as expected."""
        scaling = from_stored(cls, state)
        if scaling.temperature <= 0:
            raise TypeError(f"temperature is {scaling.temperature}")
        return scaling
