"""Predictions for the images of a split, as arrays, by the same path as those for single files."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from capsule_inspection.data.module import EvaluationBatch, InspectionDataModule
from capsule_inspection.data.progress import Progress
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.metrics.target_masks import counted_pixels, defect_pixels
from capsule_inspection.tasks.adapter import require_finite
from capsule_inspection.tasks.backend import IMAGE, VALID
from capsule_inspection.tasks.post_processor import Prediction, to_float16
from capsule_inspection.types import GOOD_LABEL, Explanations, Predictions

log = logging.getLogger(__name__)


def predict_split(
    predictor: Predictor,
    data: InspectionDataModule,
    split: str,
    *,
    details: bool,
    progress: Progress | None = None,
) -> Predictions:
    """Predict the images of a split; with `details` reconstructions and explanations too.

    Raises RunError where outputs are not finite.
    """
    found: list[Prediction] = []
    indices, reconstructions = [], []
    explained: list[np.ndarray] = []
    explanations: list[np.ndarray] = []
    backend = predictor.backend
    can_explain = isinstance(backend, TorchBackend) and hasattr(backend.model, "explain")
    for batch in data.evaluation_batches(split, progress=progress):
        outputs = backend.run(batch.inputs)
        require_finite(outputs)
        found += [p for p in predictor.post_process(outputs, batch.inputs) if p is not None]
        indices.append(batch.index)
        if not details:
            continue
        reconstruction = backend.call("reconstruction", batch.inputs[IMAGE])
        if reconstruction is not None:
            reconstructions.append(reconstruction)
        rows = _rows_with_mask(batch, data)
        if not can_explain or not len(rows):
            continue
        labels = data.labels[batch.index[rows]]
        maps = backend.call("explain", batch.inputs[IMAGE][rows], labels)
        if maps is None:
            log.info("Explanations are not available: this network has no feature map to explain.")
            can_explain = False
        else:
            explained.append(batch.index[rows])
            explanations.append(to_float16(maps))
    index = np.concatenate(indices)
    return collect(
        found,
        index,
        data,
        reconstructions=np.concatenate(reconstructions) if reconstructions else None,
        explanations=Explanations(np.concatenate(explained), np.concatenate(explanations))
        if explained
        else None,
    )


def _rows_with_mask(batch: EvaluationBatch, data: InspectionDataModule) -> np.ndarray:
    """Rows of the defects with a visible mask."""
    masks = data.dataset.cache.masks[batch.index]
    has_mask = (defect_pixels(masks) & (batch.inputs[VALID] > 0)).any((1, 2))
    return np.flatnonzero(has_mask & (data.labels[batch.index] != GOOD_LABEL))


def collect(
    predictions: Sequence[Prediction],
    index: np.ndarray,
    data: InspectionDataModule,
    *,
    reconstructions: np.ndarray | None = None,
    explanations: Explanations | None = None,
) -> Predictions:
    """Predictions of the images `index` (N,) as arrays."""

    def stacked(name: str) -> np.ndarray | None:
        values = [getattr(prediction, name) for prediction in predictions]
        return None if values[0] is None else np.stack(values)

    masks = stacked("predicted_mask")
    truths = data.dataset.cache.masks[index]
    return Predictions(
        index=index,
        label=data.labels[index],
        probabilities=stacked("probabilities"),
        score=np.array([prediction.score for prediction in predictions], np.float64),
        threshold=predictions[0].threshold,
        anomaly_map=stacked("anomaly_map"),
        reconstruction=reconstructions,
        predicted_label=np.array([prediction.label for prediction in predictions], np.int64),
        predicted_mask=masks,
        overlap=None if masks is None else overlap_of_images(masks, truths),
        explanations=explanations,
    )


def overlap_of_images(masks: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Dice and IoU of predicted and true mask, of any defect, (N, 2); NaN without a true mask.

    Shapes: (N, H, W) class indices; pixels that a true mask ignores are left out.
    """
    found = np.full((len(masks), 2), np.nan)
    for row, (mask, true_mask) in enumerate(zip(masks, truths, strict=True)):
        truth, predicted = defect_pixels(true_mask), (mask > 0) & counted_pixels(true_mask)
        if truth.any():
            both = int(np.sum(predicted & truth))
            together = int(np.sum(predicted) + np.sum(truth))
            found[row] = 2 * both / together, both / (together - both)
    return found
