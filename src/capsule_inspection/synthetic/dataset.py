"""Renders a data set in the MVTec AD layout, reproducibly and in several processes.

Each image has its own random numbers from seed, class and number, so neither the number of
workers nor the counts of other classes change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from capsule_inspection.files import atomic_dir
from capsule_inspection.synthetic.defects import DEFECT_TYPES, render_defect
from capsule_inspection.synthetic.scene import render_capsule
from capsule_inspection.types import DataError

GOOD = "good"
_CLASSES = (GOOD, *DEFECT_TYPES)


@dataclass(frozen=True)
class _Job:
    """One image to be rendered."""

    folder: str
    seed: int
    size_px: int
    class_name: str
    number: int


def render_dataset(
    folder: Path,
    *,
    seed: int,
    size_px: int,
    counts: Mapping[str, int],
    workers: int = 0,
    aside: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render `counts[class_name]` images of each class into a new folder.

    Writes train/good/000.png, test/<defect>/000.png and ground_truth/<defect>/000_mask.png
    (0 or 255). The folder appears under its name when it is complete; one that has the
    name before is renamed to `aside`. `workers` processes render;
    0 renders in this one. `progress` is called with (done, total) images.
    Raises DataError for an unknown class or a negative count.
    """
    unknown = sorted(set(counts) - set(_CLASSES))
    if unknown:
        raise DataError(
            f"data.counts: {', '.join(unknown)} cannot be rendered; expected classes from "
            f"{', '.join(_CLASSES)}."
        )
    for class_name, count in counts.items():
        if count < 0:
            raise DataError(f"data.counts: {class_name} is {count}; expected 0 or more.")
    with atomic_dir(folder, aside=aside) as part:
        jobs = _make_jobs(part, seed, size_px, counts)
        for done, _ in enumerate(_render_all(jobs, workers), start=1):
            if progress:
                progress(done, len(jobs))


def _make_jobs(folder: Path, seed: int, size_px: int, counts: Mapping[str, int]) -> list[_Job]:
    """All images to be rendered; makes their folders."""
    jobs = []
    for class_name in (name for name in _CLASSES if counts.get(name, 0)):
        names = [f"test/{class_name}", f"ground_truth/{class_name}"]
        for name in ["train/good"] if class_name == GOOD else names:
            (folder / name).mkdir(parents=True)
        numbers = range(counts[class_name])
        jobs += [_Job(str(folder), seed, size_px, class_name, number) for number in numbers]
    return jobs


def _render_all(jobs: list[_Job], workers: int) -> Iterator[None]:
    if workers <= 1 or len(jobs) < 2:
        yield from map(_render, jobs)
        return
    with ProcessPoolExecutor(
        min(workers, len(jobs)),
        mp_context=get_context("spawn"),
        initializer=cv2.setNumThreads,
        initargs=(1,),
    ) as pool:
        yield from pool.map(_render, jobs, chunksize=4)


def _render(job: _Job) -> None:
    rng = np.random.default_rng([job.seed, _CLASSES.index(job.class_name), job.number])
    scene = render_capsule(rng, size_px=job.size_px)
    folder, name = Path(job.folder), f"{job.number:03d}"
    if job.class_name == GOOD:
        _write(folder / "train" / GOOD / f"{name}.png", scene.image)
        return
    defect = render_defect(scene.image, scene.foreground, job.class_name, rng)
    _write(folder / "test" / job.class_name / f"{name}.png", defect.image)
    _write(
        folder / "ground_truth" / job.class_name / f"{name}_mask.png", defect.mask * np.uint8(255)
    )


def _write(path: Path, image: np.ndarray) -> None:
    """Write a PNG; cv2.imwrite would fail on some names that are not ASCII."""
    ordered = image[..., ::-1] if image.ndim == 3 else image
    _, buffer = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    path.write_bytes(buffer.tobytes())
