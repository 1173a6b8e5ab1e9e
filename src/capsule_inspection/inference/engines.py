"""What computes a model: a run's own network in torch_engine.py, exported files in formats/.

An engine takes arrays and gives arrays, so that all that comes before and after is the same for
each of them. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

IMAGE, FOREGROUND, VALID = "image", "foreground", "valid"


class Engine(Protocol):
    """Computes the outputs of an inspector, see models/inspector.py."""

    name: str

    @property
    def inputs(self) -> Sequence[str]:
        """Which arrays it takes."""
        ...

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, the batch first.

        Shapes: image (N, H, W, 3) uint8; foreground and valid (N, H, W) uint8.
        """
        ...

    def explain(self, image: np.ndarray, label: np.ndarray) -> np.ndarray | None:
        """Where a classifier looks for a class, (N, H, W) in [0, 1]; None where none can say.

        Shapes: image (N, H, W, 3) uint8; label (N,) int64.
        """
        ...

    def embed(self, image: np.ndarray) -> np.ndarray | None:
        """A vector (N, D) for each crop (N, H, W, 3) uint8; None where none can be had."""
        ...
