"""The pool of painted defects that a configuration asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from capsule_inspection.contracts import DataIndex
from capsule_inspection.data.cache import DecodedCache
from capsule_inspection.data.painted import PaintedPool, open_painted
from capsule_inspection.data.painting import PaintingSettings
from capsule_inspection.runs.inputs import progress

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
        )
