"""Exported models against the run's own network: ResNet18, one photograph at a time.

Random weights, which take as long as trained ones. Crops are in memory, so what is timed is the
engine alone; every engine has the cores that this process may use.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import our_training, predictors
from benchmarks.figures import Row, interleave, ratios
from benchmarks.sizes import Sizes
from capsule_inspection.inference.engines import IMAGE, Engine
from capsule_inspection.inference.formats import ONNX, OPENVINO, SUFFIXES, TORCHSCRIPT, format_of
from capsule_inspection.workflows.hardware import available_cores

TARGET = 1.5
"""What at least one engine should be quicker by than PyTorch."""
EIGHT_BITS = (ONNX, OPENVINO)
_CALIBRATION = 16


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Milliseconds of each engine, and how much quicker it is."""
    parts = our_training.prepare([*our_training.overrides(sizes), "trainer=cpu"])
    reads = [
        predictors.predictor_of(parts).read(path)
        for path in predictors.photographs(parts, _CALIBRATION)
    ]
    crops = [read.prepared.image[None] for read in reads if read.prepared is not None]
    with tempfile.TemporaryDirectory() as folder:
        engines = _exported(parts, crops, Path(folder))
        engines = {"torch": predictors.engine_of(parts), **engines}
        seconds = interleave(
            {name: _timed(engine, crops) for name, engine in engines.items()}, rounds=rounds
        )
    rows = [
        Row(f"resnet18, one crop: {name}", tuple(1000 * value for value in of), "ms")
        for name, of in seconds.items()
    ]
    quicker = {name: ratios(seconds["torch"], of) for name, of in seconds.items()}
    del quicker["torch"]
    best = max(
        (name for name in (ONNX, OPENVINO, TORCHSCRIPT)), key=lambda n: np.median(quicker[n])
    )
    for name, samples in quicker.items():
        target = TARGET if name == best else None
        rows.append(Row(f"torch / {name}", samples, target=target, at_least=True))
    for name in EIGHT_BITS:
        samples = ratios(seconds[name], seconds[f"{name} int8"])
        rows.append(Row(f"{name} / {name} int8", samples))
    return rows


def _exported(
    parts: our_training.Parts, crops: Sequence[np.ndarray], folder: Path
) -> dict[str, Engine]:
    description = predictors.describe_parts(parts)
    inspector = copy.deepcopy(predictors.inspector_of(parts)).eval()
    inspector.make_exportable()
    engines: dict[str, Engine] = {}
    for name in (ONNX, OPENVINO, TORCHSCRIPT):
        path = folder / f"{name}{SUFFIXES[name]}"
        form = format_of(name)
        form.write(inspector, description, path)
        engines[name] = form.open(path, threads=available_cores()).engine
        if name in EIGHT_BITS:
            small = folder / f"{name}_int8{SUFFIXES[name]}"
            form.quantise(path, small, description, [{IMAGE: crop} for crop in crops])
            engines[f"{name} int8"] = form.open(small, threads=available_cores()).engine
    return engines


def _timed(engine: Engine, crops: Sequence[np.ndarray]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for crop in crops:
            engine.run({IMAGE: crop})
        return (time.perf_counter() - began) / len(crops)

    return run
