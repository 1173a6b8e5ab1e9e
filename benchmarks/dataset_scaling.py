"""Growth of time and memory with the number of images: linear, or faster?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.image_copies import ensure_image_copies
from benchmarks.measurements import Measurement
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

SIZE_PX = 64
STEPS = ("find", "load")
TARGET_RATIO = 1.3
"""Ten times the images may take thirteen times as long, since caches of the machine are finite."""
TARGET_KB = 2.0

Start = Mapping[str, float]
"""Output of one process of dataset_worker.py."""


def measure(sizes: Sizes, *, rounds: int) -> list[Measurement]:
    """Measure each step, cold and warm, and the memory."""
    roots = {
        count: ensure_image_copies(count, rendered=sizes.scaling_rendered, size_px=SIZE_PX)
        for count in sizes.scaling
    }
    cold: dict[int, list[Start]] = {count: [] for count in sizes.scaling}
    warm: dict[int, list[Start]] = {count: [] for count in sizes.scaling}
    for _ in range(rounds):
        for count, root in roots.items():
            with tempfile.TemporaryDirectory() as cache:
                cold[count].append(_start(root, Path(cache)))
                warm[count].append(_start(root, Path(cache)))
    rows = []
    for step in STEPS:
        rows += time_measurements(f"{step}, cold", _per_image(cold, (step,)))
    rows += time_measurements("both steps, warm", _per_image(warm, STEPS))
    return [*rows, *memory_measurements("cold", cold), *memory_measurements("warm", warm)]


def _start(root: Path, cache: Path) -> Start:
    printed = run_python(
        "-m", "benchmarks.dataset_worker", str(root), str(cache), "96", folder=REPOSITORY
    ).out
    return json.loads(printed.splitlines()[-1])


def _per_image(
    starts: Mapping[int, Sequence[Start]], steps: Sequence[str]
) -> dict[int, list[float]]:
    """Milliseconds per image of the steps together, for each number of images."""
    return {
        count: [1e3 * sum(start[step] for step in steps) / start["images"] for start in some]
        for count, some in starts.items()
    }


def time_measurements(title: str, per_image: Mapping[int, Sequence[float]]) -> list[Measurement]:
    """Milliseconds per image for each number of images, and the ratio of the two largest."""
    *_, fewer, most = sorted(per_image)
    rows = [
        Measurement(f"{title}, {count:,} images", tuple(values), "ms per image")
        for count, values in sorted(per_image.items())
    ]
    over = tuple(a / b for a, b in zip(per_image[most], per_image[fewer], strict=True))
    return [
        *rows,
        Measurement(f"{title}, {most:,} : {fewer:,} images, per image", over, target=TARGET_RATIO),
    ]


def memory_measurements(title: str, starts: Mapping[int, Sequence[Start]]) -> list[Measurement]:
    """Anonymous memory per additional image, from the two largest numbers of images."""
    *_, fewer, most = sorted(starts)
    rows = []
    for key, when in (("end_bytes", "at the end"), ("peak_bytes", "at the peak")):
        added = tuple(
            (a[key] - b[key]) / (a["images"] - b["images"]) / 1024
            for a, b in zip(starts[most], starts[fewer], strict=True)
        )
        metric = f"RssAnon, {title}, {when}"
        rows.append(Measurement(metric, added, "KB per image", target=TARGET_KB))
    return rows
