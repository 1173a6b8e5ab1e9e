"""What a run keeps of its training images, so that a new photograph can be held against them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.inference.neighbours import (
    MOST,
    THUMBNAIL_PX,
    Neighbours,
    write_neighbours,
)
from capsule_inspection.inference.torch_engine import TorchEngine
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.types import TRAIN, RunFiles
from capsule_inspection.workflows.crops import evenly
from capsule_inspection.workflows.hardware import Choices

_TOGETHER = 8


def keep_neighbours(
    folder: Path, data: InspectionDataModule, inspector: Inspector, *, choices: Choices
) -> None:
    """Write neighbours.npz: what the network makes of the training images, and how they look."""
    members = data.indices(TRAIN)
    if not members:
        return
    chosen = evenly(members, MOST)
    engine = TorchEngine(
        inspector, device=choices.device, half=False, channels_last=choices.channels_last
    )
    images = data.dataset.cache.images
    vectors = [
        engine.embed(images[chosen[first : first + _TOGETHER]])
        for first in range(0, len(chosen), _TOGETHER)
    ]
    records = [data.index.records[number] for number in chosen]
    neighbours = Neighbours(
        np.concatenate(vectors),
        np.stack([_thumbnail(images[number]) for number in chosen]),
        [record.path for record in records],
        [data.index.classes[record.label] for record in records],
    )
    write_neighbours(folder / RunFiles.NEIGHBOURS, neighbours)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA)
