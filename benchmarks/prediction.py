"""Photographs through trained models: a single one, and a folder, against what cannot be saved.

The U-Net: from the file of a photograph to marked regions, against the network's passes alone.
Both models: a folder of photographs to rows and pictures, against the larger of decoding alone and
the passes alone, which overlap. ResNet18: the time that one photograph takes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from capsule_inspection.inference.engines import IMAGE

from benchmarks import our_training, predictors
from benchmarks.figures import Row, interleave, ratios
from benchmarks.our_training import Parts
from benchmarks.sizes import Sizes
from capsule_inspection.data.image_io import read_image
from capsule_inspection.data.parallel import in_order
from capsule_inspection.inference.metadata import CLASSIFICATION
from capsule_inspection.inference.prediction_folder import OVERLAYS
from capsule_inspection.inference.predictor import ALL, Predictor, Read
from capsule_inspection.workflows.hardware import available_cores
from capsule_inspection.workflows.predict import network_threads, rows_of

ONE_TARGET, FOLDER_TARGET = 1.3, 1.15
BATCH_SIZE = 8
_PHOTOGRAPHS = 12


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for the U-Net and for ResNet18."""
    unet = our_training.prepare([*our_training.segmentation_overrides(sizes), "trainer=cpu"])
    random = ("model=resnet18", "model.weights=none")
    resnet18 = our_training.prepare([*random, *our_training.data_overrides(sizes), "trainer=cpu"])
    return [
        *_one_by_one(unet, sizes, rounds=rounds),
        *_folder(unet, sizes, rounds=rounds),
        *_folder(resnet18, sizes, rounds=rounds),
    ]


def _one_by_one(parts: Parts, sizes: Sizes, *, rounds: int) -> list[Row]:
    """As predict.py does it: in float32."""
    predictor = predictors.predictor_of(parts)
    paths = predictors.photographs(parts, _PHOTOGRAPHS)
    crops = [_crop(read) for read in map(predictor.read, paths)]
    seconds = interleave(
        {
            "ours": _timed(lambda: [predictor.answer([predictor.read(path)]) for path in paths]),
            "passes": _timed(lambda: [predictor.engine.run({IMAGE: crop}) for crop in crops]),
        },
        rounds=rounds,
    )
    each = {name: tuple(value / len(paths) for value in of) for name, of in seconds.items()}
    size = f"{sizes.size_px}x{sizes.size_px}"
    return [
        Row(
            f"unet: file of {size} to regions / passes, float32",
            ratios(*each.values()),
            target=ONE_TARGET,
        ),
        Row(f"unet: file of {size} to regions, float32", each["ours"], "s"),
        Row("unet: passes of one photograph, float32", each["passes"], "s"),
    ]


def _folder(parts: Parts, sizes: Sizes, *, rounds: int) -> list[Row]:
    """As predict.py does it by default: in float32, with a picture for each photograph."""
    predictor = predictors.predictor_of(parts)
    paths = predictors.photographs(parts, sizes.predicted_images)
    cores = available_cores()
    reads = [predictor.read(path) for path in paths]
    batches = [
        predictor.stacked(reads[first : first + BATCH_SIZE])
        for first in range(0, len(reads), BATCH_SIZE)
    ]
    work = {
        "ours": _timed(lambda: _predict(predictor, paths, workers=cores)),
        "decoding": _timed(lambda: list(in_order(read_image, paths, workers=cores))),
        "passes": _timed(lambda: [predictor.engine.run(batch) for batch in batches]),
    }
    classifies = parts.config.task.name == CLASSIFICATION
    if classifies:
        explaining = Predictor(predictor.description, predictor.engine, explain=ALL)
        work["explained"] = _timed(lambda: _predict(explaining, paths, workers=cores))
    seconds = interleave(work, rounds=rounds)
    larger = [max(pair) for pair in zip(seconds["decoding"], seconds["passes"], strict=True)]
    ratio = ratios(seconds["ours"], larger)
    model = parts.config.model.name
    what = f"{model}: folder of {len(paths)} PNG of {sizes.size_px}x{sizes.size_px}"
    each = {name: tuple(value / len(paths) for value in of) for name, of in seconds.items()}
    rows = [
        Row(f"{what} / the larger of decoding and passes", ratio, target=FOLDER_TARGET),
        Row(f"{model}: a photograph of the folder", each["ours"], "s"),
        Row(f"{model}: decoding alone", each["decoding"], "s"),
        Row(f"{model}: passes alone", each["passes"], "s"),
    ]
    if not classifies:
        return rows
    explained = Row(
        f"{model}: a photograph of the folder, each with an explanation", each["explained"], "s"
    )
    return [*rows, explained, *_latency(predictor, paths)]


def _latency(predictor: Predictor, paths: Sequence[Path]) -> list[Row]:
    """One photograph after the other through the loaded predictor, from its file to its answer."""
    predictor.answer([predictor.read(paths[0])])
    seconds = [
        _timed(lambda path=path: predictor.answer([predictor.read(path)]))() for path in paths
    ]
    return [
        Row("resnet18: one photograph, median", (predictors.percentile(seconds, 0.5),), "s"),
        Row(
            "resnet18: one photograph, 99th percentile",
            (predictors.percentile(seconds, 0.99),),
            "s",
        ),
    ]


def _predict(predictor: Predictor, paths: Sequence[Path], *, workers: int) -> int:
    """As predict.py does it: the network leaves cores to the threads that read."""
    torch.set_num_threads(network_threads(workers))
    try:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder)
            (output / OVERLAYS).mkdir()
            stream = predictor.stream(paths, batch_size=BATCH_SIZE, workers=workers)
            return sum(1 for _ in rows_of(output, stream, "all", first=0, workers=workers))
    finally:
        torch.set_num_threads(workers)


def _crop(read: Read) -> np.ndarray:
    assert read.prepared is not None
    return read.prepared.image[None]


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return run
