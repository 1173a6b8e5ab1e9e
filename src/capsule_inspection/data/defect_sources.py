"""The synthetic and real defects that a configured training adds to its good images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.copy_paste import CopyPasteSource, extract_sources
from capsule_inspection.data.defect_bank import SyntheticDefectBank, load_or_render
from capsule_inspection.data.defect_rendering import NSA, GoodImages, SynthesisConfig
from capsule_inspection.data.progress import progress_bar
from capsule_inspection.synthetic.defects import DEFECT_TYPES
from capsule_inspection.types import GOOD_LABEL, TRAIN, DataError, DataIndex

log = logging.getLogger(__name__)

_SEED = 0
"""Not the training's: runs of several seeds use the same synthetic defects."""


def open_bank(
    data: DictConfig,
    index: DataIndex,
    cache: ImageCache,
    *,
    rows: Sequence[int],
    sources: Sequence[int],
) -> SyntheticDefectBank:
    """Synthetic defects of rows of the index, rendered first where there are none.

    `data` is the configuration's section; `sources` are training images for NSA patches.
    """
    names = [sample.path for sample in index.samples]
    with progress_bar("Rendering defects") as progress:
        return load_or_render(
            GoodImages(
                cache.images,
                cache.foregrounds,
                cache.roi_found,
                sorted(rows),
                sorted(sources),
                names,
            ),
            SynthesisConfig(data.synthesis.variants, data.synthesis.nsa_fraction, _SEED),
            key=cache.path.stem,
            folder=Path(data.cache_folder) / "synthetic_defects",
            workers=data.workers,
            progress=progress,
        )


def open_training_bank(
    data: DictConfig, index: DataIndex, cache: ImageCache, labels: Mapping[str, int]
) -> SyntheticDefectBank | None:
    """Synthetic defects of the good training images; None where none are wanted or possible.

    `labels` has the class of each defect type that may be used, and others.
    """
    rows = _training_rows(index, lambda label: label == GOOD_LABEL)
    if not data.synthetic_defects or not rows:
        return None
    if not labels.keys() & {NSA, *DEFECT_TYPES}:
        log.warning(
            "data.synthetic_defects=%g: of the classes %s none can be rendered, only %s can. Real "
            "defects are pasted instead, where they have masks. (With model=unet "
            "model.classes=binary every defect type serves.)",
            data.synthetic_defects,
            ", ".join(labels),
            ", ".join(DEFECT_TYPES),
        )
        return None
    return open_bank(data, index, cache, rows=rows, sources=rows)


def find_copy_paste_sources(index: DataIndex, cache: ImageCache) -> list[CopyPasteSource]:
    """The real defects of the training images, where they have masks."""
    rows = _training_rows(index, lambda label: label != GOOD_LABEL)
    labels = [index.samples[row].label for row in rows]
    return extract_sources(cache.images[rows], cache.masks[rows], cache.foregrounds[rows], labels)


def defect_labels(index: DataIndex) -> dict[str, int]:
    """The label of each defect class, by its name."""
    return {name: label for label, name in enumerate(index.classes) if label != GOOD_LABEL}


def require_all_classes(
    index: DataIndex, config: DictConfig, *, added: Collection[int] = frozenset()
) -> None:
    """Raise DataError where a class has no training image, and is not `added` to good ones."""
    present = {sample.label for sample in index.samples if sample.split == TRAIN} | {*added}
    absent = [name for label, name in enumerate(index.classes) if label not in present]
    if absent:
        raise DataError(
            f"split={config.split.name} data.defect_fraction={config.data.defect_fraction:g}: "
            f"{', '.join(absent)} {'has' if len(absent) == 1 else 'have'} no training image, and "
            "no synthetic or pasted defect is of such a class, so it cannot be learnt. Use another "
            "split, keep some of them (data.defect_fraction), or leave the class out."
        )


def _training_rows(index: DataIndex, wanted: Callable[[int], bool]) -> list[int]:
    return [
        row
        for row, sample in enumerate(index.samples)
        if sample.split == TRAIN and wanted(sample.label)
    ]
