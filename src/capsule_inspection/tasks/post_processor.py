"""From the outputs of an inference model to a prediction: the only place that decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from capsule_inspection.metrics.mask_postprocessing import Region
from capsule_inspection.metrics.thresholds import Threshold
from capsule_inspection.tasks import load_module
from capsule_inspection.tasks.backend import IMAGE
from capsule_inspection.types import ConfigurationError


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model predicts for one image, at the size of the crop.

    `label` counts the classes of the post-processor, 0 for good. `score` is high for defects; above
    `threshold` an image is rejected, None where the most probable class decides. Shapes:
    probabilities (C,) float64, None where the model does not name defects; anomaly_map (H, W)
    float16, high on defects, and predicted_mask (H, W) uint8, 0 or a class, None where a task has
    none.
    """

    label: int
    score: float
    threshold: float | None = None
    probabilities: np.ndarray | None = None
    anomaly_map: np.ndarray | None = None
    predicted_mask: np.ndarray | None = None
    regions: Sequence[Region] = ()


class PostProcessor(ABC):
    """Turns the outputs of one image into a `Prediction`; `classes` names its labels.

    `inputs` and `outputs` are those of the inference model that it decides on.
    """

    inputs: ClassVar[tuple[str, ...]] = (IMAGE,)
    outputs: ClassVar[tuple[str, ...]]
    classes: Sequence[str]

    @abstractmethod
    def __call__(self, outputs: Mapping[str, np.ndarray], *, valid: np.ndarray) -> Prediction:
        """Decide on one image.

        Shapes: outputs those of the task's inference model without the batch's axis; valid (H, W)
        bool, false on padding.
        """

    def with_threshold(self, threshold: Threshold) -> PostProcessor:
        """The same with another threshold. Raises ConfigurationError where none can be set."""
        raise ConfigurationError(
            f"threshold={threshold.value}: the decision of this model has no threshold that can be "
            "set. Remove it."
        )

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `from_state_dict` builds an equal one."""

    @classmethod
    @abstractmethod
    def from_state_dict(cls, state: Mapping[str, Any], *, classes: Sequence[str]) -> PostProcessor:
        """Build one from `state_dict`. Raises KeyError or TypeError where it is damaged."""


def post_processor_type(task: str, *, where: str) -> type[PostProcessor]:
    """That of a task. Raises RunError, naming `where`, for an unknown one."""
    found: type[PostProcessor] = load_module(task, "post_processor", where=where).POST_PROCESSOR
    return found


def to_float16(values: np.ndarray) -> np.ndarray:
    """Round a map to what a run folder stores.

    Values near 0 are rounded to float16's smallest step before: numpy takes sixty times as long
    where its conversion has to.
    """
    rounded = np.rint(values * np.float32(2**24)) * np.float32(2**-24)
    return np.where(np.abs(values) < 2**-14, rounded, values).astype(np.float16)
