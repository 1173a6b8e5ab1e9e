"""Time and memory of the metrics of anomaly maps, compared to sorting all pixels.

Each value is from a process, `python -m benchmarks.localization <counted|sorted> <folder> <count>`,
which prints its seconds and metrics as JSON. Maps and masks are read from files, as from a run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measurements import Measurement, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_S, TARGET_GB, TARGET_GROWTH = 10.0, 2.0, 1.3
COUNTED, SORTED = "counted", "sorted"
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ProcessMetrics:
    """Seconds of the metrics alone, peak memory with the libraries, and the metrics."""

    seconds: float
    peak_gb: float
    metrics: dict[str, float]


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure all images and half of them, and the computation that sorts all pixels."""
    count, half = sizes.localization_images, sizes.localization_images // 2
    done: dict[str, list[ProcessMetrics]] = {"all": [], "half": [], "sorted": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_maps(folder, count=count, size_px=sizes.localization_size_px)
        cases = {"all": (COUNTED, count), "half": (COUNTED, half), "sorted": (SORTED, count)}
        measurements = {
            case: _runner(done[case], folder, *arguments) for case, arguments in cases.items()
        }
        seconds = interleave(measurements, rounds=rounds, warm_up=False)
    _check_agreement(done["all"][0].metrics, done["sorted"][0].metrics)
    memory = {case: tuple(one.peak_gb for one in processes) for case, processes in done.items()}
    title = f"{count} maps of {sizes.localization_size_px} px"
    growth = tuple(ratio * half / count for ratio in ratios(seconds["all"], seconds["half"]))
    return [
        Measurement(
            f"metrics and intervals of {title}", tuple(seconds["all"]), "s", target=TARGET_S
        ),
        Measurement(f"all pixels sorted, no intervals, {title}", tuple(seconds["sorted"]), "s"),
        Measurement("counted / sorted", ratios(seconds["all"], seconds["sorted"])),
        Measurement(f"peak memory, {title}", memory["all"], "GB", target=TARGET_GB),
        Measurement(f"peak memory, all pixels sorted, {title}", memory["sorted"], "GB"),
        Measurement(f"seconds a map, {count} : {half} maps", growth, target=TARGET_GROWTH),
    ]


def _runner(
    done: list[ProcessMetrics], folder: Path, method: str, count: int
) -> Callable[[], float]:
    """A function that runs the process, appends its result to `done` and returns its seconds."""

    def run() -> float:
        arguments = ("-m", "benchmarks.localization", method, str(folder), str(count))
        finished = run_python(*arguments, folder=REPOSITORY)
        printed = json.loads(finished.out.splitlines()[-1])
        done.append(
            ProcessMetrics(printed["seconds"], finished.peak_bytes / 1e9, printed["metrics"])
        )
        return done[-1].seconds

    return run


def _check_agreement(counted: dict[str, float], sorted_: dict[str, float]) -> None:
    """Raises RuntimeError where the two methods do not agree."""
    if any(abs(counted[name] - sorted_[name]) > _TOLERANCE for name in sorted_):
        raise RuntimeError(f"metrics differ: counted {counted}, sorted {sorted_}")


def _write_maps(folder: Path, *, count: int, size_px: int) -> None:
    """Maps in float16 and masks, every other image with two regions."""
    generator = np.random.default_rng(0)
    shape = (count, size_px, size_px)
    maps = np.lib.format.open_memmap(folder / "maps.npy", "w+", np.float16, shape)
    masks = np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, shape)
    extent = size_px // 8
    for image in range(count):
        for _ in range(2 * (image % 2)):
            row, column = generator.integers(0, size_px - extent, 2)
            masks[image, row : row + extent, column : column + extent // 2] = 1
        noise = generator.standard_normal((size_px, size_px), dtype=np.float32)
        maps[image] = noise + 1.5 * masks[image]
    maps.flush()
    masks.flush()


def _metrics_function(
    method: str, maps: np.ndarray, masks: np.ndarray
) -> Callable[[], dict[str, float]]:
    """The computation, with its modules imported."""
    if method == SORTED:
        from benchmarks.localization_baseline import direct_metrics

        return lambda: direct_metrics(maps, masks)
    import scipy.ndimage

    from capsule_inspection.metrics import localization, pixel_counts

    assert scipy.ndimage

    def counted() -> dict[str, float]:
        found = localization.localization_metrics(pixel_counts.count_pixels(maps, masks))
        return {name: estimate.value for name, estimate in found.items()}

    return counted


def main(method: str, folder: Path, count: int) -> dict[str, object]:
    """Seconds and metrics of the first `count` images."""
    maps = np.load(folder / "maps.npy", mmap_mode="r")[:count]
    masks = np.load(folder / "masks.npy", mmap_mode="r")[:count]
    compute = _metrics_function(method, maps, masks)
    began = time.perf_counter()
    found = compute()
    return {"seconds": time.perf_counter() - began, "metrics": found}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
