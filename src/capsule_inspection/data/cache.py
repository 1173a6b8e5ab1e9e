"""The decoded cache: every image cut out, resized and decoded once, in one memory-mapped file.

The file is a .npy array of records, named by what went into it, written under another name and
renamed when whole. What is cut out, and how, is preparation.py; augmentation and normalisation
happen on the batch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from capsule_inspection.data.preparation import Recipe, prepare
from capsule_inspection.types import DataError, DataIndex, ImageRecord

if TYPE_CHECKING:
    from capsule_inspection.data.roi import Roi

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

CACHE_VERSION = 3
"""Raise it whenever the same files and settings would give other pixels."""

Progress = Callable[[int, int], None]
"""Called with how many images are done and how many there are."""

DEFAULT_MARGIN = 0.05
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class DecodedCache:
    """Read-only views of the cache; row i is row i of the data index.

    Shapes: images (N, H, W, 3) uint8 RGB; masks (N, H, W) uint8, 0 or a class index: the
    image's label, and other classes where its mask names them; boxes (N, 4) float32, x0, y0, x1,
    y1 of what was cut out, in source pixels, may reach beyond the image; inside (N, 4) int32, the
    part of the target that shows the image (the rest is its border, repeated); found (N,) bool,
    false where roi=auto saw no part and took the whole image; foregrounds (N, H, W) uint8, 1 on
    the part, or everywhere on the image where none is seen.
    """

    path: Path
    images: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    inside: np.ndarray
    found: np.ndarray
    foregrounds: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def valid(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """False on padding, bool (n, H, W)."""
        x0, y0, x1, y1 = self.inside[np.asarray(indices)].T[:, :, None]
        height, width = self.images.shape[1:3]
        rows, columns = np.arange(height), np.arange(width)
        vertical, horizontal = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
        return vertical[:, :, None] & horizontal[:, None, :]


def _row_type(recipe: Recipe) -> np.dtype:
    height, width = recipe.image_size
    return np.dtype(
        [
            ("image", "u1", (height, width, 3)),
            ("mask", "u1", (height, width)),
            ("box", "<f4", (4,)),
            ("inside", "<i4", (4,)),
            ("found", "?"),
            ("foreground", "u1", (height, width)),
        ]
    )


def open_cache(
    index: DataIndex,
    *,
    folder: Path,
    roi: Roi,
    image_size: tuple[int, int],
    margin: float = DEFAULT_MARGIN,
    enlarge: bool = True,
    workers: int = 1,
    progress: Progress | None = None,
) -> DecodedCache:
    """Open the cache of these images and settings, and build it first where there is none.

    `image_size` is (height, width); `margin` is the room around a part that roi=auto found, as a
    share of its longer side; without `enlarge` small crops keep their resolution. Runs that want
    the same cache at once wait for the one that builds it. Raises ConfigurationError for a box
    outside of an image, DataError for files that cannot be read (all of them at once) and for a
    full disk.
    """
    recipe = Recipe(_plain(roi), float(margin) if roi == "auto" else 0.0, image_size, enlarge)
    path = folder / f"{_key(index, recipe)}.npy"
    rows = _load(path, count=len(index), dtype=_row_type(recipe))
    if rows is None:
        rows = _build_once(path, index, recipe, workers=workers, progress=progress)
    cache = _views(path, rows)
    _report_missing(cache, index)
    return cache


def _plain(roi: Roi) -> Roi:
    return roi if isinstance(roi, str) else tuple(float(edge) for edge in roi)


def _views(path: Path, rows: np.ndarray) -> DecodedCache:
    return DecodedCache(
        path,
        images=rows["image"],
        masks=rows["mask"],
        boxes=rows["box"],
        inside=rows["inside"],
        found=rows["found"],
        foregrounds=rows["foreground"],
    )


def _key(index: DataIndex, recipe: Recipe) -> str:
    """SHA-256 of all that decides the cache's bytes, in hexadecimal digits."""
    content = {
        "version": CACHE_VERSION,
        "num_classes": len(index.classes),
        "recipe": [recipe.roi, recipe.margin, recipe.image_size, recipe.enlarge],
        "images": [
            [record.sha256, record.label, _mask_identity(index, record)] for record in index.records
        ],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _mask_identity(index: DataIndex, record: ImageRecord) -> list[Any] | None:
    """Hash of the content; path, size and time of change where the index does not know it."""
    if record.mask is None:
        return None
    if record.mask_sha256 is not None:
        return [record.mask_sha256]
    try:
        status = index.path_of(record.mask).stat()
    except OSError as error:
        raise DataError(f"{index.path_of(record.mask)}: mask cannot be read: {error}") from None
    return [record.mask, status.st_size, status.st_mtime_ns]


def _load(path: Path, *, count: int, dtype: np.dtype) -> np.ndarray | None:
    """Map a finished cache; None where there is none, or (with a warning) a damaged one."""
    if not path.exists():
        return None
    try:
        rows = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        log.warning("%s: the cache is damaged (%s); it is built again.", path, error)
        return None
    if rows.dtype != dtype or rows.shape != (count,):
        log.warning("%s: the cache is of another form; it is built again.", path)
        return None
    return rows.view(np.ndarray)


def _build_once(
    path: Path,
    index: DataIndex,
    recipe: Recipe,
    *,
    workers: int,
    progress: Progress | None,
) -> np.ndarray:
    """Build under a lock, unless another run has done so in the meantime."""
    with locked(path):
        rows = _load(path, count=len(index), dtype=_row_type(recipe))
        if rows is None:
            _write(path, index, recipe, workers=workers, progress=progress)
            rows = _load(path, count=len(index), dtype=_row_type(recipe))
    assert rows is not None, f"{path} was written and cannot be read"
    return rows


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is to be written, whose folder is made where it is missing.

    Waits, and says so, while another process holds it. Raises DataError, naming
    data.cache_folder, where the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_suffix(".lock"))
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another run writes %s; waiting for it.", path)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an OSError of a file in the cache's folder into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). "
            "Make room, or choose another folder with data.cache_folder."
        ) from error


def _write(
    path: Path,
    index: DataIndex,
    recipe: Recipe,
    *,
    workers: int,
    progress: Progress | None,
) -> None:
    """Write all rows under a temporary name, and give the file its name when it is whole."""
    _check_space(path, size_bytes=len(index) * _row_type(recipe).itemsize)
    partial = path.with_suffix(".partial")
    try:
        with reporting(path):
            with partial.open("wb") as file:
                _write_rows(file, index, recipe, workers=workers, progress=progress)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_space(path: Path, *, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < size_bytes:
        raise DataError(
            f"{path.parent}: the cache needs {size_bytes / 1e9:.2f} GB, {free_bytes / 1e9:.2f} GB "
            "are free. Make room, choose another folder with data.cache_folder, or a smaller "
            "data.image_size."
        )


def _write_rows(
    file: BinaryIO,
    index: DataIndex,
    recipe: Recipe,
    *,
    workers: int,
    progress: Progress | None,
) -> None:
    """Rows go through the file, not through a map: a full disk is an error, not a signal."""
    header = np.lib.format.dtype_to_descr(_row_type(recipe))
    np.lib.format.write_array_header_2_0(
        file, {"descr": header, "fortran_order": False, "shape": (len(index),)}
    )
    failures = []
    for done, row in enumerate(_rows(index, recipe, workers=workers), start=1):
        if isinstance(row, DataError):
            failures.append(str(row))
        else:
            file.write(row.tobytes())
        if progress is not None:
            progress(done, len(index))
    if failures:
        raise DataError(_name_failures(failures))


def _name_failures(failures: list[str]) -> str:
    more = f"\n... and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
    return (
        f"{len(failures)} of the images cannot be cached:\n"
        + "\n".join(failures[:_SHOWN])
        + more
        + "\nMend or remove them, or leave bad files out with data.on_bad_file=skip and "
        "data.verify=full."
    )


def _rows(index: DataIndex, recipe: Recipe, *, workers: int) -> Iterator[np.ndarray | DataError]:
    """Rows in the index's order; an image that cannot be read gives its error."""

    def decode(record: ImageRecord) -> np.ndarray | DataError:
        try:
            return _decode(index, record, recipe)
        except DataError as error:
            return error

    return in_order(decode, index.records, workers=workers)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Results in the order of the items, from threads, with a few calls under way at a time.

    Pillow, OpenCV and NumPy let go of the interpreter's lock, so threads suffice.
    """
    workers = max(1, workers)
    with ThreadPoolExecutor(workers) as executor:
        pending: deque[Future[Result]] = deque()
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > 4 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _decode(index: DataIndex, record: ImageRecord, recipe: Recipe) -> np.ndarray:
    """One row of the cache, shape () of the recipe's dtype."""
    # Here, so that a warm start imports neither Pillow nor OpenCV.
    from capsule_inspection.data.cropping import cut_out_classes
    from capsule_inspection.data.reading import read_image, read_mask

    path = index.path_of(record.path)
    seen = prepare(read_image(path, max_pixels=record.width * record.height), recipe)
    row = np.zeros((), _row_type(recipe))
    row["image"], row["inside"], row["foreground"] = seen.image, seen.inside, seen.foreground
    row["box"], row["found"] = seen.box, seen.found
    if record.mask is not None:
        mask = read_mask(
            index.path_of(record.mask),
            expected_size=seen.size,
            label=record.label,
            num_classes=len(index.classes),
        )
        row["mask"] = cut_out_classes(mask, box=seen.box, image_size=recipe.image_size)
    return row


def _report_missing(cache: DecodedCache, index: DataIndex) -> None:
    missing = np.flatnonzero(~cache.found)
    if len(missing):
        log.warning(
            "data.roi=auto: no single part on a plain background in %d of %d images "
            "(the first is %s); the whole image is used for these.",
            len(missing),
            len(index),
            index.records[missing[0]].path,
        )
