"""Draws a whole data set in the MVTec AD layout, in processes, the same for every run.

Each image has its own random numbers from seed, kind and number, so neither the number of
workers nor the counts of other kinds change it. The folder appears under its name when whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from capsule_inspection.files import unfinished_folder
from capsule_inspection.synthetic.defects import DEFECTS, paint
from capsule_inspection.synthetic.scene import draw_good
from capsule_inspection.types import DataError

GOOD = "good"
DEFAULT_COUNTS: Mapping[str, int] = {
    GOOD: 219,
    "crack": 23,
    "faulty_imprint": 22,
    "poke": 21,
    "scratch": 23,
    "squeeze": 20,
}
DEFAULT_SIZE_PX = 800
_KINDS = (GOOD, *DEFECTS)


@dataclass(frozen=True)
class _Job:
    """One image to be drawn."""

    folder: str
    seed: int
    size_px: int
    kind: str
    number: int


def draw_dataset(
    folder: Path,
    *,
    seed: int,
    size_px: int = DEFAULT_SIZE_PX,
    counts: Mapping[str, int] = DEFAULT_COUNTS,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw `counts[kind]` images of each kind into a new folder.

    Writes train/good/000.png, test/<defect>/000.png and ground_truth/<defect>/000_mask.png
    (0 or 255). `workers` processes draw; 0 draws in this one. `progress` hears of (done, all)
    images. Where another process finished the folder first, its work is kept.
    Raises DataError for a kind that cannot be drawn, a negative count, or where something else
    stands at `folder`.
    """
    _check(folder, counts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_folder(folder)
    try:
        unfinished.chmod(0o755)
        jobs = _jobs(unfinished, seed, size_px, counts)
        for done, _ in enumerate(_drawn(jobs, workers), start=1):
            if progress:
                progress(done, len(jobs))
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check(folder: Path, counts: Mapping[str, int]) -> None:
    unknown = sorted(set(counts) - set(_KINDS))
    if unknown:
        raise DataError(
            f"{', '.join(unknown)} cannot be drawn; known kinds are {', '.join(_KINDS)}. "
            "Correct data.counts."
        )
    negative = [kind for kind, count in counts.items() if count < 0]
    if negative:
        raise DataError(
            f"the count of {negative[0]} is {counts[negative[0]]}. Set data.counts >= 0."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists already. Remove it, or set data.root to another folder.")


def _jobs(folder: Path, seed: int, size_px: int, counts: Mapping[str, int]) -> list[_Job]:
    """All images to be drawn; makes their folders."""
    for kind in (k for k in _KINDS if counts.get(k, 0)):
        parts = ["train/good"] if kind == GOOD else [f"test/{kind}", f"ground_truth/{kind}"]
        for part in parts:
            (folder / part).mkdir(parents=True)
    return [
        _Job(str(folder), seed, size_px, kind, number)
        for kind in _KINDS
        for number in range(counts.get(kind, 0))
    ]


def _drawn(jobs: list[_Job], workers: int) -> Iterator[None]:
    if workers <= 1 or len(jobs) < 2:
        yield from map(_draw, jobs)
        return
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_one_thread
    ) as pool:
        yield from pool.map(_draw, jobs, chunksize=4)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _draw(job: _Job) -> None:
    rng = np.random.default_rng([job.seed, _KINDS.index(job.kind), job.number])
    scene = draw_good(rng, size_px=job.size_px)
    folder, name = Path(job.folder), f"{job.number:03d}"
    if job.kind == GOOD:
        _write(folder / "train" / GOOD / f"{name}.png", scene.image)
        return
    painted = paint(scene.image, scene.foreground, job.kind, rng)
    _write(folder / "test" / job.kind / f"{name}.png", painted.image)
    _write(folder / "ground_truth" / job.kind / f"{name}_mask.png", painted.mask * np.uint8(255))


def _write(path: Path, image: np.ndarray) -> None:
    """Write a PNG; cv2.imwrite would fail on some names that are not ASCII."""
    ordered = image[..., ::-1] if image.ndim == 3 else image
    written, buffer = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not written:
        raise DataError(f"{path}: this image of shape {image.shape} could not be encoded.")
    path.write_bytes(buffer.tobytes())


def _publish(unfinished: Path, folder: Path) -> None:
    """Give the whole folder its name; keep what another process put there meanwhile."""
    try:
        unfinished.replace(folder)
    except OSError:
        if not (folder.is_dir() and any(folder.iterdir())):
            raise
