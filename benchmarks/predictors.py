"""Predictors of networks with random weights, which take as long as trained ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import our_training
from benchmarks.our_training import Parts
from capsule_inspection.data.ood import fit_detector
from capsule_inspection.data.ood_features import extract_features
from capsule_inspection.inference.metadata import ModelMetadata
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.metrics.mask_postprocessing import MaskPostProcessor
from capsule_inspection.tasks.adapter import get_task
from capsule_inspection.tasks.inference_model import InferenceModel
from capsule_inspection.types import TRAIN

_MASK = MaskPostProcessor(0.5, 0.5, 20)
POST_PROCESSING: dict[str, dict[str, Any]] = {
    "classification": {},
    "segmentation": {**_MASK.state_dict(), "is_binary": False},
}


def predictor_of(parts: Parts) -> Predictor:
    """What predict.py makes of a run, with out-of-distribution warnings."""
    return Predictor(describe_parts(parts), backend_of(parts))


def backend_of(parts: Parts) -> TorchBackend:
    """PyTorch as predict.py uses it, in float32."""
    return TorchBackend(inference_model_of(parts), device="cpu", precision="32-true")


def inference_model_of(parts: Parts) -> InferenceModel:
    """The network with its scoring."""
    return get_task(parts.config).inference_model(
        parts.task.network, {}, channels_last=parts.runtime.channels_last
    )


def describe_parts(parts: Parts) -> ModelMetadata:
    """The metadata that a run of these parts would have."""
    data, cache = parts.config.data, parts.data.dataset.cache
    rows = parts.data.indices(TRAIN)
    records = [parts.data.index.samples[row] for row in rows]
    detector = fit_detector(
        np.stack([extract_features(cache.images[row], cache.foregrounds[row]) for row in rows]),
        sizes=[(record.width, record.height) for record in records],
        roi_found=[bool(cache.roi_found[row]) for row in rows],
    )
    return ModelMetadata(
        task=parts.config.task.name,
        model=parts.config.model.name,
        classes=parts.data.index.classes,
        image_size=(data.image_size[0], data.image_size[1]),
        roi=data.roi,
        roi_margin=data.roi_margin,
        enlarge=True,
        max_pixels=data.max_pixels,
        post_processing=POST_PROCESSING[parts.config.task.name],
        ood=detector.as_dict(),
    )


def photographs(parts: Parts, count: int) -> list[Path]:
    """Files of the benchmarks, good and defects mixed, some twice where there are too few."""
    paths = [path for path, _ in our_training.paths_of(parts, TRAIN)]
    spread = [paths[row] for row in np.random.default_rng(0).permutation(len(paths))]
    return (spread * math.ceil(count / len(spread)))[:count]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return float(np.quantile(values, share))
