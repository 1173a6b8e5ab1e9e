"""Does an exported model say what its run says? Outputs and answers for the same crops, compared.

An output may differ by a ten-thousandth of its scale: a hundred times what float32 makes of another
order of the same sums in a network of fifty layers, and at most 0.005% of a probability. What a
wrong layer or a lost normalisation makes of it is far more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from capsule_inspection.data.preparation import Prepared
from capsule_inspection.inference.answers import Answered, answer
from capsule_inspection.inference.description import CLASSIFICATION, SEGMENTATION, Description

TOLERANCE = 1e-4
LOGITS, SCORE, FOREGROUND, KINDS = "logits", "score", "foreground", "kinds"
_SEEN = 0.01
"""Probability of a defect from which on it matters what kinds of defect a pixel shows."""
_KINDS_TOLERANCE = 1e-3
"""Share of these pixels whose kinds may differ by more than the one step that rounding makes."""
Outputs = Mapping[str, np.ndarray]


@dataclass
class Difference:
    """The largest one of an output, absolute, and what is allowed for the image that it is of."""

    largest: float = 0.0
    allowed: float = 0.0
    path: str = ""

    @property
    def is_too_large(self) -> bool:
        return not self.largest <= self.allowed  # so that what is no number is too large


@dataclass
class Parity:
    """What was found so far; `add` takes one image after the other.

    `ties` and `changed` are images with another answer: `ties` those for which outputs within the
    tolerance give either. `pixels` are marked in one of the two answers only.
    """

    description: Description
    comparisons: int = 0
    differences: dict[str, Difference] = field(default_factory=dict)
    ties: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    pixels: int = 0

    def add(self, expected: Outputs, found: Outputs, prepared: Prepared, *, path: str) -> None:
        """Compare outputs for one image, without the batch's axis."""
        self.comparisons += 1
        for name in expected:
            self._keep(name, _difference(self.description, name, expected, found, path=path))
        if any(of.is_too_large for of in self.differences.values()):
            return  # answers of outputs that are not numbers, or of another size, mean nothing
        ours, theirs = (
            answer(self.description, outputs, prepared, path=path) for outputs in (expected, found)
        )
        marked = _marked_in_one(ours, theirs)
        other = ours.answer.prediction != theirs.answer.prediction
        if not other and not marked.any():
            return
        self.pixels += int(marked.sum())
        low, high = (
            answer(self.description, _moved(self.description, expected, by), prepared, path=path)
            for by in (-1, 1)
        )
        undecided = low.answer.prediction != high.answer.prediction
        is_tie = (undecided or not other) and not (marked & ~_marked_in_one(low, high)).any()
        (self.ties if is_tie else self.changed).append(path)

    def _keep(self, name: str, difference: Difference) -> None:
        known = self.differences.setdefault(name, difference)
        if not known.is_too_large and (
            difference.is_too_large or difference.largest > known.largest
        ):
            self.differences[name] = difference

    def objections(self) -> list[str]:
        """Why the exported model must not be used; empty where it may."""
        found = [
            f"{name} differs by {of.largest:.3g} on {of.path}, where {of.allowed:.3g} is allowed"
            for name, of in self.differences.items()
            if of.is_too_large
        ]
        if self.changed:
            found.append(f"{len(self.changed)} answers differ, such as that for {self.changed[0]}")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for export.json."""
        return {
            "comparisons": self.comparisons,
            "differences": {name: vars(of) for name, of in self.differences.items()},
            "answers_changed": len(self.changed),
            "answers_tied": len(self.ties),
            "pixels_changed": self.pixels,
        }


def tolerance(description: Description, name: str, expected: np.ndarray) -> float:
    """How far an output may lie from the one expected, of one image.

    The scale of scores and maps is at least the threshold, that of logits at least 1.
    """
    if name == KINDS:
        return _KINDS_TOLERANCE
    if name == FOREGROUND:
        return TOLERANCE
    least = 1.0 if name == LOGITS else description.threshold or 0.0
    return TOLERANCE * max(least, float(np.abs(expected).max()))


def _difference(
    description: Description, name: str, expected: Outputs, found: Outputs, *, path: str
) -> Difference:
    allowed = tolerance(description, name, expected[name])
    if expected[name].shape != found[name].shape:
        return Difference(float("inf"), allowed, path)
    if name == KINDS:
        seen = expected[FOREGROUND] > _SEEN
        steps = np.abs(expected[name].astype(np.int16) - found[name])
        other = np.asarray((steps > 1).any(axis=0))[seen]
        return Difference(float(other.mean()) if other.size else 0.0, allowed, path)
    apart = np.abs(expected[name].astype(np.float64) - found[name])
    return Difference(float(apart.max()), allowed, path)


def _moved(description: Description, outputs: Outputs, by: int) -> dict[str, np.ndarray]:
    """The outputs at one end of what is allowed: less sure of what is said, or surer."""
    name = {CLASSIFICATION: LOGITS, SEGMENTATION: FOREGROUND}.get(description.task, SCORE)
    values = outputs[name].astype(np.float64)
    direction = np.ones_like(values)
    if name == LOGITS:
        direction[np.arange(len(values)) != values.argmax()] = -1
    return {**outputs, name: values + by * tolerance(description, name, values) * direction}


def _marked_in_one(first: Answered, second: Answered) -> np.ndarray:
    """Pixels that one of two answers marks and the other does not; none where none are marked."""
    masks = [None if of.seen is None else of.seen.mask for of in (first, second)]
    one, other = (np.zeros((1, 1)) if mask is None else mask for mask in masks)
    return (one > 0) != (other > 0)
