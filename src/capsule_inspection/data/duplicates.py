"""Near-duplicates: one image saved again, shifted by some pixels or resized.

The nearest neighbours of each thumbnail are proposed, and compared pixel by pixel in
similarity.py. Nothing is chained: each image of a group resembles the group's first one itself.
The groups are stored in a file, and used by splits.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from capsule_inspection.data.cache_folder import read_value, report_write_errors, write_value
from capsule_inspection.data.long_lists import numbered
from capsule_inspection.data.parallel import in_order
from capsule_inspection.data.progress import Progress
from capsule_inspection.data.sample_reader import DecodedSample
from capsule_inspection.data.validation import find_root
from capsule_inspection.types import DataError, DataIndex

log = logging.getLogger(__name__)

DUPLICATES_VERSION = 1
"""Raise it whenever the same thumbnails would give other groups."""

_NEIGHBOURS = 3
_NEAR = 0.97
_NEAR_FRACTION = 0.36
"""A pair is proposed at this similarity, or where its distance is this fraction of the usual one:
a shifted texture without a part to align it is less similar than two capsules in one scene."""
_BLOCK_VALUES = 2**21
_SAMPLE = 4096
_COMPONENTS = 96
_LARGEST_FRACTION = 0.01
_SHOWN = 10

Group = tuple[int, ...]
"""Rows of the data index, of distinct content; the first is the one all others resemble."""


def find_groups(index: DataIndex, *, folder: Path) -> list[Group] | None:
    """The stored groups of near-duplicates; None where none are stored, or they are damaged."""
    groups = read_value(_groups_path(index, folder))
    return None if groups is None else [tuple(group) for group in groups]


class ThumbnailWriter:
    """Thumbnails of all images, in a temporary file, so that memory does not grow.

    A context manager and a `sample_reader.Consumer`.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self._lock = threading.Lock()
        with report_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed in __exit__)

    def __enter__(self) -> ThumbnailWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, decoded: DecodedSample) -> None:
        """Keep the thumbnail of an image."""
        from capsule_inspection.data.similarity import make_thumbnail

        thumbnail = make_thumbnail(decoded.image, decoded.foreground)
        with self._lock, report_write_errors(self.folder):
            self._file.seek(decoded.row * thumbnail.nbytes)
            self._file.write(thumbnail.tobytes())

    def finish(
        self, index: DataIndex, rows: Sequence[int], *, workers: int, progress: Progress | None
    ) -> list[Group]:
        """Find and store the groups of near-duplicates among these rows, of two images or more.

        Of equal files one is compared. `progress` counts the compared pairs.
        """
        from capsule_inspection.data.similarity import THUMBNAIL_SIZE

        distinct = _distinct(index)
        groups: list[Group] = []
        if len(distinct) > 1:
            shape = (self.count, *THUMBNAIL_SIZE)
            with report_write_errors(self.folder):
                self._file.truncate(math.prod(shape))  # the last ones may be bad files
            thumbnails = np.memmap(self._file, np.uint8, mode="r", shape=shape)
            chosen = [rows[number] for number in distinct]
            found = _search(thumbnails, chosen, workers=workers, progress=progress)
            groups = [tuple(distinct[number] for number in star) for star in found]
        _store(_groups_path(index, self.folder), groups)
        return groups


def group_near_duplicates(index: DataIndex, groups: list[Group], *, mode: str) -> DataIndex:
    """The index with near-duplicates in one group (mode group), or only logged (report).

    Groups that the index has already stay whole. Raises DataError where a group holds more than
    1% of the images: then the images are too alike for this comparison.
    """
    if mode == "off":
        return index
    _report(index, groups, mode)
    if mode == "report":
        return index
    _check_sizes(index, groups)
    return _join(index, groups)


def _distinct(index: DataIndex) -> list[int]:
    """First row of each content, in the order of the hashes."""
    first: dict[str, int] = {}
    for row, sample in enumerate(index.samples):
        first.setdefault(sample.sha256, row)
    return [first[sha256] for sha256 in sorted(first)]


def _search(
    thumbnails: np.ndarray, rows: Sequence[int], *, workers: int, progress: Progress | None
) -> list[Group]:
    """Compare the likely pairs, and group those that are copies; numbers are places in `rows`."""
    from capsule_inspection.data.similarity import DESCRIPTOR_LENGTH, describe, is_copy

    descriptors = np.empty((len(rows), DESCRIPTOR_LENGTH), np.float16)
    vectors = in_order(lambda row: describe(thumbnails[row]), rows, workers=workers)
    for number, vector in enumerate(vectors):
        descriptors[number] = vector

    def compare(pair: Sequence[int]) -> bool:
        return is_copy(thumbnails[rows[pair[0]]], thumbnails[rows[pair[1]]])

    pairs = _propose(descriptors)
    copies = []
    for number, copy in enumerate(in_order(compare, pairs, workers=workers)):
        if copy:
            copies.append((int(pairs[number, 0]), int(pairs[number, 1])))
        if progress:
            progress(number + 1, len(pairs))
    return _stars(copies, compare)


def _propose(descriptors: np.ndarray) -> np.ndarray:
    """Pairs of each image and its nearest neighbours, where they are near.

    Shapes: descriptors (N, D) float16; returns (M, 2) int32, sorted, each pair once. Compares
    all with all in blocks of one size: its time grows with the square of N (30,000 images take
    some seconds), its memory does not.
    """
    left, right = _factors(_project(descriptors))
    count = len(left)
    # The mean over all others: the similarity of an image to itself is 1.
    usual = (left @ right.mean(axis=0) * count - 1) / max(count - 1, 1)
    threshold = np.minimum(_NEAR, 1 - _NEAR_FRACTION * (1 - usual))
    pairs = [np.empty((0, 2), np.int32)]
    step = max(1, _BLOCK_VALUES // max(count, 1))
    for start in range(0, count, step):
        images = np.arange(start, min(start + step, count))
        similarity = left[images] @ right.T
        similarity[images - start, images] = -1
        some = np.flatnonzero((similarity >= threshold[images, None]).any(axis=1))
        pairs.append(_nearest(similarity[some], images[some], threshold[images[some]]))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _project(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors on their 96 principal axes, float32, where there are many: five times smaller.

    Distances only shrink, so no near pair is lost.
    """
    if len(descriptors) <= _SAMPLE:
        return descriptors.astype(np.float32)
    sample = descriptors[:: max(1, len(descriptors) // _SAMPLE)].astype(np.float32)
    centre = sample.mean(axis=0)
    _, axes = np.linalg.eigh((sample - centre).T @ (sample - centre))
    axes = axes[:, -_COMPONENTS:]
    projected = np.empty((len(descriptors), axes.shape[1]), np.float32)
    for start in range(0, len(descriptors), _SAMPLE):
        block = descriptors[start : start + _SAMPLE].astype(np.float32)
        projected[start : start + _SAMPLE] = (block - centre) @ axes
    return projected


def _factors(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors (N, D + 2) whose product left @ right.T is 1 minus half the squared distances."""
    half = 0.5 * (points**2).sum(axis=1, keepdims=True)
    ones = np.ones_like(half)
    return np.hstack([points, 1 - half, ones]), np.hstack([points, ones, -half])


def _nearest(similarity: np.ndarray, images: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Pairs of `images` with the columns most like them, (m, 2) int32.

    Shapes: similarity (n, N); images and threshold (n,).
    """
    number = min(_NEIGHBOURS, similarity.shape[1])
    columns = np.argpartition(similarity, -number, axis=1)[:, -number:]
    near = np.take_along_axis(similarity, columns, axis=1) >= threshold[:, None]
    pairs = np.stack([np.broadcast_to(images[:, None], columns.shape), columns], axis=-1)
    return pairs[near].astype(np.int32)


def _stars(copies: list[tuple[int, int]], is_copy: Callable[[Sequence[int]], bool]) -> list[Group]:
    """Groups around the images with most copies; each member is a copy of the first itself."""
    linked: dict[int, list[int]] = {}
    for first, second in copies:
        linked.setdefault(first, []).append(second)
        linked.setdefault(second, []).append(first)
    groups, free = [], set(linked)
    for seed in sorted(linked, key=lambda image: (-len(linked[image]), image)):
        if seed in free:
            members = _star(seed, linked, free, is_copy)
            free -= {seed, *members}
            groups += [(seed, *members)] if members else []
    return groups


def _star(
    seed: int,
    linked: dict[int, list[int]],
    free: set[int],
    is_copy: Callable[[Sequence[int]], bool],
) -> list[int]:
    """Free images that are copies of the seed.

    Copies of its copies are compared too: there may be more than neighbours were proposed.
    """
    members, visited, queue = [], {seed}, deque(linked[seed])
    while queue:
        image = queue.popleft()
        if image in visited:
            continue
        visited.add(image)
        if image in free and is_copy((min(seed, image), max(seed, image))):
            members.append(image)
            queue.extend(linked[image])
    return sorted(members)


def _groups_path(index: DataIndex, folder: Path) -> Path:
    content = [DUPLICATES_VERSION, *index.decoding, *(sample.sha256 for sample in index.samples)]
    return folder / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()}.json"


def _store(path: Path, groups: list[Group]) -> None:
    try:
        write_value(path, groups)
    except OSError as error:
        log.warning("%s: cannot be written (%s); the next run searches again.", path, error)


def _report(index: DataIndex, groups: list[Group], mode: str) -> None:
    if not groups:
        log.info("No near-duplicates among %d images, besides exact copies.", len(index))
        return
    shown = "; ".join(_name(index, group) for group in groups[:_SHOWN])
    remedy = "They stay in one split, unless you set data.near_duplicates=off."
    if mode == "report":
        remedy = "data.near_duplicates=group keeps each in one split."
    log.warning("%s of near-duplicates: %s. %s", numbered(len(groups), "group"), shown, remedy)


def _name(index: DataIndex, group: Group) -> str:
    names = ", ".join(index.samples[row].path for row in group[:_SHOWN])
    labels = {index.samples[row].label for row in group}
    return names + (" (of different classes)" if len(labels) > 1 else "")


def _check_sizes(index: DataIndex, groups: list[Group]) -> None:
    limit = max(2, math.ceil(_LARGEST_FRACTION * len(index)))
    largest = max(groups, key=len, default=())
    if len(largest) > limit:
        raise DataError(
            f"data.near_duplicates=group: {len(largest)} of {len(index)} images look like copies "
            f"of one ({_name(index, largest)}); more than {limit} (1%) are not believed. Look at "
            "them; remove copies, or set data.near_duplicates=report or off."
        )


def _join(index: DataIndex, groups: list[Group]) -> DataIndex:
    """Join the groups that near-duplicates belong to."""
    parents: dict[str, str] = {}
    for group in groups:
        names = sorted({find_root(parents, index.samples[row].group) for row in group})
        parents.update(dict.fromkeys(names[1:], names[0]))
    samples = (replace(row, group=find_root(parents, row.group)) for row in index.samples)
    return replace(index, samples=tuple(samples))
