"""Exported models compared to PyTorch: ResNet18, one image at a time.

The weights are random. Preprocessed images are in memory, so that only the backend is timed; each
has all cores of this process.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks import predictors, training
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.sizes import Sizes
from capsule_inspection.inference.exported import get_format
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.tasks.backend import IMAGE, Backend
from capsule_inspection.types import EXPORT_SUFFIXES
from capsule_inspection.workflows.hardware import available_cores

TARGET = 1.5
"""Speedup over PyTorch that at least one backend reaches."""
_CALIBRATION = 16


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure milliseconds and speedup of each backend."""
    parts = training.build_parts([*training.label_overrides(sizes), "trainer=cpu"])
    predictor = predictors.build_predictor(parts)
    images = [predictor.read(path).image for path in predictors.image_files(parts, _CALIBRATION)]
    inputs = [{IMAGE: image.image[None]} for image in images if image is not None]
    with tempfile.TemporaryDirectory() as folder:
        backends = {"torch": predictor.backend, **_export(predictor, inputs, Path(folder))}
        seconds = interleave(
            {name: _timed(backend, inputs) for name, backend in backends.items()}, rounds=rounds
        )
    rows = [
        Measurement(f"resnet18, one image: {name}", tuple(1000 * value for value in of), "ms")
        for name, of in seconds.items()
    ]
    speedups = {name: ratios(seconds["torch"], of) for name, of in seconds.items()}
    del speedups["torch"]
    best = max(EXPORT_SUFFIXES, key=lambda name: float(np.median(speedups[name])))
    for name, samples in speedups.items():
        target = TARGET if name == best else None
        rows.append(Measurement(f"torch / {name}", samples, target=target, at_least=True))
    rows += [
        Measurement(f"{name} / {name} int8", ratios(seconds[name], seconds[f"{name} int8"]))
        for name in EXPORT_SUFFIXES
        if f"{name} int8" in seconds
    ]
    return rows


def _export(
    predictor: Predictor, inputs: Sequence[Mapping[str, np.ndarray]], folder: Path
) -> dict[str, Backend]:
    model = copy.deepcopy(predictor.backend.model).eval()
    model.make_exportable()
    backends: dict[str, Backend] = {}
    for name, suffix in EXPORT_SUFFIXES.items():
        path, export_format = folder / f"{name}{suffix}", get_format(name)
        export_format.write(model, predictor.metadata, path)
        backends[name] = export_format.open(path, threads=available_cores())
        if export_format.int8_packages is not None:
            quantized = folder / f"{name}_int8{suffix}"
            export_format.quantize(path, quantized, predictor.metadata, inputs)
            backends[f"{name} int8"] = export_format.open(quantized, threads=available_cores())
    return backends


def _timed(backend: Backend, inputs: Sequence[Mapping[str, np.ndarray]]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for one in inputs:
            backend.run(one)
        return (time.perf_counter() - began) / len(inputs)

    return run
