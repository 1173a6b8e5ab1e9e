"""Figures of models that name no classes, such as autoencoders: means over their runs.

Each run is a model with a scale of its own, so scores are never pooled; a defect that the models of
five folds judged is one photograph. The figures are those of `metrics.folds` and
`metrics.localisation`; here it is decided what goes into them.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.contracts import Figure, RunFiles
from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.folds import AnomalyRun, mean_anomaly_figures
from capsule_inspection.metrics.localisation import mean_localisation
from capsule_inspection.metrics.pixel_counts import PixelCounts, count_pixels, rows_that_tell
from capsule_inspection.reports.comparison.contestant import Contestant, Judgements
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.reports.run_maps import read_maps

OF_PIXELS = (names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO)


def figures(contestant: Contestant) -> dict[str, Figure]:
    """Mean over the runs of every figure of images, and of pixels where masks are known.

    Raises RunError where the maps of a run are damaged.
    """
    rate = false_alarm_rate(contestant)
    runs = [_anomaly_run(contestant, of_run) for of_run in contestant.judgements]
    found = mean_anomaly_figures(runs, false_alarm_rate=0.0 if rate is None else rate)
    if rate is None:
        found.pop(names.RECALL_AT_RATE, None)
    return found | _of_pixels(contestant)


def by_seed(contestant: Contestant) -> dict[int, dict[str, float]]:
    """AUROC of each seed: the mean over its folds that have good images and defects."""
    found: dict[int, list[float]] = {seed: [] for seed in contestant.seeds}
    for of_run in contestant.judgements:
        is_defect = contestant.is_defect[of_run.row]
        if is_defect.any() and not is_defect.all():
            area = intervals.auroc(of_run.score[~is_defect], of_run.score[is_defect])
            found[of_run.seed].append(area.value)
    return {
        seed: {names.AUROC: float(np.mean(values))} if values else {}
        for seed, values in found.items()
    }


def false_alarm_rate(contestant: Contestant) -> float | None:
    """The share of good images that may be rejected, as its runs were asked."""
    return contestant.runs[0].false_alarm_rate


def _anomaly_run(contestant: Contestant, of_run: Judgements) -> AnomalyRun:
    return AnomalyRun(
        is_defect=contestant.is_defect[of_run.row],
        called_defect=of_run.called_defect,
        score=of_run.score,
        class_name=contestant.label[of_run.row],
        identity=contestant.image[of_run.row],
    )


def _of_pixels(contestant: Contestant) -> dict[str, Figure]:
    """Figures of maps; without intervals where a run kept no maps but has figures of them."""
    counted = [
        _count(contestant, run, of_run)
        for run, of_run in zip(contestant.runs, contestant.judgements, strict=True)
    ]
    usable = [found for found in counted if found is not None]
    if len(usable) == len(counted):
        return mean_localisation(usable)
    return _mean_of_stored(contestant)


def _mean_of_stored(contestant: Contestant) -> dict[str, Figure]:
    stored = [names.of_stage(run.figures, contestant.stage) for run in contestant.runs]
    images = len(contestant.image)
    return {
        name: Figure(float(np.mean([of_run[name].value for of_run in stored])), None, None, images)
        for name in OF_PIXELS
        if all(name in of_run for of_run in stored)
    }


def _count(
    contestant: Contestant, run: RunFolder, of_run: Judgements
) -> tuple[PixelCounts, np.ndarray] | None:
    """Pixels of a run's good images and of its defects with a mask, and whose they are.

    Read here and not kept: maps of many runs would not fit into memory.
    """
    maps = read_maps(run.path / RunFiles.MAPS)
    if maps is None:
        return None
    row_of = dict(zip(of_run.index.tolist(), of_run.row.tolist(), strict=True))
    judged = [
        (place, row_of[index]) for place, index in enumerate(maps.index.tolist()) if index in row_of
    ]
    told = rows_that_tell(
        (bool(contestant.is_defect[row]) for _, row in judged),
        (maps.masks[place] for place, _ in judged),
    )
    used = [judged[number] for number in told]
    counts = count_pixels(
        (maps.map_of(place) for place, _ in used), (maps.mask_of(place) for place, _ in used)
    )
    return counts, contestant.image[np.array([row for _, row in used], dtype=np.int64)]
