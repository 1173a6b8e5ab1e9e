"""The one path from an image to a prediction: preprocess, inference model, post-processor.

Training's final evaluation, evaluate.py, predict.py, export.py and the app all predict by
`Predictor`. Files are read and preprocessed by threads ahead of the network, a few batches at most,
so that memory does not grow with the number of images.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from capsule_inspection.data.bad_file import BadFileError, TooManyPixelsError
from capsule_inspection.data.bit_depth import BitDepthError
from capsule_inspection.data.image_io import decode_image, read_image
from capsule_inspection.data.ood import OODDetector
from capsule_inspection.data.ood_features import extract_features
from capsule_inspection.data.parallel import in_order
from capsule_inspection.data.preprocessing import PreprocessedImage, preprocess
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.inference.prediction_folder import identity
from capsule_inspection.inference.predictions import (
    PredictedImage,
    Visualization,
    in_image,
    unreadable,
)
from capsule_inspection.tasks.backend import FOREGROUND, IMAGE, VALID, Backend
from capsule_inspection.tasks.post_processor import Prediction
from capsule_inspection.types import ConfigurationError

log = logging.getLogger(__name__)
ALL, DEFECTS, NONE = "all", "defects", "none"


class ReadImage(NamedTuple):
    """A file that was read: the crop with its warnings, or why there is none.

    `identity` is that of the file before it was read, so that no later change goes unnoticed.
    `notes` are codes of what was unusual in decoding, see data/image_notes.py.
    """

    name: str
    image: PreprocessedImage | None
    ood_warnings: Sequence[str] = ()
    error: str | None = None
    identity: Mapping[str, int | None] = MappingProxyType({})
    notes: Sequence[str] = ()


class Predictor:
    """A model's metadata, the backend that computes it, and the post-processor that decides."""

    def __init__(self, metadata: ModelMetadata, backend: Backend) -> None:
        self.metadata = metadata
        self.backend = backend
        self.post_processor = metadata.post_processor()
        self.ood_detector: OODDetector | None = None
        if metadata.ood is not None:
            self.ood_detector = OODDetector.from_dict(metadata.ood)

    def predict_arrays(self, inputs: Mapping[str, np.ndarray]) -> list[Prediction | None]:
        """Predict preprocessed images; None for one whose outputs are not finite.

        Shapes: image (N, H, W, 3), foreground and valid (N, H, W) uint8, see `InferenceModel`.
        """
        return self.post_process(self.backend.run(inputs), inputs)

    def post_process(
        self, outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
    ) -> list[Prediction | None]:
        """Decide on the outputs of a batch."""
        predictions: list[Prediction | None] = []
        for row, valid in enumerate(inputs[VALID]):
            of_row = {name: values[row] for name, values in outputs.items()}
            is_finite = all(np.isfinite(values).all() for values in of_row.values())
            predictions.append(self.post_processor(of_row, valid=valid > 0) if is_finite else None)
        return predictions

    def stream(
        self, paths: Iterable[Path], *, batch_size: int, workers: int, explain: str = NONE
    ) -> Iterator[PredictedImage]:
        """Predict files in their order; one that cannot be read has its error as prediction.

        `explain` (all, defects, none) selects the images for which a classifier shows where it
        looks.
        """
        files = iter(in_order(self.read, paths, workers=workers))
        while batch := list(islice(files, batch_size)):
            yield from self.predict(batch, explain=explain)

    def read(self, path: Path, content: bytes | None = None) -> ReadImage:
        """Read and preprocess a file; thread-safe, and does not raise for a bad file.

        `content` is that of a file in memory, whose `path` is but a name.
        """
        known = identity(path)
        try:
            image, notes = self._preprocess(path, content)
        except BadFileError as error:
            return ReadImage(str(path), None, error=error.reason, identity=known)
        warnings = self._ood_warnings(image)
        return ReadImage(str(path), image, warnings, identity=known, notes=notes)

    def _preprocess(
        self, path: Path, content: bytes | None
    ) -> tuple[PreprocessedImage, Sequence[str]]:
        """The crop, and notes on decoding.

        Raises BadFileError, with reasons that name no setting of a training.
        """
        allowed, decoding = self.metadata.max_pixels, self.metadata.decoding
        try:
            if content is None:
                decoded = read_image(path, decoding)
            else:
                decoded = decode_image(content, path, decoding)
        except TooManyPixelsError as error:
            raise BadFileError(path, f"{error.found}; max_pixels allows {allowed}") from error
        except BitDepthError as error:
            reason = f"{error.found}; name the depth of these images with bit_depth"
            if error.bit_depth is not None:
                reason = f"{error.found}, as in the training; save it so, or set bit_depth"
            raise BadFileError(path, reason) from error
        image = decoded.pixels
        try:
            return preprocess(image, self.metadata.preprocessing), decoded.notes
        except ConfigurationError as error:  # the box, which was checked in training, is outside
            height, width = image.shape[:2]
            raise BadFileError(
                path,
                f"is {width}x{height} pixels, and the model looks at the box "
                f"{list(self.metadata.roi)} (x0, y0, x1, y1), which lies outside of it",
            ) from error

    def predict(self, files: Sequence[ReadImage], *, explain: str = NONE) -> list[PredictedImage]:
        """Predict a batch of files, in their order."""
        images = [file.image for file in files if file.image is not None]
        predictions = iter(self.predict_arrays(stack(images)) if images else [])
        predicted = []
        for file in files:
            if file.image is None:
                found = unreadable(file.name, file.error or "cannot be read")
            elif (prediction := next(predictions)) is None:
                found = unreadable(file.name, "the outputs of the model for it are not finite")
            else:
                found = in_image(
                    prediction,
                    file.image,
                    classes=self.post_processor.classes,
                    path=file.name,
                    ood_warnings=file.ood_warnings,
                )
            predicted.append(found._replace(identity=file.identity, notes=file.notes))
        return predicted if explain == NONE else self._explain(predicted, explain)

    def _explain(self, predicted: list[PredictedImage], explain: str) -> list[PredictedImage]:
        """Add where a classifier looks for the class that it predicts."""
        chosen = [
            (row, found.visualization.image, found.prediction.predicted_label)
            for row, found in enumerate(predicted)
            if found.visualization is not None
            and found.visualization.heatmap is None
            and found.visualization.mask is None
            and (explain == ALL or found.prediction.is_defect)
        ]
        if not chosen:
            return predicted
        rows, images, names = zip(*chosen, strict=True)
        labels = np.array([self.post_processor.classes.index(name) for name in names], np.int64)
        heatmaps = self.backend.call("explain", np.stack(images), labels)
        if heatmaps is None:
            _log_once(
                "Explanations are not available: exported files have none, nor have networks "
                "without a feature map to explain."
            )
            return predicted
        explained = list(predicted)
        for row, image, heatmap in zip(rows, images, heatmaps, strict=True):
            visualization = Visualization(image, heatmap=heatmap)
            explained[row] = predicted[row]._replace(visualization=visualization)
        return explained

    def _ood_warnings(self, image: PreprocessedImage) -> Sequence[str]:
        if self.ood_detector is None:
            return ()
        height, width = image.size
        return self.ood_detector.ood_warnings(
            extract_features(image.image, image.foreground),
            size=(width, height),
            roi_found=image.roi_found,
        )


def stack(images: Sequence[PreprocessedImage]) -> dict[str, np.ndarray]:
    """Preprocessed images as the inputs of an inference model."""
    return {
        IMAGE: np.stack([image.image for image in images]),
        FOREGROUND: np.stack([image.foreground for image in images]),
        VALID: np.stack([image.valid.astype(np.uint8) for image in images]),
    }


@functools.cache
def _log_once(message: str) -> None:
    log.info(message)
