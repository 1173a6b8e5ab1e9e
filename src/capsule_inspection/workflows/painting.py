"""Painted and real defects to be put onto good training images, as a configuration asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.painted import PaintedPool, open_painted
from capsule_inspection.data.painting import NATURAL, PaintingSettings
from capsule_inspection.data.pasting import Donor, make_donors
from capsule_inspection.synthetic.defects import DEFECTS
from capsule_inspection.types import GOOD_LABEL, TRAIN, DataError, DataIndex
from capsule_inspection.workflows.inputs import progress

log = logging.getLogger(__name__)

_SEED = 0
"""Of its own, and not the training's: runs of several seeds share the painted defects."""


def open_pool(
    config: DictConfig,
    index: DataIndex,
    cache: DecodedCache,
    *,
    rows: Sequence[int],
    sources: Sequence[int],
) -> PaintedPool:
    """Painted variants of rows of the index, made first where there are none.

    `sources` are training images, which lend natural patches.
    """
    painting = config.task.painting
    with progress("Painting defects") as show:
        return open_painted(
            cache.images,
            cache.foregrounds,
            rows,
            sources=sources,
            key=cache.path.stem,
            settings=PaintingSettings(
                variants=painting.variants, natural_share=painting.natural, seed=_SEED
            ),
            folder=Path(config.data.cache_folder) / "painted",
            workers=config.data.workers,
            progress=show,
            names=[record.path for record in index.records],
            found=cache.found,
        )


def paint_training(
    config: DictConfig, index: DataIndex, cache: DecodedCache, labels: Mapping[str, int]
) -> PaintedPool | None:
    """Painted defects of the good training images; None where none are asked for or none can be.

    `labels` has the class of each kind that may be painted, and others.
    """
    rows = _rows(index, lambda label: label == GOOD_LABEL)
    if not config.data.painted or not rows:
        return None
    if not labels.keys() & {NATURAL, *DEFECTS}:
        log.warning(
            "data.painted=%g: of the classes %s none can be painted, only %s can. Real defects are "
            "pasted instead, where they have masks. (With model=unet model.classes=binary every "
            "kind of defect serves.)",
            config.data.painted,
            ", ".join(labels),
            ", ".join(DEFECTS),
        )
        return None
    return open_pool(config, index, cache, rows=rows, sources=rows)


def training_donors(index: DataIndex, cache: DecodedCache) -> list[Donor]:
    """The real defects of the training images, as far as they have masks."""
    rows = _rows(index, lambda label: label != GOOD_LABEL)
    labels = [index.records[row].label for row in rows]
    return make_donors(cache.images[rows], cache.masks[rows], cache.foregrounds[rows], labels)


def labels_of_defects(index: DataIndex) -> dict[str, int]:
    """The class of each kind of defect, by its name."""
    return {name: label for label, name in enumerate(index.classes) if label != GOOD_LABEL}


def require_shown(
    index: DataIndex, config: DictConfig, *, given: Collection[int] = frozenset()
) -> None:
    """Raise DataError where a class has no training image, and is not `given` to good ones."""
    shown = {record.label for record in index.records if record.split == TRAIN} | {*given}
    absent = [name for label, name in enumerate(index.classes) if label not in shown]
    if absent:
        raise DataError(
            f"split={config.split.name} data.real_defects={config.data.real_defects:g}: "
            f"{', '.join(absent)} {'has' if len(absent) == 1 else 'have'} no training image, and "
            "nothing is painted or pasted that shows such a defect, so it cannot be learnt. Use "
            "another split, keep some of them (data.real_defects), or leave the class out."
        )


def _rows(index: DataIndex, wanted: Callable[[int], bool]) -> list[int]:
    return [
        number
        for number, record in enumerate(index.records)
        if record.split == TRAIN and wanted(record.label)
    ]
