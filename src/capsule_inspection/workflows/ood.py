"""Fits the out-of-distribution detector to a run's training images: ood.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from capsule_inspection.data.module import InspectionDataModule
from capsule_inspection.data.ood import MIN_IMAGES, fit_detector
from capsule_inspection.data.ood_features import extract_features
from capsule_inspection.data.parallel import in_order
from capsule_inspection.files import atomic_write_text
from capsule_inspection.types import TRAIN, RunFiles
from capsule_inspection.workflows.hardware import available_cores


def fit_ood(folder: Path, data: InspectionDataModule) -> None:
    """Write ood.json, unless training has too few images."""
    path = folder / RunFiles.OOD
    rows = data.indices(TRAIN)
    if len(rows) < MIN_IMAGES:
        return
    cache = data.dataset.cache

    def features_of(row: int) -> np.ndarray:
        return extract_features(np.asarray(cache.images[row]), np.asarray(cache.foregrounds[row]))

    samples = [data.index.samples[row] for row in rows]
    detector = fit_detector(
        np.stack(list(in_order(features_of, rows, workers=available_cores()))),
        sizes=[(sample.width, sample.height) for sample in samples],
        roi_found=cache.roi_found[rows].tolist(),
    )
    atomic_write_text(path, json.dumps(detector.as_dict()) + "\n")
