"""Time to validate, hash, cache and search a new data set for near-duplicates.

Compared to a plain loop that only decodes each image once with Pillow, with as many threads. The
difference is finding the part, cropping, resizing and comparing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.image_copies import ensure_image_copies
from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes
from capsule_inspection.workflows.hardware import available_cores

WIDTH = 224
TARGET = 2.5


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure milliseconds per image, cold and warm, and the ratio to decoding alone."""
    count = sizes.cold_start_images
    root = ensure_image_copies(count, rendered=sizes.cold_start_rendered, size_px=sizes.size_px)
    warm: list[float] = []

    def load() -> float:
        with tempfile.TemporaryDirectory() as cache:
            cold, again = (
                json.loads(_run("dataset_worker", str(root), cache, str(WIDTH))) for _ in range(2)
            )
        warm.append(again["find"] + again["load"])
        return float(cold["find"] + cold["load"])

    seconds = interleave(
        {"load": load, "plain": lambda: float(_run("cold_start", str(root)))},
        rounds=rounds,
        warm_up=False,
    )
    title = f"of {count:,} images of {sizes.size_px} x {sizes.size_px}"
    return [
        Measurement(f"cold start {title}", _per_image(seconds["load"], count), "ms per image"),
        Measurement("decoding alone", _per_image(seconds["plain"], count), "ms per image"),
        Measurement(
            "cold start / decoding", ratios(seconds["load"], seconds["plain"]), target=TARGET
        ),
        Measurement(f"warm start {title}", _per_image(warm, count), "ms per image"),
    ]


def _run(module: str, *arguments: str) -> str:
    printed = run_python("-m", f"benchmarks.{module}", *arguments, folder=REPOSITORY).out
    return printed.splitlines()[-1]


def _per_image(seconds: list[float], count: int) -> tuple[float, ...]:
    return tuple(1e3 * value / count for value in seconds)


def decode_all(root: Path) -> float:
    """Seconds to decode all images below a folder, each once."""
    paths = sorted(path for path in root.rglob("*.png") if "ground_truth" not in path.parts)
    began = time.perf_counter()
    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(_decode, paths):
            pass
    return time.perf_counter() - began


def _decode(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).shape


if __name__ == "__main__":
    print(decode_all(Path(sys.argv[1])))
