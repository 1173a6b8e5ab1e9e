"""Predictors of networks with random weights, which take as long as trained ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import our_training
from benchmarks.our_training import Parts
from capsule_inspection.data.appearance import describe
from capsule_inspection.data.appearance_fit import fit_appearance
from capsule_inspection.inference.description import Description
from capsule_inspection.inference.predictor import NONE, Predictor
from capsule_inspection.inference.torch_engine import TorchEngine
from capsule_inspection.metrics.marking import Decision
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.types import TRAIN
from capsule_inspection.workflows.kinds import kind_of

DECISION = Decision(0.5, 20)
FITTED = {"decision": DECISION.as_dict()}


def predictor_of(parts: Parts) -> Predictor:
    """What predict.py makes of a run, with remarks on unlike photographs, without explanations.

    Random weights see defects everywhere or nowhere, so `explain` is for who measures.
    """
    return Predictor(describe_parts(parts), engine_of(parts), explain=NONE)


def engine_of(parts: Parts) -> TorchEngine:
    """PyTorch as predict.py uses it, in float32."""
    return TorchEngine(
        inspector_of(parts),
        device="cpu",
        half=False,
        channels_last=parts.choices.channels_last,
    )


def inspector_of(parts: Parts) -> Inspector:
    """The network with its scoring."""
    checkpoint = {"inspection": {"fitted": FITTED}}
    kind = kind_of(parts.config)
    return kind.inspector(parts.config, parts.task.network, checkpoint, where="benchmark")


def describe_parts(parts: Parts) -> Description:
    """The description that a run of these parts would have."""
    data, cache = parts.config.data, parts.data.dataset.cache
    rows = parts.data.indices(TRAIN)
    records = [parts.data.index.records[row] for row in rows]
    appearance = fit_appearance(
        np.stack([describe(cache.images[row], cache.foregrounds[row]) for row in rows]),
        sizes=[(record.width, record.height) for record in records],
        found=[bool(cache.found[row]) for row in rows],
    )
    return Description(
        task=parts.config.task.name,
        model=parts.config.model.name,
        classes=parts.data.index.classes,
        image_size=(data.image_size[0], data.image_size[1]),
        roi=data.roi,
        roi_margin=data.roi_margin,
        enlarge=True,
        max_pixels=data.max_pixels,
        decision=DECISION,
        appearance=appearance.as_dict(),
    )


def photographs(parts: Parts, count: int) -> list[Path]:
    """Files of the benchmarks, good and defects mixed, some twice where there are too few."""
    paths = [path for path, _ in our_training.paths_of(parts, TRAIN)]
    spread = [paths[row] for row in np.random.default_rng(0).permutation(len(paths))]
    return (spread * math.ceil(count / len(spread)))[:count]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return float(np.quantile(values, share))
