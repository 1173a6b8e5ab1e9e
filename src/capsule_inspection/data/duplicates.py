"""Near-duplicates: one photograph saved again, shifted by some pixels or resized.

Each image's nearest neighbours in the standard view of comparison.py are proposed, and compared
there pixel by pixel. Nothing is chained: each image of a group resembles the group's first one
itself. The groups are kept in a file, and used by splits.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from capsule_inspection.data.cache import Progress, in_order, locked, reporting
from capsule_inspection.types import ConfigurationError, DataError, DataIndex

log = logging.getLogger(__name__)

DUPLICATES_VERSION = 1
"""Raise it whenever the same thumbnails would give other groups."""
MODES = ("off", "report", "group")

_NEIGHBOURS = 3
_NEAR = 0.97
_NEAR_SHARE = 0.36
"""A pair is proposed at this likeness, or where its unlikeness is this share of the usual one: a
shifted texture without a part to align it is less alike than two capsules in one scene."""
_BLOCK_VALUES = 2**21
_SAMPLE = 4096
_COMPONENTS = 96
_LARGEST_SHARE = 0.01
_SHOWN = 10

Group = tuple[int, ...]
"""Rows of the data index, of distinct content; the first is the one all others resemble."""


def group_near_duplicates(
    index: DataIndex,
    *,
    mode: str,
    folder: Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> DataIndex:
    """The index with near-duplicates in one group (mode group), or only named in the log (report).

    Groups that the index has already stay whole. Raises DataError where a group holds more than
    1% of the images: then the photographs are too alike for this comparison.
    """
    if mode not in MODES:
        raise ConfigurationError(f"data.near_duplicates={mode}: expected {', '.join(MODES)}.")
    if mode == "off":
        return index
    groups = find_near_duplicates(index, folder=folder, workers=workers, progress=progress)
    _report(index, groups)
    if mode == "report":
        return index
    _check_sizes(index, groups)
    return _join(index, groups)


def find_near_duplicates(
    index: DataIndex,
    *,
    folder: Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Group]:
    """Groups of near-duplicates, each of two images or more; of equal files one stands for all.

    The result is kept in `folder` and read from there the next time. `progress` hears of images
    that are read, then of pairs that are compared. Raises DataError for images that cannot be
    read and for a full disk.
    """
    path = folder / f"{_key(index)}.json"
    groups = _read(path, count=len(index))
    if groups is not None:
        return groups
    with locked(path):
        groups = _read(path, count=len(index))
        if groups is None:
            groups = _search(index, path, workers=workers, progress=progress)
            _write(path, groups)
    return groups


def _distinct(index: DataIndex) -> list[int]:
    """First row of each content, in the order of the hashes."""
    first: dict[str, int] = {}
    for row, record in enumerate(index.records):
        first.setdefault(record.sha256, row)
    return [first[sha256] for sha256 in sorted(first)]


def _search(
    index: DataIndex, path: Path, *, workers: int, progress: Progress | None
) -> list[Group]:
    """Make all views, compare the likely pairs, and group those that are copies.

    The views lie in a file that is gone afterwards, so memory does not grow with them.
    """
    from capsule_inspection.data.comparison import THUMBNAIL_SIZE, is_copy

    rows = _distinct(index)
    if len(rows) < 2:
        return []
    show = progress or (lambda done, total: None)
    with reporting(path), tempfile.TemporaryFile(dir=path.parent) as file:
        descriptions = _write_views(file, index, rows, workers=workers, progress=show)
        views = np.memmap(file, np.uint8, mode="r", shape=(len(rows), *THUMBNAIL_SIZE))

        def compare(pair: Sequence[int]) -> bool:
            return is_copy(views[pair[0]], views[pair[1]])

        pairs = _propose(descriptions)
        copies = []
        for number, copy in enumerate(in_order(compare, pairs, workers=workers)):
            if copy:
                copies.append((int(pairs[number, 0]), int(pairs[number, 1])))
            show(len(rows) + number + 1, len(rows) + len(pairs))
        stars = _stars(copies, compare)
    return [tuple(rows[number] for number in star) for star in stars]


def _write_views(
    file: BinaryIO, index: DataIndex, rows: list[int], *, workers: int, progress: Progress
) -> np.ndarray:
    """Write the standard view of each row; returns the descriptions, (N, 512) float16."""
    from capsule_inspection.data.comparison import DESCRIPTION_LENGTH, describe, make_thumbnail
    from capsule_inspection.data.reading import read_image
    from capsule_inspection.data.roi import find_foreground

    def view(row: int) -> np.ndarray:
        record = index.records[row]
        path = index.path_of(record.path)
        image = read_image(path, max_pixels=record.width * record.height)
        return make_thumbnail(image, find_foreground(image))

    descriptions = np.empty((len(rows), DESCRIPTION_LENGTH), np.float16)
    for number, thumbnail in enumerate(in_order(view, rows, workers=workers)):
        file.write(thumbnail.tobytes())
        descriptions[number] = describe(thumbnail)
        progress(number + 1, len(rows))
    file.flush()
    return descriptions


def _propose(descriptions: np.ndarray) -> np.ndarray:
    """Pairs of each image and its nearest neighbours, where they are near.

    Shapes: descriptions (N, D) float16; returns (M, 2) int32, sorted, each pair once. Compares
    all with all in blocks of one size: its time grows with the square of N (30,000 images take
    some seconds), its memory does not.
    """
    left, right = _factors(_project(descriptions))
    count = len(left)
    # The mean over all others: an image's likeness to itself is 1.
    usual = (left @ right.mean(axis=0) * count - 1) / max(count - 1, 1)
    wanted = np.minimum(_NEAR, 1 - _NEAR_SHARE * (1 - usual))
    pairs = [np.empty((0, 2), np.int32)]
    step = max(1, _BLOCK_VALUES // max(count, 1))
    for start in range(0, count, step):
        images = np.arange(start, min(start + step, count))
        likeness = left[images] @ right.T
        likeness[images - start, images] = -1
        some = np.flatnonzero((likeness >= wanted[images, None]).any(axis=1))
        pairs.append(_nearest(likeness[some], images[some], wanted[images[some]]))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _project(descriptions: np.ndarray) -> np.ndarray:
    """Descriptions on their 96 principal axes, float32: five times less to compare, where many.

    Distances can only shrink by it, so nothing near is lost.
    """
    if len(descriptions) <= _SAMPLE:
        return descriptions.astype(np.float32)
    sample = descriptions[:: max(1, len(descriptions) // _SAMPLE)].astype(np.float32)
    centre = sample.mean(axis=0)
    _, axes = np.linalg.eigh((sample - centre).T @ (sample - centre))
    axes = axes[:, -_COMPONENTS:]
    projected = np.empty((len(descriptions), axes.shape[1]), np.float32)
    for start in range(0, len(descriptions), _SAMPLE):
        block = descriptions[start : start + _SAMPLE].astype(np.float32)
        projected[start : start + _SAMPLE] = (block - centre) @ axes
    return projected


def _factors(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors (N, D + 2) whose product left @ right.T is 1 minus half the squared distances."""
    half = 0.5 * (points**2).sum(axis=1, keepdims=True)
    ones = np.ones_like(half)
    return np.hstack([points, 1 - half, ones]), np.hstack([points, ones, -half])


def _nearest(likeness: np.ndarray, images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Pairs of `images` with the columns most like them, (m, 2) int32.

    Shapes: likeness (n, N); images and wanted (n,).
    """
    number = min(_NEIGHBOURS, likeness.shape[1])
    columns = np.argpartition(likeness, -number, axis=1)[:, -number:]
    near = np.take_along_axis(likeness, columns, axis=1) >= wanted[:, None]
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

    Copies of its copies are asked too: there may be more than neighbours were proposed.
    """
    members, seen, queue = [], {seed}, deque(linked[seed])
    while queue:
        image = queue.popleft()
        if image in seen:
            continue
        seen.add(image)
        if image in free and is_copy((min(seed, image), max(seed, image))):
            members.append(image)
            queue.extend(linked[image])
    return sorted(members)


def _key(index: DataIndex) -> str:
    content = [DUPLICATES_VERSION, *(record.sha256 for record in index.records)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _read(path: Path, *, count: int) -> list[Group] | None:
    """Groups found before; None where there are none to be had."""
    try:
        groups = [tuple(group) for group in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: cannot be read (%s); near-duplicates are looked for again.", path, error)
        return None
    rows = [row for group in groups for row in group]
    return groups if all(isinstance(row, int) and 0 <= row < count for row in rows) else None


def _write(path: Path, groups: list[Group]) -> None:
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(json.dumps(groups), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        log.warning("%s: cannot be written (%s); the next run searches again.", path, error)


def _report(index: DataIndex, groups: list[Group]) -> None:
    if not groups:
        log.info("no near-duplicates among %d images.", len(index))
        return
    shown = "; ".join(_name(index, group) for group in groups[:_SHOWN])
    log.warning("%d groups of near-duplicates: %s", len(groups), shown)


def _name(index: DataIndex, group: Group) -> str:
    names = ", ".join(index.records[row].path for row in group[:_SHOWN])
    labels = {index.records[row].label for row in group}
    return names + (" (of different classes)" if len(labels) > 1 else "")


def _check_sizes(index: DataIndex, groups: list[Group]) -> None:
    limit = max(2, math.ceil(_LARGEST_SHARE * len(index)))
    largest = max(groups, key=len, default=())
    if len(largest) > limit:
        raise DataError(
            f"data.near_duplicates=group: {len(largest)} of {len(index)} images look like copies "
            f"of one ({_name(index, largest)}); more than {limit} (1%) are not believed. Look at "
            "them; remove copies, or set data.near_duplicates=report or off."
        )


def _join(index: DataIndex, groups: list[Group]) -> DataIndex:
    """New group names: the groups that near-duplicates belong to become one, with all in them."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for group in groups:
        names = sorted({root(index.records[row].group) for row in group})
        parent.update(dict.fromkeys(names[1:], names[0]))
    records = tuple(replace(record, group=root(record.group)) for record in index.records)
    return replace(index, records=records)
