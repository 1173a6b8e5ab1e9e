"""The image cache: every image preprocessed once, in one memory-mapped file.

The file is a .npy array of records, named by the hash of all that decides its bytes, written under
another name and renamed when whole. Preprocessing is in preprocessing.py; augmentation and
normalisation happen on the batch.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capsule_inspection.data.cache_folder import report_write_errors
from capsule_inspection.data.preprocessing import PreprocessConfig, crop_image
from capsule_inspection.data.sample_reader import DecodedSample
from capsule_inspection.types import IGNORE_INDEX, DataError, DataIndex

log = logging.getLogger(__name__)

CACHE_VERSION = 5
"""Raise it whenever the same files and settings would give other pixels."""
_MEASURES = ("defect_inside", "defect_on_part", "defect_thickness", "ignored_fraction")


@dataclass(frozen=True, eq=False)
class ImageCache:
    """Read-only views of the cache; row i is row i of the data index.

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
    images: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    content_boxes: np.ndarray
    roi_found: np.ndarray
    foregrounds: np.ndarray
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


def find_cache(index: DataIndex, *, folder: Path, config: PreprocessConfig) -> ImageCache | None:
    """The cache of these images and settings; None where there is none, or a damaged one."""
    path = _cache_path(index, folder, config)
    if not path.exists():
        return None
    try:
        rows = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        log.warning("%s: the cache is damaged (%s); it is built again.", path, error)
        return None
    if rows.dtype != _row_type(config) or rows.shape != (len(index),):
        log.warning("%s: the cache is of another form; it is built again.", path)
        return None
    rows = rows.view(np.ndarray)
    return ImageCache(
        path,
        images=rows["image"],
        masks=rows["mask"],
        boxes=rows["box"],
        content_boxes=rows["content_box"],
        roi_found=rows["roi_found"],
        foregrounds=rows["foreground"],
        **{name: rows[name] for name in _MEASURES},
    )


class CacheWriter:
    """Writes a cache; several threads add its rows, in any order.

    A context manager: the unfinished file is removed at the end. One writer at a time may use a
    `folder` and `name`; see `hold_lock`.
    """

    def __init__(self, folder: Path, name: str, *, config: PreprocessConfig, count: int) -> None:
        """Reserve `count` rows. Raises DataError where the disk is too full."""
        self.folder, self.config, self.count = folder, config, count
        self.dtype = _row_type(config)
        # NumPy pads the header, so its length does not depend on the number of rows.
        self._start = len(_header(self.dtype, count))
        self.partial = folder / f"{name}.partial"
        self._lock = threading.Lock()
        with report_write_errors(self.partial):
            folder.mkdir(parents=True, exist_ok=True)
            self._check_space()
            self._file = self.partial.open("w+b")

    def __enter__(self) -> CacheWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.partial.unlink(missing_ok=True)

    def add(self, decoded: DecodedSample) -> None:
        """Preprocess an image and its mask."""
        # Here, so that a warm start does not import OpenCV.
        from capsule_inspection.data.crop import crop_classes, measure_defect

        prepared = crop_image(decoded.image, decoded.foreground, self.config)
        values = np.zeros((), self.dtype)
        values["image"], values["foreground"] = prepared.image, prepared.foreground
        values["box"], values["content_box"] = prepared.box, prepared.content_box
        values["roi_found"] = prepared.roi_found
        for name in _MEASURES:
            values[name] = np.nan
        values["ignored_fraction"] = 0
        if decoded.mask is not None:
            box, image_size = prepared.box, self.config.image_size
            values["mask"] = crop_classes(decoded.mask, box=box, image_size=image_size)
            values["ignored_fraction"] = (values["mask"] == IGNORE_INDEX).mean()
            measured = measure_defect(
                decoded.mask, decoded.foreground, box=box, image_size=image_size
            )
            for name, value in measured._asdict().items():
                values[f"defect_{name}"] = value
        self._write(decoded.row, values.tobytes())

    def finish(self, index: DataIndex, rows: Sequence[int]) -> ImageCache:
        """Keep these rows, in ascending order, as the cache of an index, and open it."""
        path = _cache_path(index, self.folder, self.config)
        with report_write_errors(path):
            for new, row in enumerate(rows):
                if new != row:
                    self._write(new, self._read(row))
            self._file.truncate(self._offset(len(rows)))
            self._file.seek(0)
            self._file.write(_header(self.dtype, len(rows)))
            self._file.close()
            self.partial.replace(path)
        cache = find_cache(index, folder=self.folder, config=self.config)
        assert cache is not None, f"{path} was written and cannot be read"
        return cache

    def _check_space(self) -> None:
        size_bytes, free_bytes = self._offset(self.count), shutil.disk_usage(self.folder).free
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


def _row_type(config: PreprocessConfig) -> np.dtype:
    height, width = config.image_size
    return np.dtype(
        [
            ("image", "u1", (height, width, 3)),
            ("mask", "u1", (height, width)),
            ("box", "<f4", (4,)),
            ("content_box", "<i4", (4,)),
            *((name, "<f4") for name in _MEASURES),
            ("roi_found", "?"),
            ("foreground", "u1", (height, width)),
        ]
    )


def _header(dtype: np.dtype, count: int) -> bytes:
    stream = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_2_0(
        stream, {"descr": descr, "fortran_order": False, "shape": (count,)}
    )
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
