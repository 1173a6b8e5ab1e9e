"""Median seconds from an image file to its prediction, of a model in OpenVINO, on its last line.

Run: python latency_worker.py {ours,anomalib,ultralytics} MODEL FOLDER THREADS
Runs in an environment with this project or with a peer, and imports only what its side needs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

IMAGES = 50
WARM_UP = 3

Predict = Callable[[Path], object]


def load_ours(model: Path, threads: int) -> Predict:
    """A folder of export.py."""
    from capsule_inspection.inference.exported import open_exported

    predictor = open_exported(model, threads=threads)
    return lambda path: predictor.predict([predictor.read(path)])


def load_anomalib(model: Path, threads: int) -> Predict:
    """A file of anomalib's export, which takes images of one size."""
    import cv2
    from anomalib.data.utils import read_image
    from anomalib.deploy import OpenVINOInferencer

    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    inferencer = OpenVINOInferencer(model, device="CPU", config=config)
    size = tuple(inferencer.input_blob.shape)[:1:-1]
    return lambda path: inferencer.predict(
        cv2.resize(read_image(path), size, interpolation=cv2.INTER_AREA)
    )


def load_ultralytics(model: Path, threads: int) -> Predict:
    """A folder of `yolo export`, which chooses the number of threads itself."""
    from ultralytics import YOLO

    network = YOLO(model, task="classify")
    return lambda path: network.predict(path, verbose=False)


def main(side: str, model: str, folder: str, threads: str) -> None:
    """Predict one image after the other."""
    load = {"ours": load_ours, "anomalib": load_anomalib, "ultralytics": load_ultralytics}[side]
    predict = load(Path(model), int(threads))
    paths = sorted(Path(folder).iterdir())[:IMAGES]
    for path in paths[:WARM_UP]:
        predict(path)
    seconds = []
    for path in paths:
        began = time.perf_counter()
        predict(path)
        seconds.append(time.perf_counter() - began)
    print(statistics.median(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
