"""The bank of synthetic defects: rendered once on good images, and stored for all runs.

Only the changed rectangle of each variant is stored. The file is a table with one slot for
each variant, then the pixels, then a checksum of both; its name is a hash of all that decides its
bytes.
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

import numpy as np

from capsule_inspection.data.cache_folder import (
    CHECKSUM_BYTES,
    hold_lock,
    named_checksum,
    report_write_errors,
)
from capsule_inspection.data.defect_rendering import (
    GoodImages,
    SynthesisConfig,
    render_patches,
)
from capsule_inspection.data.progress import Progress
from capsule_inspection.files import atomic_write, remove_partial
from capsule_inspection.synthetic import DEFECT_VERSION
from capsule_inspection.types import DataError

log = logging.getLogger(__name__)

_SLOT = np.dtype(
    {
        "names": ["row", "defect_type", "y0", "x0", "height", "width", "offset"],
        "formats": ["<i4", "S16", "<i4", "<i4", "<i4", "<i4", "<i8"],
    }
)
_FILE_VERSION = 2
_CHANNELS = 4
_SECOND_DEFECT_PROBABILITY = 0.3


@dataclass(frozen=True, eq=False)
class SyntheticDefectBank:
    """Synthetic defects of good images, read-only.

    Shapes: entries (M,), in the order of their rows: the row of the image cache, the defect type,
    the changed rectangle in pixels, and where its pixels begin; pixels (P,) uint8, memory-mapped:
    red, green, blue and mask (0 or 1) of each pixel of each rectangle.
    """

    path: Path
    entries: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def type_counts(self) -> dict[str, int]:
        """The number of variants of each defect type."""
        counts = Counter(self.entries["defect_type"].tolist())
        return {name.decode(): counts[name] for name in sorted(counts)}

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.ascontiguousarray(self.entries["row"])

    def of_row(self, row: int) -> np.ndarray:
        """Entries of one row; none for a row without defects."""
        first, end = np.searchsorted(self._rows, [row, row + 1])
        return self.entries[first:end]

    def add_random(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        row: int,
        rng: np.random.Generator,
        *,
        labels: Mapping[str, int] | None = None,
        single: bool = False,
    ) -> None:
        """Add one random defect of the row; without `single` sometimes two. See `add`."""
        count = 1 if single else 1 + int(rng.random() < _SECOND_DEFECT_PROBABILITY)
        self.add(image, mask, row, rng.random(count).tolist(), labels=labels)

    def add(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        row: int,
        uniform: Sequence[float],
        *,
        labels: Mapping[str, int] | None = None,
    ) -> bool:
        """Add a defect of the row for each uniform number, in place. Returns whether it has any.

        Shapes: image (H, W, 3) uint8, the row's own; mask (H, W) uint8, becomes the label of the
        defect's type where the image was changed, 1 without `labels`. Types without a label are
        not added. The numbers are in [0, 1); two that choose the same defect add one.
        """
        entries = self.of_row(row)
        if labels is not None:
            names = [name.encode() for name in labels]
            entries = entries[np.isin(entries["defect_type"], names)]
        if len(entries) == 0:
            return False
        for number in uniform:
            entry = entries[int(number * len(entries))]
            label = 1 if labels is None else labels[entry["defect_type"].decode()]
            self._paste(image, mask, entry, label=label)
        return True

    def _paste(self, image: np.ndarray, mask: np.ndarray, entry: np.void, *, label: int) -> None:
        y0, x0, height, width = (int(entry[name]) for name in ("y0", "x0", "height", "width"))
        start, size = int(entry["offset"]), height * width * _CHANNELS
        patch = self.pixels[start : start + size].reshape(height, width, _CHANNELS)
        window = (slice(y0, y0 + height), slice(x0, x0 + width))
        is_changed = patch[..., 3] > 0
        np.copyto(image[window], patch[..., :3], where=is_changed[..., None])
        mask[window][is_changed] = label


def load_or_render(
    good: GoodImages,
    config: SynthesisConfig,
    *,
    key: str,
    folder: Path,
    workers: int,
    progress: Progress | None = None,
) -> SyntheticDefectBank:
    """Load the bank of these images and this configuration; render it first where there is none.

    `key` identifies the images' content. The defects of an image depend on the seed, its pixels
    and those of the NSA sources, neither on its row nor on `workers`.
    Raises DataError where no defect could be rendered, or the folder cannot be written.
    """
    path = folder / f"{_key(good, key, config)}.defects"
    bank = _load(path, good, config)
    if bank is None:
        with hold_lock(path):
            bank = _load(path, good, config)
            if bank is None:
                _write(path, good, config, workers=workers, progress=progress)
                bank = _load(path, good, config)
    assert bank is not None, f"{path} was written and cannot be read"
    _warn_clean(bank, good)
    return bank


def _key(good: GoodImages, key: str, config: SynthesisConfig) -> str:
    """SHA-256 of all that decides the bank's bytes, in hexadecimal digits."""
    versions = [_FILE_VERSION, DEFECT_VERSION]
    content = [versions, key, good.rows, good.sources, asdict(config), good.images.shape]
    digest = hashlib.sha256(json.dumps(content).encode())
    for row in sorted({*good.rows, *good.sources}):
        digest.update(np.packbits(good.part_of(row)).tobytes())
    return digest.hexdigest()


def _load(path: Path, good: GoodImages, config: SynthesisConfig) -> SyntheticDefectBank | None:
    """Map a complete bank; None where there is none, or (with a warning) a damaged one."""
    start = len(good.rows) * config.variants * _SLOT.itemsize
    try:
        content = np.memmap(path, np.uint8, "r").view(np.ndarray)
        checksum = named_checksum(path, content[:-CHECKSUM_BYTES].data)
        if content[-CHECKSUM_BYTES:].tobytes() != checksum:
            raise ValueError("another checksum")
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        log.warning("%s: damaged synthetic defects (%s); they are rendered again.", path, error)
        return None
    table = np.frombuffer(content[:start].tobytes(), _SLOT)
    return SyntheticDefectBank(path, table[table["height"] > 0], content[start:-CHECKSUM_BYTES])


def _write(
    path: Path,
    good: GoodImages,
    config: SynthesisConfig,
    *,
    workers: int,
    progress: Progress | None,
) -> None:
    """Render into a temporary file, which gets its name when it is complete."""
    with report_write_errors(path):
        remove_partial(path)
    with report_write_errors(path), atomic_write(path) as part, part.open("wb") as file:
        table = np.zeros(len(good.rows) * config.variants, _SLOT)
        file.write(table.tobytes())  # reserves its place; written again when filled
        patches = render_patches(good, config, workers=workers)
        filled, offset = 0, 0
        for done, (row, variants) in enumerate(zip(good.rows, patches, strict=True), start=1):
            for patch in variants:
                height, width = patch.pixels.shape[:2]
                table[filled] = (row, patch.defect_type, patch.y0, patch.x0, height, width, offset)
                filled, offset = filled + 1, offset + file.write(patch.pixels.tobytes())
            if progress is not None:
                progress(done, len(good.rows))
        if filled == 0:
            missing = sum(not good.has_part(row) for row in good.rows)
            raise DataError(
                f"no synthetic defect could be rendered on any of {len(good.rows)} good images "
                f"({good.list_names(good.rows)}): on {missing} of them no part was found. Set "
                "another data.roi (none takes the full image for the part), or do without: "
                "data.synthetic_defects=0 (for model=autoencoder: model.corruption=cutout, noise "
                "or none, which need no part)."
            )
        file.seek(0)
        file.write(table.tobytes())
        file.flush()
        content = np.memmap(part, np.uint8, "r")
        with part.open("ab") as end:
            end.write(named_checksum(path, content.data))


def _warn_clean(bank: SyntheticDefectBank, good: GoodImages) -> None:
    with_defects = set(bank.entries["row"].tolist())
    clean = [row for row in good.rows if row not in with_defects]
    if clean:
        log.warning(
            "no synthetic defect could be rendered on %d of %d good images (%s), which stay as "
            "they are: on %d of them no part was found. See data.roi.",
            len(clean),
            len(good.rows),
            good.list_names(clean),
            sum(not good.has_part(row) for row in clean),
        )
