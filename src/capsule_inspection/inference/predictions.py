"""The prediction of an image file: in its own pixels, with what is drawn of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from capsule_inspection.data.preprocessing import PreprocessedImage
from capsule_inspection.tasks.post_processor import Prediction
from capsule_inspection.types import GOOD_LABEL

OK, ERROR = "ok", "error"


@dataclass(frozen=True)
class ImageRegion:
    """A region of the predicted mask in pixels of the image; `box` is x0, y0, x1, y1.

    x1 and y1 are the first beyond it. `probability` is the mean one of being any defect.
    """

    class_name: str
    area_px: int
    box: tuple[int, int, int, int]
    probability: float


@dataclass(frozen=True)
class ImagePrediction:
    """What is predicted for one image file, or why nothing can be.

    `score` is high for defects; above `threshold` the part is rejected. `probabilities` has every
    class, where the model names defects. `ood_warnings` say how the image is unlike those that the
    model was trained on.
    """

    path: str
    status: str = OK
    error: str | None = None
    width: int | None = None
    height: int | None = None
    predicted_label: str | None = None
    is_defect: bool | None = None
    probabilities: Mapping[str, float] | None = None
    score: float | None = None
    threshold: float | None = None
    regions: Sequence[ImageRegion] = ()
    ood_warnings: Sequence[str] = ()

    def as_row(self) -> dict[str, Any]:
        """Plain values, as in a line of predictions.jsonl."""
        values = asdict(self)
        values["regions"] = [
            {"class": of["class_name"], **{key: of[key] for key in of if key != "class_name"}}
            for of in values["regions"]
        ]
        values["ood_warnings"] = list(self.ood_warnings)
        return values


class Visualization(NamedTuple):
    """What is drawn of a prediction, at the size of the crop.

    Shapes: image (H, W, 3) uint8; heatmap (H, W) in [0, 1] and mask (H, W), classes, or None.
    """

    image: np.ndarray
    heatmap: np.ndarray | None = None
    mask: np.ndarray | None = None


class PredictedImage(NamedTuple):
    """A prediction and what is drawn of it, None where the image could not be read.

    `identity` is that of the file before it was read (prediction_folder.py), where there was one;
    `notes` say what was unusual in decoding it (data/image_notes.py). `crop` is what the model was
    given, and `at_crop` its prediction at the size of the crop.
    """

    prediction: ImagePrediction
    visualization: Visualization | None
    identity: Mapping[str, int | None] = MappingProxyType({})
    notes: Sequence[str] = ()
    crop: PreprocessedImage | None = None
    at_crop: Prediction | None = None


def in_image(
    prediction: Prediction,
    image: PreprocessedImage,
    *,
    classes: Sequence[str],
    path: str,
    ood_warnings: Sequence[str] = (),
) -> PredictedImage:
    """A prediction at the size of the crop as one of the image that the crop was cut from."""
    height, width = image.size
    probabilities = prediction.probabilities
    regions = tuple(
        ImageRegion(
            classes[region.label],
            round(region.area_px * image.source_px_per_px),
            image.to_source(region.box),
            region.probability,
        )
        for region in prediction.regions
    )
    found = ImagePrediction(
        path=path,
        width=width,
        height=height,
        predicted_label=classes[prediction.label],
        is_defect=prediction.label != GOOD_LABEL,
        probabilities=None
        if probabilities is None
        else {name: float(p) for name, p in zip(classes, probabilities, strict=True)},
        score=prediction.score,
        threshold=prediction.threshold,
        regions=regions,
        ood_warnings=tuple(ood_warnings),
    )
    drawn = visualize(prediction, image.image)
    return PredictedImage(found, drawn, crop=image, at_crop=prediction)


def visualize(prediction: Prediction, image: np.ndarray) -> Visualization:
    """The predicted mask where there is one, else the anomaly map as a heatmap.

    The threshold is half of the heatmap's scale, so that a score above it is visible.
    """
    mask, found = prediction.predicted_mask, prediction.anomaly_map
    if mask is not None or found is None or prediction.threshold is None:
        return Visualization(image, mask=mask)
    scale = max(2 * prediction.threshold, 1e-12)
    # A small scale is zero in float16.
    return Visualization(image, heatmap=np.clip(found.astype(np.float32) / scale, 0, 1))


def unreadable(path: str, reason: str) -> PredictedImage:
    """The prediction for a file that is not a usable image."""
    return PredictedImage(ImagePrediction(path, status=ERROR, error=reason), None)
