"""Prediction of a single image and of a folder, compared to the lower bound of their time.

U-Net: from an image file to regions, compared to the forward passes alone. U-Net and ResNet18: from
a folder of images to rows and overlays, compared to the larger of decoding alone and the forward
passes alone, and to both together: each alone keeps all cores busy, so that on a processor no
schedule takes less. ResNet18: the latency of one image.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import predictors, training
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.sizes import Sizes
from benchmarks.training import TrainingParts
from capsule_inspection.data.image_io import read_image
from capsule_inspection.data.parallel import in_order
from capsule_inspection.inference.prediction_folder import OVERLAYS
from capsule_inspection.inference.predictions import PredictedImage
from capsule_inspection.inference.predictor import ALL, NONE, Predictor, stack
from capsule_inspection.workflows.hardware import available_cores
from capsule_inspection.workflows.predict import backend_threads, build_rows

SINGLE_TARGET, FOLDER_TARGET = 1.3, 1.15
BATCH_SIZE = 8
_SINGLE_IMAGES = 12


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure the U-Net and ResNet18."""
    unet = training.build_parts([*training.segmentation_overrides(sizes), "trainer=cpu"])
    resnet18 = training.build_parts(
        ["model=resnet18", "model.weights=none", *training.data_overrides(sizes), "trainer=cpu"]
    )
    return [
        *_measure_single_images(unet, sizes, rounds=rounds),
        *_measure_folder(unet, sizes, rounds=rounds),
        *_measure_folder(resnet18, sizes, rounds=rounds),
    ]


def _measure_single_images(parts: TrainingParts, sizes: Sizes, *, rounds: int) -> list[Measurement]:
    predictor = predictors.build_predictor(parts)
    paths = predictors.image_files(parts, _SINGLE_IMAGES)
    inputs = _preprocess(predictor, paths, batch_size=1)
    seconds = interleave(
        {
            "predict": _timed(lambda: [_predict_file(predictor, path) for path in paths]),
            "passes": _timed(lambda: [predictor.backend.run(batch) for batch in inputs]),
        },
        rounds=rounds,
    )
    per_image = {name: tuple(value / len(paths) for value in of) for name, of in seconds.items()}
    name = f"unet: file of {sizes.size_px}x{sizes.size_px} to regions"
    return [
        Measurement(f"{name} / forward passes", ratios(*seconds.values()), target=SINGLE_TARGET),
        Measurement(name, per_image["predict"], "s"),
        Measurement("unet: forward passes of an image", per_image["passes"], "s"),
    ]


def _measure_folder(parts: TrainingParts, sizes: Sizes, *, rounds: int) -> list[Measurement]:
    predictor = predictors.build_predictor(parts)
    paths = predictors.image_files(parts, sizes.predicted_images)
    cores = available_cores()
    inputs = _preprocess(predictor, paths, batch_size=BATCH_SIZE)
    is_classifier = parts.config.task.name == "classification"
    functions = {
        "predict": _timed(lambda: _predict_folder(predictor, paths)),
        "decoding": _timed(lambda: list(in_order(read_image, paths, workers=cores))),
        "passes": _timed(lambda: [predictor.backend.run(batch) for batch in inputs]),
    }
    if is_classifier:
        functions["explain"] = _timed(lambda: _predict_folder(predictor, paths, explain=ALL))
    seconds = interleave(functions, rounds=rounds)
    alone = [*zip(seconds["decoding"], seconds["passes"], strict=True)]
    per_image = {name: tuple(value / len(paths) for value in of) for name, of in seconds.items()}
    model = parts.config.model.name
    name = f"{model}: folder of {len(paths)} PNG of {sizes.size_px}x{sizes.size_px}"
    measurements = [
        Measurement(
            f"{name} / larger of decoding and forward passes",
            ratios(seconds["predict"], [max(pair) for pair in alone]),
            target=FOLDER_TARGET,
        ),
        Measurement(
            f"{name} / decoding and forward passes together",
            ratios(seconds["predict"], [sum(pair) for pair in alone]),
        ),
        Measurement(f"{model}: an image of the folder", per_image["predict"], "s"),
        Measurement(f"{model}: decoding alone", per_image["decoding"], "s"),
        Measurement(f"{model}: forward passes alone", per_image["passes"], "s"),
    ]
    if not is_classifier:
        return measurements
    explained = f"{model}: an image of the folder, with explanation"
    return [
        *measurements,
        Measurement(explained, per_image["explain"], "s"),
        *_measure_latency(predictor, paths),
    ]


def _measure_latency(predictor: Predictor, paths: Sequence[Path]) -> list[Measurement]:
    """Time of one image after the other, from its file to its prediction."""
    _predict_file(predictor, paths[0])  # warm-up
    seconds = [_timed(partial(_predict_file, predictor, path))() for path in paths]
    return [
        Measurement(f"resnet18: latency, {name}", (float(np.quantile(seconds, level)),), "s")
        for name, level in (("median", 0.5), ("99th percentile", 0.99))
    ]


def _predict_file(predictor: Predictor, path: Path) -> PredictedImage:
    return predictor.predict([predictor.read(path)])[0]


def _preprocess(
    predictor: Predictor, paths: Sequence[Path], *, batch_size: int
) -> list[dict[str, np.ndarray]]:
    images = [image for path in paths if (image := predictor.read(path).image) is not None]
    assert len(images) == len(paths)
    return [
        stack(images[first : first + batch_size]) for first in range(0, len(images), batch_size)
    ]


def _predict_folder(predictor: Predictor, paths: Sequence[Path], *, explain: str = NONE) -> int:
    """Number of rows; the backend leaves cores to the threads that read, as in predict.py."""
    workers = available_cores()
    torch.set_num_threads(backend_threads(workers))
    try:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder)
            (output / OVERLAYS).mkdir()
            stream = predictor.stream(
                paths, batch_size=BATCH_SIZE, workers=workers, explain=explain
            )
            return sum(1 for _ in build_rows(output, enumerate(stream), "all", workers=workers))
    finally:
        torch.set_num_threads(workers)


def _timed(function: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return run
