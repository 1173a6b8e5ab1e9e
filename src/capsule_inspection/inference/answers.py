"""From a model's outputs for one photograph to what is answered, and to what is shown with it.

Classes, thresholds and regions are decided here, in one place for every engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from capsule_inspection.data.preparation import Prepared
from capsule_inspection.inference.description import (
    CLASSIFICATION,
    RECONSTRUCTION,
    Description,
)
from capsule_inspection.metrics.marked_classes import image_probabilities
from capsule_inspection.metrics.marking import mark, region_score
from capsule_inspection.metrics.thresholds import exceeds
from capsule_inspection.types import DEFECT, GOOD_LABEL

OK, ERROR = "ok", "error"


@dataclass(frozen=True)
class FoundRegion:
    """A marked region of a photograph, in its own pixels; `box` is x0, y0, x1, y1.

    x1 and y1 are the first beyond it. `probability` is the mean one of being any defect.
    """

    name: str
    area_px: int
    box: tuple[int, int, int, int]
    probability: float


@dataclass(frozen=True)
class Answer:
    """What is said of one photograph, or why nothing can be.

    `score` is high for defects; above `threshold` the part is rejected. `probabilities` has every
    class, where the model names defects. `remarks` say how the photograph is unlike those that the
    model was trained on.
    """

    path: str
    status: str = OK
    error: str | None = None
    width: int | None = None
    height: int | None = None
    prediction: str | None = None
    is_defect: bool | None = None
    probabilities: Mapping[str, float] | None = None
    score: float | None = None
    threshold: float | None = None
    regions: Sequence[FoundRegion] = ()
    remarks: Sequence[str] = ()

    def as_row(self) -> dict[str, Any]:
        """Plain values, as in a line of predictions.jsonl."""
        values = asdict(self)
        values["regions"] = [
            {"class": of["name"], **{key: of[key] for key in of if key != "name"}}
            for of in values["regions"]
        ]
        values["remarks"] = list(self.remarks)
        return values


class Seen(NamedTuple):
    """What is drawn with an answer, at the size of the crop.

    Shapes: image (H, W, 3) uint8; heat (H, W) in [0, 1] and mask (H, W), classes, where there are.
    """

    image: np.ndarray
    heat: np.ndarray | None = None
    mask: np.ndarray | None = None


class Answered(NamedTuple):
    """An answer and its picture, which is missing where the photograph could not be read.

    `identity` is that of the file before it was read (results.py), where it came from one.
    """

    answer: Answer
    seen: Seen | None
    identity: Mapping[str, int | None] = MappingProxyType({})


def answer(
    description: Description,
    outputs: Mapping[str, np.ndarray],
    prepared: Prepared,
    *,
    path: str,
    remarks: Sequence[str] = (),
) -> Answered:
    """What a model's outputs for one photograph, without the batch's axis, come to.

    Outputs are those of the task's inspector (models/inspector.py).
    """
    height, width = prepared.size
    facts: dict[str, Any] = {
        "path": path,
        "width": width,
        "height": height,
        "remarks": tuple(remarks),
    }
    if description.task == CLASSIFICATION:
        said, seen = _name(description, outputs["logits"]), Seen(prepared.image)
    elif description.task == RECONSTRUCTION:
        said, seen = _judge(description, outputs, prepared)
    else:
        said, seen = _mark(description, outputs, prepared)
    return Answered(Answer(**facts, **said), seen)


def unreadable(path: str, reason: str) -> Answered:
    """The answer for a file that is no usable photograph."""
    return Answered(Answer(path, status=ERROR, error=reason), None)


def _name(description: Description, logits: np.ndarray) -> dict[str, Any]:
    """Class and probabilities; float64, as in predictions.csv of a run."""
    shares = softmax(logits.astype(np.float64))
    label = int(shares.argmax())
    return {
        "prediction": description.classes[label],
        "is_defect": label != GOOD_LABEL,
        "probabilities": _by_class(description, shares),
        "score": float(np.delete(shares, GOOD_LABEL).sum()),
    }


def _by_class(description: Description, shares: np.ndarray) -> dict[str, float]:
    return {name: float(p) for name, p in zip(description.classes, shares, strict=True)}


def _judge(
    description: Description, outputs: Mapping[str, np.ndarray], prepared: Prepared
) -> tuple[dict[str, Any], Seen]:
    score, threshold = float(outputs["score"]), description.threshold
    assert threshold is not None
    is_defect = bool(exceeds(np.array(score), threshold))
    found = outputs["map"]
    # A score above the threshold shows itself: half of the scale is the threshold.
    heat = np.clip(found / max(2 * threshold, 1e-12), 0, 1).astype(np.float32)
    said = {
        "prediction": DEFECT if is_defect else description.classes[GOOD_LABEL],
        "is_defect": is_defect,
        "score": score,
        "threshold": threshold,
    }
    return said, Seen(prepared.image, heat=heat)


def _as_kept(found: np.ndarray) -> np.ndarray:
    """A float32 map with the values that a run folder would keep, which are those of float16.

    By PyTorch: for values near 0 numpy takes two hundred times as long.
    """
    import torch

    return torch.from_numpy(found).half().float().numpy()


def _mark(
    description: Description, outputs: Mapping[str, np.ndarray], prepared: Prepared
) -> tuple[dict[str, Any], Seen]:
    decision = description.decision
    assert decision is not None
    foreground = _as_kept(outputs["foreground"] * prepared.valid)
    kinds = outputs["kinds"]
    marked = mark(foreground, kinds, decision)
    named = description.names_defects
    scale = prepared.source_px_per_px
    regions = [
        FoundRegion(
            description.classes[region.label] if named else DEFECT,
            round(region.area_px * scale),
            prepared.to_source(region.box),
            region.probability,
        )
        for region in marked.regions
    ]
    score = region_score(foreground, decision.area_px)
    called = description.classes[marked.label] if named or not marked.label else DEFECT
    said: dict[str, Any] = {
        "prediction": called,
        "is_defect": marked.label != GOOD_LABEL,
        "score": score,
        "threshold": decision.probability,
        "regions": tuple(regions),
    }
    if named:
        shares = image_probabilities(
            foreground[None],
            kinds[None],
            score=np.array([score]),
            called=np.array([marked.label]),
            threshold=decision.probability,
            num_classes=len(description.classes),
        )[0]
        said["probabilities"] = _by_class(description, shares)
    return said, Seen(prepared.image, mask=marked.mask)
