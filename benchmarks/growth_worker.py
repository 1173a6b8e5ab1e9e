"""One start of a program on a folder of images: times and memory of each step, as JSON.

Run by growth.py in a process of its own: `python -m benchmarks.growth_worker <root> <cache>`.
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
from capsule_inspection.data.cache import open_cache
from capsule_inspection.data.duplicates import find_near_duplicates
from capsule_inspection.data.index import build_index
from capsule_inspection.data.layouts import list_mvtec

IMAGE_SIZE = (32, 96)
WORKERS = 2
Result = TypeVar("Result")


def main(root: Path, cache_folder: Path) -> dict[str, float]:
    """Seconds of each step; bytes of RssAnon that came with them, at their peak and at the end."""
    _import_all()
    seconds: dict[str, float] = {}
    before = status_bytes("RssAnon")

    def timed(step: str, do: Callable[[], Result]) -> Result:
        began = time.perf_counter()
        result = do()
        seconds[step] = time.perf_counter() - began
        return result

    with Peak() as peak:
        listing = timed("list", lambda: list_mvtec(root))
        index = timed(
            "index",
            lambda: build_index(
                listing, on_bad_file="error", index_folder=cache_folder / "index", workers=WORKERS
            ),
        )
        cache = timed(
            "cache",
            lambda: open_cache(
                index,
                folder=cache_folder / "decoded",
                roi="auto",
                image_size=IMAGE_SIZE,
                workers=WORKERS,
            ),
        )
        groups = timed(
            "near-duplicates",
            lambda: find_near_duplicates(
                index, folder=cache_folder / "duplicates", workers=WORKERS
            ),
        )
        after = status_bytes("RssAnon")
    return {
        **seconds,
        "images": len(cache),
        "groups": len(groups),
        "end_bytes": after - before,
        "peak_bytes": peak.largest - before,
    }


def _import_all() -> None:
    """What the steps import when they first need it; its memory is not of the images."""
    import cv2
    import filelock
    import PIL.Image

    from capsule_inspection.data import comparison, cropping, reading, roi

    assert all((cv2, filelock, PIL.Image, comparison, cropping, reading, roi))


class Peak:
    """Largest RssAnon within the block, looked at a hundred times a second."""

    def __init__(self) -> None:
        self.largest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            self.largest = max(self.largest, status_bytes("RssAnon"))


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
