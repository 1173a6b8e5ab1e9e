"""Figures of models that name no classes, such as autoencoders: means over their runs.

Each run is a model with a scale of its own, so scores are never pooled; a defect that the models of
five folds judged is one photograph. The figures are those of `metrics.folds`; here it is decided
what goes into them. What is told of pixels is in `maps` and `marks`.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.metrics import intervals, names
from capsule_inspection.metrics.folds import AnomalyRun, mean_anomaly_figures
from capsule_inspection.reports.comparison.contestant import Contestant, Judgements
from capsule_inspection.types import Figure


def figures(contestant: Contestant) -> dict[str, Figure]:
    """Mean over the runs of every figure of images."""
    rate = false_alarm_rate(contestant)
    runs = [_anomaly_run(contestant, of_run) for of_run in contestant.judgements]
    found = mean_anomaly_figures(runs, false_alarm_rate=0.0 if rate is None else rate)
    if rate is None:
        found.pop(names.RECALL_AT_RATE, None)
    return found


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
