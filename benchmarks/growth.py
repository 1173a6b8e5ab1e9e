"""How time and memory grow with the number of images: by as much for each one, or more?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.altered_copies import ensure_copies
from benchmarks.figures import Row
from benchmarks.processes import run_python
from benchmarks.sizes import REPOSITORY, Sizes

SIZE_PX = 64
STEPS = ("find", "load")
TARGET_RATIO = 1.3
"""Ten times the images may take thirteen times as long: caches of the machine are not endless."""
TARGET_KB = 2.0

Start = Mapping[str, float]
"""What growth_worker.py says of one start."""


def measure(sizes: Sizes, *, rounds: int) -> list[Row]:
    """Rows for each step, cold and warm, and for memory."""
    roots = {
        count: ensure_copies(count, drawn=sizes.growth_drawn, size_px=SIZE_PX)
        for count in sizes.growth
    }
    cold: dict[int, list[Start]] = {count: [] for count in sizes.growth}
    warm: dict[int, list[Start]] = {count: [] for count in sizes.growth}
    for _ in range(rounds):
        for count, root in roots.items():
            with tempfile.TemporaryDirectory() as cache:
                cold[count].append(_start(root, Path(cache)))
                warm[count].append(_start(root, Path(cache)))
    rows = []
    for step in STEPS:
        rows += time_rows(f"{step}, cold", _per_image(cold, (step,)))
    rows += time_rows("both steps, warm", _per_image(warm, STEPS))
    return [*rows, *memory_rows("cold", cold), *memory_rows("warm", warm)]


def _start(root: Path, cache: Path) -> Start:
    printed = run_python(
        "-m", "benchmarks.growth_worker", str(root), str(cache), "96", folder=REPOSITORY
    ).out
    return json.loads(printed.splitlines()[-1])


def _per_image(
    starts: Mapping[int, Sequence[Start]], steps: Sequence[str]
) -> dict[int, list[float]]:
    """Milliseconds an image of the steps together, for each number of images."""
    return {
        count: [1e3 * sum(start[step] for step in steps) / start["images"] for start in some]
        for count, some in starts.items()
    }


def time_rows(title: str, per_image: Mapping[int, Sequence[float]]) -> list[Row]:
    """Milliseconds an image for each number of images, and the largest against the next."""
    *_, fewer, most = sorted(per_image)
    rows = [
        Row(f"{title}, {count:,} images", tuple(values), "ms an image")
        for count, values in sorted(per_image.items())
    ]
    over = tuple(a / b for a, b in zip(per_image[most], per_image[fewer], strict=True))
    return [*rows, Row(f"{title}, {most:,} : {fewer:,} an image", over, target=TARGET_RATIO)]


def memory_rows(title: str, starts: Mapping[int, Sequence[Start]]) -> list[Row]:
    """KB of anonymous memory that an image adds, between the two largest numbers of images."""
    *_, fewer, most = sorted(starts)
    rows = []
    for key, when in (("end_bytes", "at the end"), ("peak_bytes", "at the peak")):
        added = tuple(
            (a[key] - b[key]) / (a["images"] - b["images"]) / 1024
            for a, b in zip(starts[most], starts[fewer], strict=True)
        )
        figure = f"RssAnon, {title}, {when}"
        rows.append(Row(figure, added, "KB an image", target=TARGET_KB))
    return rows
