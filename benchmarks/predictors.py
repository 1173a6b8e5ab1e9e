"""Predictors of networks with random weights, which take as long as trained ones."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import training
from benchmarks.training import TrainingParts
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.types import TRAIN, RunFiles
from capsule_inspection.workflows import hardware, load_run, ood

POST_PROCESSOR_STATES: dict[str, dict[str, Any]] = {
    "classification": {},
    "segmentation": {**MaskPostProcessor(0.5, 0.5, 20).state_dict(), "is_binary": False},
}


def build_predictor(parts: TrainingParts) -> Predictor:
    """The predictor of a run of these parts, in float32, with its out-of-distribution detector."""
    return load_run.build_predictor(
        parts.config,
        parts.module.network,
        {"post_processor": POST_PROCESSOR_STATES[parts.config.task.name]},
        classes=parts.data.index.classes,
        runtime=hardware.without_mixed_precision(parts.runtime),
        where=Path("benchmarks"),
        ood=_fit_ood(parts),
    )


def _fit_ood(parts: TrainingParts) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, RunFiles.OOD)
        ood.fit_ood(path.parent, parts.data)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def image_files(parts: TrainingParts, count: int) -> list[Path]:
    """`count` training images in random order; repeated where there are too few."""
    paths = [path for path, _ in training.labelled_files(parts, TRAIN)]
    shuffled = [paths[row] for row in np.random.default_rng(0).permutation(len(paths))]
    return (shuffled * math.ceil(count / len(shuffled)))[:count]
