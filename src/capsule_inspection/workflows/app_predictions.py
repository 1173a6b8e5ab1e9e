"""What the page of app.py displays: predictions of images, and examples of the run's own images.

Without Gradio, so that it is tested without a page.
"""

from __future__ import annotations

import base64
import functools
import logging
import math
import stat
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from capsule_inspection.integrity import file_sha256
from capsule_inspection.metrics.registry import CLASSIFICATION
from capsule_inspection.metrics.thresholds import exceeds
from capsule_inspection.types import GOOD_LABEL, TEST, VAL, RunError, RunFiles

if TYPE_CHECKING:
    from capsule_inspection.data.preprocessing import PreprocessedImage
    from capsule_inspection.inference.embeddings import TrainingEmbeddings
    from capsule_inspection.inference.predictor import Predictor
    from capsule_inspection.reports.run.test_result import TestResult
    from capsule_inspection.workflows.app_uploads import Uploads

log = logging.getLogger(__name__)
MAX_EXAMPLES = 6
_MIN_WIDTH_PX, _THUMBNAIL_PX = 1024, 192
"""Pictures are enlarged to at least the first, and examples are drawn within the second."""
_KEPT_PREDICTIONS = 256


class Displayed(NamedTuple):
    """A prediction; `row` is a line of predictions.jsonl with the name and notes of the file.

    `image` and `overlay` are files, of one size, that the page may fetch; `colours` are those of
    the classes in the overlay, which else shows heat, for the class `explained` where there is one.
    `similar` are training images as data URIs, with captions.
    """

    row: dict[str, Any]
    image: Path | None = None
    overlay: Path | None = None
    colours: Mapping[str, str] = MappingProxyType({})
    explained: str | None = None
    similar: Sequence[tuple[str, str]] = ()


class Slider(NamedTuple):
    """The thresholds to choose from; `own` is that of the run, or of `threshold=`."""

    own: float
    low: float
    high: float
    digits: int

    def has(self, value: Any) -> bool:
        """Whether a value is one of them."""
        return type(value) in (int, float) and self.low <= value <= self.high


class Example(NamedTuple):
    """A test image, or validation image; `picture` is a data URI."""

    path: Path
    sha256: str
    label: str
    picture: str = ""

    def is_there(self, max_bytes: int) -> bool:
        """Whether the file is still what the run has read, and no larger than an upload may be."""
        with suppress(OSError):
            status = self.path.stat()
            is_file = stat.S_ISREG(status.st_mode) and status.st_size <= max_bytes
            return is_file and file_sha256(self.path) == self.sha256
        return False


@dataclass(frozen=True, eq=False)
class AppModel:
    """A predictor, and what the page says of it."""

    predictor: Predictor
    uploads: Uploads
    path: Path
    result: TestResult | None = None
    embeddings: TrainingEmbeddings | None = None
    num_similar: int = 0
    examples: Sequence[Example] = ()
    examples_split: str = TEST
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Gradients for explanations are computed for one image at a time."""

    def predict(self, upload: Path, threshold: float | None = None) -> Displayed:
        """The prediction of a file; for another threshold it is only decided anew."""
        found = self._predict_once(upload)
        if threshold is None:
            return found
        return found._replace(row=decide(found.row, threshold, self.predictor.metadata.classes))

    @functools.cached_property
    def _predict_once(self) -> Any:
        return functools.lru_cache(maxsize=_KEPT_PREDICTIONS)(self._predict)

    def _predict(self, upload: Path) -> Displayed:
        from capsule_inspection.data.image_notes import note_sentences
        from capsule_inspection.inference.predictor import ALL

        file = self.predictor.read(upload)
        with self.lock:
            (predicted,) = self.predictor.predict([file], explain=ALL)
            similar = self._similar(file.image)
        notes = note_sentences([(upload.name, predicted.notes)], total=1)
        row = {**predicted.prediction.as_row(), "path": upload.name, "notes": notes}
        drawn = predicted.visualization
        if drawn is None:
            return Displayed(row)
        image = self._keep_picture(drawn.image, "input.png")
        if drawn.heatmap is None and (drawn.mask is None or not drawn.mask.any()):
            return Displayed(row, image, similar=similar)
        overlay = self._keep_picture(
            drawn.image,
            "overlay.png",
            heat=drawn.heatmap,
            mask=drawn.mask,
            outlines=() if drawn.mask is None else (drawn.mask,),
        )
        colours = {} if drawn.mask is None else self._colours(drawn.mask)
        explained = row["predicted_label"] if row["probabilities"] and not colours else None
        return Displayed(row, image, overlay, colours, explained, similar)

    def _similar(self, image: PreprocessedImage | None) -> list[tuple[str, str]]:
        if self.embeddings is None or image is None:
            return []
        vectors = self.predictor.backend.call("embedding", image.image[None])
        if vectors is None:
            return []
        found = self.embeddings.nearest(vectors[0], self.num_similar)
        return [
            (to_data_uri(of.picture), f"{of.class_name}, similarity {of.similarity:.0%}")
            for of in found
        ]

    def _keep_picture(self, image: np.ndarray, name: str, **drawn: Any) -> Path:
        from capsule_inspection.reports.plots.overlays import compose, encode_png

        width_px = max(_MIN_WIDTH_PX, image.shape[1])
        return self.uploads.keep(encode_png(compose(image, width_px=width_px, **drawn)), name)

    def _colours(self, mask: np.ndarray) -> dict[str, str]:
        from capsule_inspection.reports.gallery.page import class_colours

        classes = self.predictor.metadata.classes
        present = [classes[label] for label in np.unique(mask) if 0 < label < len(classes)]
        return {name: class_colours(classes)[name] for name in present}

    def slider(self) -> Slider | None:
        """None where no single score decides: regions do, or the most probable class."""
        threshold = getattr(self.predictor.post_processor, "threshold", None)
        if threshold is None or threshold.value is None:
            return None
        scored = None if self.result is None else self.result.scored
        return make_slider(
            threshold.value,
            scores=() if scored is None else scored.score,
            is_probability=self.predictor.metadata.task == CLASSIFICATION,
        )


def decide(row: dict[str, Any], threshold: float, classes: Sequence[str]) -> dict[str, Any]:
    """The row as the post-processors of classes and of anomaly scores decide at a threshold."""
    if row["score"] is None:
        return row
    label, probabilities = classes[GOOD_LABEL], row["probabilities"] or {}
    if exceeds(row["score"], threshold):
        defects = classes[GOOD_LABEL + 1 :]
        label = max(defects, key=lambda name: probabilities.get(name, 0.0))
    is_defect = label != classes[GOOD_LABEL]
    return {**row, "threshold": threshold, "predicted_label": label, "is_defect": is_defect}


def make_slider(own: float, *, scores: Sequence[float], is_probability: bool) -> Slider:
    """All probabilities, or the scores of the test and the threshold; a hundred steps or more."""
    low, high = min([own, *scores]), max([own, *scores])
    if low == high:
        low, high = own - 0.5 * (abs(own) or 1), own + 0.5 * (abs(own) or 1)
    scale = min(own, 1.0) if is_probability and own > 0 else high - low
    digits = min(max(2 - math.floor(math.log10(scale)), 0), 15)
    if is_probability:
        return Slider(own, 0.0, 1.0, digits)
    step = 10**-digits
    return Slider(own, round(low - step, digits), round(high + step, digits), digits)


def find_examples(
    folder: Path, predictor: Predictor, *, max_bytes: int, verify: bool = True
) -> tuple[list[Example], str]:
    """A few of the images that a run was tested on, or else validated on, and their split.

    The first ones of each class in the order of the table, right or wrong. Only images of equal
    content: the files that a run folder names may be others. An exported model has none.
    """
    if not (folder / RunFiles.RECORD).is_file():
        return [], TEST
    from capsule_inspection.reports.run.examples import in_class_order
    from capsule_inspection.reports.run.run_folder import read_run

    try:
        run = read_run(folder, verify=verify)
        split = TEST if TEST in run.stages() else VAL
        images = in_class_order(run, run.images_of(split))
    except RunError as error:
        log.warning("The page has no examples: %s", error)
        return [], TEST
    images = images.assign(place=images.groupby("label", sort=False).cumcount())
    chosen = images.sort_values("place", kind="stable").head(MAX_EXAMPLES)
    root = run.record["data"].get("root") or ""
    named = [
        Example(Path(root, path), sha256, label)
        for path, sha256, label in chosen[["path", "sha256", "label"]].to_numpy().tolist()
    ]
    drawn = (_draw_example(predictor, of) for of in named if of.is_there(max_bytes))
    return [of for of in drawn if of.picture], split


def _draw_example(predictor: Predictor, example: Example) -> Example:
    image = predictor.read(example.path).image
    return example if image is None else example._replace(picture=to_data_uri(image.image))


def to_data_uri(pixels: np.ndarray) -> str:
    """A small picture in a page: (H, W, 3) uint8."""
    from PIL import Image

    from capsule_inspection.reports.plots.overlays import encode_png

    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    content = encode_png(np.asarray(image))
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
