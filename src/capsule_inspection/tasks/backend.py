"""What computes an inference model, and the names of its inputs; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

IMAGE, FOREGROUND, VALID = "image", "foreground", "valid"
"""Names of inputs: the crop, the part in it, and what is not padding."""


class Backend(Protocol):
    """Computes an inference model: the network of a run, or an exported file."""

    name: str

    @property
    def inputs(self) -> Sequence[str]:
        """Names of the arrays that it takes."""
        ...

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, the batch first. Shapes: see `InferenceModel`."""
        ...

    def call(self, method: str, *arrays: np.ndarray) -> np.ndarray | None:
        """Another method of the model, such as `embedding`; None where it cannot be computed."""
        ...
