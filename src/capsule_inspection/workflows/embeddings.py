"""Embeddings of the training images, kept so that the app can show similar ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.inference.embeddings import (
    MAX_IMAGES,
    THUMBNAIL_PX,
    TrainingEmbeddings,
    save_embeddings,
)
from capsule_inspection.tasks.backend import Backend
from capsule_inspection.types import TRAIN, RunFiles
from capsule_inspection.workflows.model_inputs import evenly_spaced

_BATCH_SIZE = 8


def embed_training_images(folder: Path, data: InspectionDataModule, backend: Backend) -> None:
    """Write embeddings.npz: embedding and thumbnail of each training image, of many a selection."""
    chosen = evenly_spaced(data.indices(TRAIN), MAX_IMAGES)
    images = data.dataset.cache.images
    vectors = []
    for first in range(0, len(chosen), _BATCH_SIZE):
        embedded = backend.call("embedding", images[chosen[first : first + _BATCH_SIZE]])
        assert embedded is not None  # the network of a run, not an exported file
        vectors.append(embedded)
    if not vectors:
        return
    samples = [data.index.samples[number] for number in chosen]
    embeddings = TrainingEmbeddings(
        np.concatenate(vectors),
        np.stack([_thumbnail(images[number]) for number in chosen]),
        [sample.path for sample in samples],
        [data.index.classes[sample.label] for sample in samples],
    )
    save_embeddings(folder / RunFiles.EMBEDDINGS, embeddings)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA)
