"""The image cache: every image preprocessed once, in one memory-mapped file.

The file is a .npy array of the pixels of all rows, then a table with their boxes, measures and
CRC-32, then the CRC-32 of the table. Its name is a hash of all that decides its bytes; it is
written under another name and renamed when whole. Preprocessing is in preprocessing.py;
augmentation and normalisation happen on the batch.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capsule_inspection.data.cache_folder import (
    CHECKSUM_BYTES,
    named_checksum,
    report_write_errors,
)
from capsule_inspection.data.cached_rows import CachedArray, CheckedRows
from capsule_inspection.data.preprocessing import PreprocessConfig, crop_image
from capsule_inspection.data.sample_reader import DecodedSample
from capsule_inspection.files import durable_rename
from capsule_inspection.types import IGNORE_INDEX, DataError, DataIndex

log = logging.getLogger(__name__)

CACHE_VERSION = 6
"""Raise it whenever the same files and settings would give other pixels."""
_MEASURES = ("defect_inside", "defect_on_part", "defect_thickness", "ignored_fraction")
_FACTS = np.dtype(
    [
        ("box", "<f4", (4,)),
        ("content_box", "<i4", (4,)),
        *((name, "<f4") for name in _MEASURES),
        ("roi_found", "?"),
        ("crc32", "<u4"),
    ]
)


@dataclass(frozen=True, eq=False)
class ImageCache:
    """Read-only views of the cache; row i is row i of the data index.

    Images, masks and foregrounds are mapped, and checked when they are first used (`rows`); the
    others are in memory.
    Shapes: images (N, H, W, 3) uint8 RGB; masks (N, H, W) uint8, 0, a class index (the image's
    label, or several classes where its mask has them) or `IGNORE_INDEX`; boxes (N, 4) float32, x0,
    y0, x1, y1 of the crop in source pixels, may reach beyond the image; content_boxes (N, 4) int32,
    the area of the target that is not padding (the image's border, repeated); roi_found (N,) bool,
    false where roi=auto found no part and took the whole image; foregrounds (N, H, W) uint8, 1 on
    the part, or everywhere on the image where none is found.
    (N,) float32 each: what the crop does to defects, see `crop.DefectCrop`, NaN without a mask of
    one; ignored_fraction, of the pixels of the target.
    """

    path: Path
    rows: CheckedRows
    images: CachedArray
    masks: CachedArray
    foregrounds: CachedArray
    boxes: np.ndarray
    content_boxes: np.ndarray
    roi_found: np.ndarray
    defect_inside: np.ndarray
    defect_on_part: np.ndarray
    defect_thickness: np.ndarray
    ignored_fraction: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def valid(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """False on padding, bool (n, H, W)."""
        x0, y0, x1, y1 = self.content_boxes[np.asarray(indices)].T[:, :, None]
        height, width = self.images.shape[1:3]
        rows, columns = np.arange(height), np.arange(width)
        vertical, horizontal = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
        return vertical[:, :, None] & horizontal[:, None, :]

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs of an inference model: image (n, H, W, 3), foreground, valid (n, H, W) uint8."""
        return {
            "image": self.images[indices],
            "foreground": self.foregrounds[indices],
            "valid": self.valid(indices).astype(np.uint8),
        }


def find_cache(
    index: DataIndex,
    *,
    folder: Path,
    config: PreprocessConfig,
    decode: Callable[[int], DecodedSample],
) -> ImageCache | None:
    """The cache of these images and settings; None where there is none, or a damaged one.

    `decode` reads the image of a row that is found damaged later, or raises BadFileError.
    """
    path, dtype = _cache_path(index, folder, config), _row_type(config)
    try:
        facts = _read_facts(path, dtype, len(index))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        log.warning("%s: the cache is damaged (%s); it is built again.", path, error)
        return None
    rows = CheckedRows(
        path,
        offset=len(_header(dtype, len(index))),
        dtype=dtype,
        checksums=facts["crc32"],
        names=[sample.path for sample in index.samples],
        rebuild=lambda row: _encode(decode(row), config)[0],
    )
    return ImageCache(
        path,
        rows,
        images=CachedArray(rows, "image"),
        masks=CachedArray(rows, "mask"),
        foregrounds=CachedArray(rows, "foreground"),
        boxes=facts["box"],
        content_boxes=facts["content_box"],
        roi_found=facts["roi_found"],
        **{name: facts[name] for name in _MEASURES},
    )


def _read_facts(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    """The table at the end of the file, (N,) of `_FACTS`. Raises ValueError for a damaged file."""
    header, size_bytes = _header(dtype, count), count * _FACTS.itemsize + CHECKSUM_BYTES
    with path.open("rb") as file:
        expected = len(header) + count * dtype.itemsize + size_bytes
        if (found := os.fstat(file.fileno()).st_size) != expected:
            raise ValueError(f"expected {expected} bytes, found {found}")
        if file.read(len(header)) != header:
            raise ValueError("another header")
        file.seek(-size_bytes, os.SEEK_END)
        table, checksum = file.read(size_bytes - CHECKSUM_BYTES), file.read()
    if named_checksum(path, table) != checksum:
        raise ValueError("another checksum of its table")
    return np.frombuffer(table, _FACTS)


class CacheWriter:
    """Writes a cache; several threads add its rows, in any order.

    A context manager: the unfinished file is removed at the end. One writer at a time may use a
    `folder` and `name`; see `hold_lock`.
    """

    def __init__(self, folder: Path, name: str, *, config: PreprocessConfig, count: int) -> None:
        """Reserve `count` rows. Raises DataError where the disk is too full."""
        self.folder, self.config, self.count = folder, config, count
        self.dtype = _row_type(config)
        self._start = len(_header(self.dtype, count))
        self._facts = np.zeros(count, _FACTS)
        self.partial = folder / f"{name}.partial"
        self._lock = threading.Lock()
        with report_write_errors(self.partial):
            folder.mkdir(parents=True, exist_ok=True)
            self.partial.unlink(missing_ok=True)  # of a killed process
            self._check_space()
            self._file = self.partial.open("w+b")

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.partial.unlink(missing_ok=True)

    def add(self, decoded: DecodedSample) -> None:
        """Preprocess an image and its mask."""
        content, self._facts[decoded.row] = _encode(decoded, self.config)
        self._write(decoded.row, content)

    def finish(self, index: DataIndex, rows: Sequence[int]) -> None:
        """Keep these rows, in ascending order, as the cache of an index."""
        path, table = _cache_path(index, self.folder, self.config), self._facts[rows].tobytes()
        with report_write_errors(path):
            for new, row in enumerate(rows):
                if new != row:
                    self._write(new, self._read(row))
            self._file.seek(0)
            self._file.write(_header(self.dtype, len(rows)))
            self._file.seek(self._offset(len(rows)))
            self._file.write(table + named_checksum(path, table))
            self._file.truncate()
            self._file.close()
            durable_rename(self.partial, path)

    def _check_space(self) -> None:
        size_bytes = self._offset(self.count) + self._facts.nbytes
        free_bytes = shutil.disk_usage(self.folder).free
        if free_bytes < size_bytes:
            raise DataError(
                f"{self.folder}: the cache needs {size_bytes / 1e9:.2f} GB, "
                f"{free_bytes / 1e9:.2f} GB are free. Make room, choose another folder with "
                "data.cache_folder, or a smaller data.image_size."
            )

    def _offset(self, row: int) -> int:
        return self._start + row * self.dtype.itemsize

    def _write(self, row: int, content: bytes) -> None:
        """Through the file, not through a map: a full disk is an error, not a signal."""
        with self._lock, report_write_errors(self.partial):
            self._file.seek(self._offset(row))
            self._file.write(content)

    def _read(self, row: int) -> bytes:
        self._file.seek(self._offset(row))
        return self._file.read(self.dtype.itemsize)


def _encode(decoded: DecodedSample, config: PreprocessConfig) -> tuple[bytes, np.ndarray]:
    """The bytes of a row, and what `_FACTS` has of it."""
    # Here, so that a warm start does not import OpenCV.
    from capsule_inspection.data.crop import crop_classes, measure_defect

    prepared = crop_image(decoded.image, decoded.foreground, config)
    pixels, facts = np.zeros((), _row_type(config)), np.zeros((), _FACTS)
    pixels["image"], pixels["foreground"] = prepared.image, prepared.foreground
    facts["box"], facts["content_box"] = prepared.box, prepared.content_box
    facts["roi_found"] = prepared.roi_found
    for name in _MEASURES:
        facts[name] = np.nan
    facts["ignored_fraction"] = 0
    if decoded.mask is not None:
        box, image_size = prepared.box, config.image_size
        pixels["mask"] = crop_classes(decoded.mask, box=box, image_size=image_size)
        facts["ignored_fraction"] = (pixels["mask"] == IGNORE_INDEX).mean()
        measured = measure_defect(decoded.mask, decoded.foreground, box=box, image_size=image_size)
        for name, value in measured._asdict().items():
            facts[f"defect_{name}"] = value
    content = pixels.tobytes()
    facts["crc32"] = zlib.crc32(content)
    return content, facts


def _row_type(config: PreprocessConfig) -> np.dtype:
    height, width = config.image_size
    return np.dtype(
        [
            ("image", "u1", (height, width, 3)),
            ("mask", "u1", (height, width)),
            ("foreground", "u1", (height, width)),
        ]
    )


def _header(dtype: np.dtype, count: int) -> bytes:
    """As of a .npy file, so that other programs can read it; its length is that of any count."""
    stream = io.BytesIO()
    values = {"descr": dtype.descr, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_2_0(stream, values)
    return stream.getvalue()


def _cache_path(index: DataIndex, folder: Path, config: PreprocessConfig) -> Path:
    """Named by the SHA-256 of all that decides the cache's bytes."""
    content = {
        "version": CACHE_VERSION,
        "num_classes": len(index.classes),
        "config": [config.roi, config.margin, config.image_size, config.enlarge],
        "decoding": index.decoding,
        "images": [[sample.sha256, sample.label, sample.mask_sha256] for sample in index.samples],
    }
    return folder / f"{hashlib.sha256(json.dumps(content).encode()).hexdigest()}.npy"
