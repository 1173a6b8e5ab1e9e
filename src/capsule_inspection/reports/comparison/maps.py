"""Figures of maps against masks: pixel AUROC, pixel average precision and AUPRO, means over runs.

Each run is a model of its own, so its map is never put together with those of others. The same for
all that have maps, whether or not they decide of pixels: so they stand in one table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.localisation import mean_localisation
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels, rows_that_tell
from capsule_inspection.reports.run_maps import RunMaps, read_maps
from capsule_inspection.types import Figure, RunFiles

if TYPE_CHECKING:
    from capsule_inspection.reports.comparison.contestant import Contestant, Judgements
    from capsule_inspection.reports.run_folder import RunFolder

OF_MAPS = (names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO)


def figures(contestant: Contestant) -> dict[str, Figure]:
    """Mean over its runs; without intervals where a run kept no maps but has figures of them.

    Raises RunError where the maps of a run are damaged.
    """
    counted = [
        _count(contestant, run, of_run)
        for run, of_run in zip(contestant.runs, contestant.judgements, strict=True)
    ]
    usable = [found for found in counted if found is not None]
    if len(usable) == len(counted):
        return mean_localisation(usable)
    return _mean_of_stored(contestant)


def images_told(
    contestant: Contestant, of_run: Judgements, maps: RunMaps
) -> tuple[list[int], np.ndarray]:
    """Places in the maps of a run's good images and of its defects with a mask, and their rows.

    Rows are those of the contestant, (K,) int64.
    """
    row_of = dict(zip(of_run.index.tolist(), of_run.row.tolist(), strict=True))
    judged = [
        (place, row_of[index]) for place, index in enumerate(maps.index.tolist()) if index in row_of
    ]
    told = rows_that_tell(
        (bool(contestant.is_defect[row]) for _, row in judged),
        (maps.mask_of(place) for place, _ in judged),
    )
    used = [judged[number] for number in told]
    return [place for place, _ in used], np.array([row for _, row in used], dtype=np.int64)


def _mean_of_stored(contestant: Contestant) -> dict[str, Figure]:
    stored = [names.of_stage(run.figures, contestant.stage) for run in contestant.runs]
    images = len(contestant.image)
    return {
        name: Figure(float(np.mean([of_run[name].value for of_run in stored])), None, None, images)
        for name in OF_MAPS
        if all(name in of_run for of_run in stored)
    }


def _count(
    contestant: Contestant, run: RunFolder, of_run: Judgements
) -> tuple[PixelCounts, np.ndarray] | None:
    """Pixels of the images that tell, and whose they are.

    Read here and not kept: maps of many runs would not fit into memory.
    """
    maps = read_maps(run.path / RunFiles.MAPS)
    if maps is None:
        return None
    places, rows = images_told(contestant, of_run, maps)
    counts = count_pixels(
        (maps.map_of(place) for place in places), (maps.mask_of(place) for place in places)
    )
    return counts, contestant.image[rows]
