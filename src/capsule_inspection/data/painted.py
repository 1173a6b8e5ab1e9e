"""The pool of painted defects: good images spoilt ahead, once, and kept for all runs.

Only the changed rectangle of each variant is kept. The file is an .npy table with one slot for
each variant, then the pixels; it is named by what decides its bytes and appears when whole.
How a defect is painted is the concern of synthetic/.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from capsule_inspection.data.cache import Progress, locked, reporting
from capsule_inspection.data.painting import (
    GoodImages,
    PaintingSettings,
    orders,
    painted_patches,
)
from capsule_inspection.files import remove_unfinished, whole_file
from capsule_inspection.synthetic.version import PAINTING_VERSION
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)

_SLOT = np.dtype(
    [
        ("row", "<i4"),
        ("kind", "S16"),
        ("y0", "<i4"),
        ("x0", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("offset", "<i8"),
    ]
)
_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class PaintedPool:
    """Painted variants of good images, read-only.

    Shapes: entries (M,), in the order of their rows: the row of the decoded cache, the kind, the
    changed rectangle in pixels, and where its pixels begin; pixels (P,) uint8, memory-mapped: red,
    green, blue and mask (0 or 1) of each pixel of each rectangle.
    """

    path: Path
    entries: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def kinds(self) -> dict[str, int]:
        """How many variants of each kind there are."""
        counts = Counter(self.entries["kind"].tolist())
        return {kind.decode(): counts[kind] for kind in sorted(counts)}

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.ascontiguousarray(self.entries["row"])

    def of_row(self, row: int) -> np.ndarray:
        """Entries of one row; none for a row on which nothing was painted."""
        first, end = np.searchsorted(self._rows, [row, row + 1])
        return self.entries[first:end]

    def paint(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        row: int,
        uniform: float | Sequence[float],
        *,
        labels: Mapping[str, int] | None = None,
    ) -> bool:
        """Paste one variant of the row for each uniform number, in place; whether there was one.

        Shapes: image (H, W, 3) uint8, the row's own; mask (H, W) uint8, becomes the label of the
        kind of defect where the image was changed, 1 where there are no `labels`. Kinds without a
        label are not pasted. The numbers are in [0, 1); two that choose the same variant paste one.
        """
        entries = self.of_row(row)
        if labels is not None:
            entries = entries[np.isin(entries["kind"], [kind.encode() for kind in labels])]
        if len(entries) == 0:
            return False
        for number in np.atleast_1d(np.asarray(uniform, np.float64)):
            entry = entries[int(number * len(entries))]
            label = 1 if labels is None else labels[entry["kind"].decode()]
            self._paste(image, mask, entry, label=label)
        return True

    def _paste(self, image: np.ndarray, mask: np.ndarray, entry: np.void, *, label: int) -> None:
        y0, x0, height, width = (int(entry[name]) for name in ("y0", "x0", "height", "width"))
        start, size = int(entry["offset"]), height * width * _CHANNELS
        patch = self.pixels[start : start + size].reshape(height, width, _CHANNELS)
        window = (slice(y0, y0 + height), slice(x0, x0 + width))
        changed = patch[..., 3] > 0
        np.copyto(image[window], patch[..., :3], where=changed[..., None])
        mask[window][changed] = label


def open_painted(
    images: np.ndarray,
    foregrounds: np.ndarray,
    rows: Sequence[int] | np.ndarray,
    *,
    sources: Sequence[int] | np.ndarray,
    key: str,
    settings: PaintingSettings,
    folder: Path,
    workers: int,
    progress: Progress | None = None,
    names: Sequence[str] | None = None,
    found: np.ndarray | None = None,
) -> PaintedPool:
    """Open the pool of these images and settings, and paint it first where there is none.

    Shapes: images (N, H, W, 3) uint8 RGB, that of the decoded cache; foregrounds (N, H, W),
    nonzero on the part; found (N,) bool, false where no part was found, so that nothing is painted
    whatever the foreground is, None for found on all. `rows` are painted, `sources` lend natural
    patches: training images, so that none of a validation image gets into training. `key` tells the
    images' content; `names` (N,) are for messages. What is painted on an image depends on the seed,
    its pixels and those that lend, neither on its row nor on `workers`. `progress` hears of
    (done, all) rows.
    Raises DataError where nothing at all could be painted, or where the folder cannot be written.
    """
    good = GoodImages(images, foregrounds, found, _in_order(rows), _in_order(sources), names)
    path = folder / f"{_key(good, key, settings)}.painted"
    slots = len(good.rows) * settings.variants
    pool = _load(path, slots=slots)
    if pool is None:
        with locked(path):
            pool = _load(path, slots=slots)
            if pool is None:
                _write(path, good, settings, workers=workers, progress=progress)
                pool = _load(path, slots=slots)
    assert pool is not None, f"{path} was written and cannot be read"
    _report_clean(pool, good)
    return pool


def _in_order(rows: Sequence[int] | np.ndarray) -> list[int]:
    return [int(row) for row in np.unique(np.asarray(rows, np.int64))]


def _key(good: GoodImages, key: str, settings: PaintingSettings) -> str:
    """SHA-256 of all that decides the pool's bytes, in hexadecimal digits."""
    content = [PAINTING_VERSION, key, good.rows, good.sources, asdict(settings)]
    digest = hashlib.sha256(json.dumps([*content, good.images.shape]).encode())
    for row in sorted({*good.rows, *good.sources}):
        digest.update(np.packbits(good.part_of(row)).tobytes())
    return digest.hexdigest()


def _load(path: Path, *, slots: int) -> PaintedPool | None:
    """Map a finished pool; None where there is none, or (with a warning) a damaged one."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            table = np.load(file)
            pixels = np.memmap(path, np.uint8, "r", offset=file.tell())
    except (ValueError, OSError, EOFError) as error:
        log.warning("%s: the painted defects are damaged (%s); they are painted anew.", path, error)
        return None
    if table.dtype != _SLOT or table.shape != (slots,) or len(pixels) != _count_bytes(table):
        log.warning("%s: the painted defects are of another form; they are painted anew.", path)
        return None
    return PaintedPool(path, table[table["height"] > 0], pixels.view(np.ndarray))


def _count_bytes(table: np.ndarray) -> int:
    return int((table["height"].astype(np.int64) * table["width"]).sum()) * _CHANNELS


def _write(
    path: Path,
    good: GoodImages,
    settings: PaintingSettings,
    *,
    workers: int,
    progress: Progress | None,
) -> None:
    """Paint under a temporary name, and give the file its name when it is whole."""
    with reporting(path):
        remove_unfinished(path)
    with reporting(path), whole_file(path) as part, part.open("wb") as file:
        table = np.zeros(len(good.rows) * settings.variants, _SLOT)
        np.save(file, table)  # its place; filled in when all is painted
        patches = painted_patches(
            orders(good, settings), settings, workers=workers, rows=len(good.rows)
        )
        filled, offset = 0, 0
        for done, (row, variants) in enumerate(zip(good.rows, patches, strict=True), start=1):
            for patch in variants:
                height, width = patch.pixels.shape[:2]
                table[filled] = (row, patch.kind, patch.y0, patch.x0, height, width, offset)
                filled, offset = filled + 1, offset + file.write(patch.pixels.tobytes())
            if progress is not None:
                progress(done, len(good.rows))
        _check_any(filled, good)
        _fill_in(file, table)


def _fill_in(file: BinaryIO, table: np.ndarray) -> None:
    file.seek(0)
    np.save(file, table)


def _check_any(filled: int, good: GoodImages) -> None:
    if filled == 0:
        missing = sum(not good.has_part(row) for row in good.rows)
        raise DataError(
            f"no defect could be painted on any of {len(good.rows)} good images "
            f"({good.list_names(good.rows)}): on {missing} of them no part was found. Set "
            "another data.roi (none takes the whole photograph for the part), or do without: "
            "data.painted=0 (for model=autoencoder: model.corruption=cutout, noise or none, which "
            "need no part)."
        )


def _report_clean(pool: PaintedPool, good: GoodImages) -> None:
    painted = set(pool.entries["row"].tolist())
    clean = [row for row in good.rows if row not in painted]
    if clean:
        log.warning(
            "nothing could be painted on %d of %d good images (%s), which are shown as they are: "
            "on %d of them no part was found. See data.roi.",
            len(clean),
            len(good.rows),
            good.list_names(clean),
            sum(not good.has_part(row) for row in clean),
        )
