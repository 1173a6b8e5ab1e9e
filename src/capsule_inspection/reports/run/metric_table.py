"""Which metrics the page shows, and why some are missing."""

from __future__ import annotations

from capsule_inspection.metrics import names, registry
from capsule_inspection.reports.run.run_folder import RunFolder


def list_metrics(run: RunFolder, stage: str) -> list[str]:
    """Every metric of the run but those of single classes, which are plotted.

    Without defect classes, means over classes are left out: they repeat the binary metrics.
    """
    metrics = names.metrics_of_stage(run.metrics, stage)
    expected = registry.metrics_of(run.task, names_defects=run.names_defects)
    repeated = () if run.names_defects else names.MEAN_OVERLAPS
    return [
        name
        for name in dict.fromkeys((*expected, *metrics))
        if name in metrics and name not in repeated and not names.is_class_metric(name)
    ]


def missing_metrics(run: RunFolder, stage: str) -> dict[str, list[str]]:
    """Labels of the metrics that were not measured, by what they lack.

    That is images, defects, good, maps or masks; "" where it is unknown.
    """
    metrics = names.metrics_of_stage(run.metrics, stage)
    missing: dict[str, list[str]] = {}
    for name in registry.metrics_of(run.task, names_defects=run.names_defects):
        if name not in metrics:
            lacking = _find_lacking(run, stage, frozenset(registry.METRICS[name].needs))
            missing.setdefault(lacking, []).append(registry.metric_label(name))
    return missing


def _find_lacking(run: RunFolder, stage: str, needs: frozenset[str]) -> str:
    scores = run.scores_of(stage)
    if not len(scores.score):
        return "images"
    if registry.DEFECTS in needs and not scores.is_defect.any():
        return "defects"
    if registry.GOOD in needs and scores.is_defect.all():
        return "good"
    if registry.WITH_MASKS in needs:
        if run.maps is None:
            return "maps"
        return "" if run.maps.masks.any() else "masks"
    return ""
