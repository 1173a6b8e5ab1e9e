"""What must be known of a trained model, beside its weights, to inspect a photograph with it.

Plain values only: it is read from a run folder, and travels with an exported file as JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from capsule_inspection.data.preparation import Recipe
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.types import RunError

FORMAT_VERSION = 2
_SEGMENTATION_SINCE = 2
"""Before, such a model told of each pixel the most probable kind alone."""
CLASSIFICATION, RECONSTRUCTION, SEGMENTATION = "classification", "reconstruction", "segmentation"
TASKS = (CLASSIFICATION, RECONSTRUCTION, SEGMENTATION)


@dataclass(frozen=True)
class Description:
    """A trained model in words and numbers.

    `image_size` is (height, width) in pixels; `roi`, `roi_margin` and `enlarge` say how crops are
    made (data/preparation.py); `threshold` is the score above which a part is rejected, where the
    task has one, and `decision` what it takes to mark a region. `appearance` says how training
    photographs look (data/appearance.py), None where it was not kept. `origin` tells of the run:
    its name, when it was trained, on which data, the SHA-256 of its checkpoint.
    """

    task: str
    model: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    roi: str | tuple[float, ...]
    roi_margin: float
    enlarge: bool
    max_pixels: int
    threshold: float | None = None
    decision: Decision | None = None
    names_defects: bool = True
    appearance: Mapping[str, Any] | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.roi, self.roi_margin, self.image_size, self.enlarge)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name; `from_dict` makes the same description of them."""
        values = dataclasses.asdict(self)
        values["decision"] = None if self.decision is None else self.decision.as_dict()
        return {"format_version": FORMAT_VERSION, **values}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], *, where: str) -> Description:
        """The description of `as_dict`.

        Raises RunError, naming `where`, for one of a newer version, of a version that told
        too little, or that is not whole.
        """
        values = dict(stored)
        version = values.pop("format_version", None)
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise RunError(
                f"{where}: made by a newer version (format {version}; this one reads up to "
                f"{FORMAT_VERSION}). Install the newer version, or export the run again with this "
                "one."
            )
        if values.get("task") == SEGMENTATION and version in range(1, _SEGMENTATION_SINCE):
            raise RunError(
                f"{where}: exported by an earlier version (format {version}), in which models that "
                "mark pixels gave less than is needed to name a defect. Export the run again."
            )
        try:
            decision = values.pop("decision")
            roi = values.pop("roi")
            height, width = values.pop("image_size")
            return cls(
                classes=tuple(values.pop("classes")),
                image_size=(int(height), int(width)),
                roi=roi if isinstance(roi, str) else tuple(float(edge) for edge in roi),
                decision=None if decision is None else Decision.from_dict(decision),
                **values,
            )
        except (KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise RunError(
                f"{where}: expected the description of an exported model, found something else "
                f"({reason}). Export the run again."
            ) from error
