"""Figures of anomaly maps: their time and memory, against sorting every pixel.

Each measurement is a process, `python -m benchmarks.localisation <ours|direct> <folder> <count>`,
which prints its seconds and figures as JSON; maps and masks are read from files, as from a run.
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

from benchmarks.figures import Row, interleave, ratios
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

TARGET_S, TARGET_GB, TARGET_GROWTH = 10.0, 2.0, 1.3
OURS, DIRECT = "ours", "direct"
_AGREEMENT = 1e-6


@dataclass(frozen=True)
class Measured:
    """One process: seconds of the figures alone, peak memory with the libraries, the figures."""

    seconds: float
    peak_gb: float
    figures: dict[str, float]


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for all images and for half of them, and for the direct computation."""
    count, half = sizes.localisation_images, sizes.localisation_images // 2
    done: dict[str, list[Measured]] = {"all": [], "half": [], "direct": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder, count=count, size_px=sizes.localisation_size_px)
        cases = {"all": (OURS, count), "half": (OURS, half), "direct": (DIRECT, count)}
        measurements = {
            case: _keeping(done[case], folder, *arguments) for case, arguments in cases.items()
        }
        seconds = interleave(measurements, rounds=rounds, warm_up=False)
    _compare(done["all"][0].figures, done["direct"][0].figures)
    memory = {case: tuple(one.peak_gb for one in found) for case, found in done.items()}
    title = f"{count} maps of {sizes.localisation_size_px} px"
    growth = tuple(ratio * half / count for ratio in ratios(seconds["all"], seconds["half"]))
    return [
        Row(f"figures and intervals of {title}", tuple(seconds["all"]), "s", target=TARGET_S),
        Row(f"every pixel sorted, no intervals, {title}", tuple(seconds["direct"]), "s"),
        Row("counted / sorted", ratios(seconds["all"], seconds["direct"])),
        Row(f"peak memory, {title}", memory["all"], "GB", target=TARGET_GB),
        Row(f"peak memory, every pixel sorted, {title}", memory["direct"], "GB"),
        Row(f"seconds a map, {count} : {half} maps", growth, target=TARGET_GROWTH),
    ]


def _keeping(done: list[Measured], folder: Path, how: str, count: int) -> Callable[[], float]:
    """A measurement that returns its seconds and appends everything to `done`."""

    def run() -> float:
        arguments = ("-m", "benchmarks.localisation", how, str(folder), str(count))
        finished = run_python(*arguments, folder=REPOSITORY)
        printed = json.loads(finished.out.splitlines()[-1])
        done.append(Measured(printed["seconds"], finished.peak_bytes / 1e9, printed["figures"]))
        return done[-1].seconds

    return run


def _compare(ours: dict[str, float], direct: dict[str, float]) -> None:
    """Raises RuntimeError where the two do not agree: a wrong figure is no faster."""
    if any(abs(ours[name] - direct[name]) > _AGREEMENT for name in direct):
        raise RuntimeError(f"figures do not agree: counted {ours}, sorted {direct}")


def _draw(folder: Path, *, count: int, size_px: int) -> None:
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


def _figures(how: str, maps: np.ndarray, masks: np.ndarray) -> Callable[[], dict[str, float]]:
    """The computation, its modules already imported."""
    if how == DIRECT:
        from benchmarks.direct_localisation import direct_figures

        return lambda: direct_figures(maps, masks)
    import scipy.ndimage

    from capsule_inspection.metrics import localization, pixel_counts

    assert scipy.ndimage

    def counted() -> dict[str, float]:
        found = localization.localization_metrics(pixel_counts.count_pixels(maps, masks))
        return {name: figure.value for name, figure in found.items()}

    return counted


def main(how: str, folder: Path, count: int) -> dict[str, object]:
    """Seconds and figures of the first `count` images."""
    maps = np.load(folder / "maps.npy", mmap_mode="r")[:count]
    masks = np.load(folder / "masks.npy", mmap_mode="r")[:count]
    compute = _figures(how, maps, masks)
    began = time.perf_counter()
    found = compute()
    return {"seconds": time.perf_counter() - began, "figures": found}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
