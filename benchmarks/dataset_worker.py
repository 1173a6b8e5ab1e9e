"""Loads a folder of images in a process of its own; prints time and memory of each step as JSON.

Run by dataset_scaling.py and cold_start.py:
`python -m benchmarks.dataset_worker <root> <cache> <width>`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.processes import status_bytes
from capsule_inspection.data.dataset import DatasetConfig, load_dataset
from capsule_inspection.data.layouts.mvtec import find_mvtec_samples
from capsule_inspection.data.layouts.samples import LayoutSettings
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.workflows.hardware import available_cores

Result = TypeVar("Result")


def main(root: Path, cache_folder: Path, size_px: int) -> dict[str, float]:
    """Seconds of each step; bytes of RssAnon that the steps add, at the peak and at the end."""
    _import_all()
    seconds: dict[str, float] = {}
    before = status_bytes("RssAnon")

    def timed(step: str, function: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = function()
        seconds[step] = time.perf_counter() - began
        return result

    config = DatasetConfig(
        cache_folder,
        roi="auto",
        margin=0.05,
        image_size=(size_px // 2, size_px),
        near_duplicates="report",
        workers=available_cores(),
    )
    with Peak() as peak:
        found = timed("find", lambda: find_mvtec_samples(scan_tree(root), LayoutSettings()))
        index, _ = timed("load", lambda: load_dataset(found, config))
        after = status_bytes("RssAnon")
    return {
        **seconds,
        "images": len(index),
        "end_bytes": after - before,
        "peak_bytes": peak.largest - before,
    }


def _import_all() -> None:
    """Import what the steps import lazily, so that its memory does not count."""
    import cv2
    import filelock
    import PIL.Image
    import rich.progress

    from capsule_inspection.data import crop, image_io, roi, similarity

    assert all((cv2, filelock, rich.progress, PIL.Image, crop, image_io, roi, similarity))


class Peak:
    """Largest RssAnon within the block, polled a hundred times a second."""

    def __init__(self) -> None:
        self.largest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._ended.wait(0.01):
            self.largest = max(self.largest, status_bytes("RssAnon"))


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
