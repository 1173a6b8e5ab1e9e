"""Renders synthetic defects on good images before training; chooses types and NSA sources.

From arrays to patches; `defect_bank` stores them. `synthetic` defines how a defect looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from numpy.random import Generator

from capsule_inspection.data.cached_rows import CachedArray
from capsule_inspection.data.long_lists import list_first
from capsule_inspection.types import DataError

NSA = "nsa"
"""Type of a patch of another good image; the other types are `synthetic.defects.DEFECT_TYPES`."""

_SMALL_JOB = 200
"""With fewer defects, starting processes takes longer than rendering."""
_MAX_NAMES = 5


@dataclass(frozen=True)
class SynthesisConfig:
    """Number of defect variants for each image, fraction of them NSA patches, and the seed."""

    variants: int
    nsa_fraction: float
    seed: int


@dataclass(frozen=True)
class GoodImages:
    """Decoded images of a data set, and which of them get defects.

    Shapes: images (N, H, W, 3) uint8 RGB; foregrounds (N, H, W), nonzero on the part; roi_found
    (N,) bool, false where no part was found and the foreground does not count. `rows`, sorted, get
    defects; `sources`, sorted, are training images from which NSA patches are taken, so that no
    pixel of a validation image is trained on. `names` (N,) are for messages.
    """

    images: np.ndarray | CachedArray
    foregrounds: np.ndarray | CachedArray
    roi_found: np.ndarray
    rows: list[int]
    sources: list[int]
    names: Sequence[str]

    def part_of(self, row: int) -> np.ndarray:
        """True on the part, bool (H, W); nowhere on an image on which none was found."""
        part: np.ndarray = (self.foregrounds[row] != 0) & self.roi_found[row]
        return part

    def has_part(self, row: int) -> bool:
        """Whether a part was found."""
        return bool(self.part_of(row).any())

    def list_names(self, rows: Sequence[int]) -> str:
        """The names of the first few rows, for messages."""
        return list_first([self.names[row] for row in rows], _MAX_NAMES)


@dataclass(frozen=True)
class _Job:
    """One image; for each variant its defect type, and image and foreground of an NSA source."""

    image: np.ndarray
    foreground: np.ndarray
    defect_types: list[str]
    sources: list[tuple[np.ndarray, np.ndarray] | None]
    seed: int
    digest: int


@dataclass(frozen=True)
class Patch:
    """The changed rectangle of one variant; pixels uint8 (h, w, 4): red, green, blue, mask."""

    defect_type: str
    y0: int
    x0: int
    pixels: np.ndarray


def render_patches(
    good: GoodImages, config: SynthesisConfig, *, workers: int
) -> Iterator[list[Patch]]:
    """The patches of each row, in order, from processes where that is worth starting them."""
    jobs = _make_jobs(good, config)
    if workers <= 1 or len(good.rows) * config.variants < _SMALL_JOB:
        yield from map(_render_job, jobs)
        return
    with ProcessPoolExecutor(
        min(workers, len(good.rows)), mp_context=get_context("spawn"), initializer=_use_one_thread
    ) as pool:
        yield from pool.map(_render_job, jobs)


def _make_jobs(good: GoodImages, config: SynthesisConfig) -> Iterator[_Job]:
    """A job for each row. Sources are drawn in the order of their digests, not of their rows."""
    sources = sorted((_digest(good, row), row) for row in good.sources if good.has_part(row))
    for row in good.rows:
        digest = _digest(good, row)
        rng = np.random.default_rng([config.seed, 0, digest])
        defect_types = _choose_types(config, rng) if good.has_part(row) else []
        pairs: list[tuple[np.ndarray, np.ndarray] | None] = []
        for defect_type in defect_types:
            source = _choose_source(sources, (digest, row), rng)
            pair = (good.images[source], good.foregrounds[source])
            pairs.append(pair if defect_type == NSA else None)
        image, foreground = good.images[row], good.foregrounds[row]
        yield _Job(image, foreground, defect_types, pairs, config.seed, digest)


def _digest(good: GoodImages, row: int) -> int:
    return int.from_bytes(hashlib.sha256(good.images[row].tobytes()).digest(), "big")


def _choose_types(config: SynthesisConfig, rng: Generator) -> list[str]:
    """Types of an image's variants: NSA by its fraction, the others in turn."""
    # Here, so that a warm start imports no OpenCV.
    from capsule_inspection.synthetic.defects import DEFECT_TYPES

    num_nsa = min(int(config.variants * config.nsa_fraction + rng.random()), config.variants)
    first = int(rng.integers(len(DEFECT_TYPES)))
    others = [
        DEFECT_TYPES[(first + n) % len(DEFECT_TYPES)] for n in range(config.variants - num_nsa)
    ]
    return [NSA] * num_nsa + others


def _choose_source(sources: list[tuple[int, int]], own: tuple[int, int], rng: Generator) -> int:
    """Row of another image than the own one; the own one where it is alone."""
    if not sources:
        return own[1]
    choice = int(rng.integers(len(sources)))
    if sources[choice][0] == own[0]:
        choice = (choice + 1) % len(sources)
    return sources[choice][1]


def _use_one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _render_job(job: _Job) -> list[Patch]:
    patches = []
    for number in range(len(job.defect_types)):
        rng = np.random.default_rng([job.seed, number + 1, job.digest])
        try:
            patches.append(_render(job, number, rng))
        except DataError:  # nothing visible: the image has one variant less
            continue
    return patches


def _render(job: _Job, number: int, rng: Generator) -> Patch:
    import cv2

    from capsule_inspection.synthetic.defects import render_defect
    from capsule_inspection.synthetic.nsa import render_nsa_patch

    defect_type, source = job.defect_types[number], job.sources[number]
    if source is not None:
        defect = render_nsa_patch(job.image, job.foreground, *source, rng)
    else:
        defect = render_defect(job.image, job.foreground, defect_type, rng)
    x0, y0, width, height = cv2.boundingRect(defect.mask)
    pixels = np.dstack([defect.image, defect.mask])[y0 : y0 + height, x0 : x0 + width]
    return Patch(defect_type, y0, x0, pixels)
