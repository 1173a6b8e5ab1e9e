"""Parity of an exported model with its run: outputs and predictions for the same images, compared.

An output may differ by a ten-thousandth of its scale: a hundred times what another order of the
same sums in float32 makes of it in a network of fifty layers, and at most 0.005% of a probability.
A wrong layer or a lost normalization makes it differ by far more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from capsule_inspection.tasks.post_processor import PostProcessor, Prediction
from capsule_inspection.types import GOOD_LABEL

TOLERANCE = 1e-4
LOGITS, FOREGROUND = "logits", "foreground"
_MIN_FOREGROUND = 0.01
"""Probability of a defect from which on the classes of a pixel are compared."""
_CLASS_TOLERANCE = 1e-3
"""Fraction of these pixels whose classes may differ by more than the one step of rounding."""
Outputs = Mapping[str, np.ndarray]


@dataclass
class Difference:
    """The largest absolute one of an output, and what is allowed for the image `path`."""

    largest: float = 0.0
    allowed: float = 0.0
    path: str = ""

    @property
    def is_too_large(self) -> bool:
        return not self.largest <= self.allowed  # so that NaN is too large


@dataclass
class Parity:
    """Result of the comparison so far; `add` compares one image after the other.

    `changed` and `ties` are images with another prediction: `ties` those for which outputs within
    the tolerance give either. `pixels` are in the predicted mask of one of the two models only.
    """

    post_processor: PostProcessor
    comparisons: int = 0
    differences: dict[str, Difference] = field(default_factory=dict)
    ties: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    pixels: int = 0

    def add(self, expected: Outputs, found: Outputs, *, valid: np.ndarray, path: str) -> None:
        """Compare the outputs for one image, without the batch's axis.

        Shapes: valid (H, W) bool, false on padding.
        """
        self.comparisons += 1
        reference = self.post_processor(expected, valid=valid)
        allowed = {
            name: tolerance(name, values, threshold=reference.threshold)
            for name, values in expected.items()
        }
        for name in expected:
            largest = _difference(name, expected, found)
            self._keep(name, Difference(largest, allowed[name], path))
        if any(difference.is_too_large for difference in self.differences.values()):
            return  # predictions from NaN, or from outputs of another size, mean nothing
        exported = self.post_processor(found, valid=valid)
        pixels = _changed_pixels(reference, exported)
        is_changed = reference.label != exported.label
        if not is_changed and not pixels.any():
            return
        self.pixels += int(pixels.sum())
        labels = reference.label, exported.label
        low, high = (
            self.post_processor(_shift(expected, allowed, by, labels), valid=valid)
            for by in (-1, 1)
        )
        is_undecided = low.label != high.label or not is_changed
        is_tie = is_undecided and not (pixels & ~_changed_pixels(low, high)).any()
        (self.ties if is_tie else self.changed).append(path)

    def _keep(self, name: str, difference: Difference) -> None:
        known = self.differences.setdefault(name, difference)
        if not known.is_too_large and (
            difference.is_too_large or difference.largest > known.largest
        ):
            self.differences[name] = difference

    def errors(self) -> list[str]:
        """Why the exported model must not be used; empty where it may."""
        errors = [
            f"{name} differs by {difference.largest:.3g} on {difference.path}, where "
            f"{difference.allowed:.3g} is allowed"
            for name, difference in self.differences.items()
            if difference.is_too_large
        ]
        if self.changed:
            errors.append(
                f"{len(self.changed)} predictions differ, such as that for {self.changed[0]}"
            )
        return errors

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for export.json."""
        return {
            "comparisons": self.comparisons,
            "differences": {name: vars(of) for name, of in self.differences.items()},
            "predictions_changed": len(self.changed),
            "predictions_tied": len(self.ties),
            "pixels_changed": self.pixels,
        }


def tolerance(name: str, expected: np.ndarray, *, threshold: float | None) -> float:
    """How far an output of one image may differ from the expected one.

    The scale of scores and maps is at least the threshold, that of logits at least 1.
    """
    if expected.dtype == np.uint8:
        return _CLASS_TOLERANCE
    scale = 1.0 if threshold is None or name == LOGITS else threshold
    return TOLERANCE * max(scale, float(np.abs(expected).max()))


def _difference(name: str, expected: Outputs, found: Outputs) -> float:
    if expected[name].shape != found[name].shape:
        return float("inf")
    if expected[name].dtype == np.uint8:  # class probabilities in 255ths
        steps = np.abs(expected[name].astype(np.int16) - found[name]).max(axis=0)
        compared = steps[expected[FOREGROUND] > _MIN_FOREGROUND] > 1
        return float(compared.mean()) if compared.size else 0.0
    return float(np.abs(expected[name].astype(np.float64) - found[name]).max())


def _shift(
    outputs: Outputs, allowed: Mapping[str, float], by: int, labels: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The outputs at one end of what is allowed, from one of two predicted labels to the other."""
    shifted = {}
    for name, values in outputs.items():
        if values.dtype == np.uint8:
            shifted[name] = values
            continue
        direction = _logit_direction(len(values), *labels) if name == LOGITS else 1
        shifted[name] = values.astype(np.float64) + by * allowed[name] * direction
    return shifted


def _logit_direction(count: int, first: int, second: int) -> np.ndarray:
    """Changes of the logits towards the second of two labels, (C,); of all defects from good."""
    number = np.arange(count)
    if GOOD_LABEL in (first, second):
        return np.where((number == GOOD_LABEL) == (second == GOOD_LABEL), 1, -1)
    return (number == second).astype(int) - (number == first).astype(int)


def _changed_pixels(first: Prediction, second: Prediction) -> np.ndarray:
    """Pixels in the predicted mask of one of two models only; none without masks."""
    if first.predicted_mask is None or second.predicted_mask is None:
        return np.zeros((1, 1), bool)
    return (first.predicted_mask > 0) != (second.predicted_mask > 0)
