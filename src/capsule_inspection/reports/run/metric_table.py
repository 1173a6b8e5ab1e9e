"""The table of metrics of the page, and why some are missing: plain text."""

from __future__ import annotations

from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import metric_description, metric_label
from capsule_inspection.reports.formatting import format_metric
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import Estimate

_ERROR_RATES = (names.FALSE_POSITIVE_RATE, names.FALSE_NEGATIVE_RATE)
_SCORE_METRICS = (names.AUROC, names.AVERAGE_PRECISION)
_CLASS_METRICS = (names.ACCURACY, names.BALANCED_ACCURACY, names.MACRO_F1)
_THRESHOLD_METRICS = (names.F1, names.F1_MAX, names.TPR_AT_FPR)
_PIXEL_METRICS = (names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO)
_MASK_METRICS = (names.DEFECT_HIT_RATE, names.PIXEL_FPR)
_WITHOUT_DEFECTS = (names.FALSE_POSITIVE_RATE, names.PIXEL_FPR, *_CLASS_METRICS)
_NEED_MASKS = (names.DEFECT_HIT_RATE, *names.MEAN_OVERLAPS, *names.BINARY_OVERLAPS, *_PIXEL_METRICS)


@dataclass(frozen=True)
class MetricRow:
    """One metric as text."""

    name: str
    value: str
    interval: str
    images: str
    meaning: str


def metric_rows(run: RunFolder, stage: str) -> list[MetricRow]:
    """Every metric of the run but those of single classes, which are plotted.

    Without defect classes, means over classes are left out: they repeat the binary metrics.
    """
    metrics = names.metrics_of_stage(run.metrics, stage)
    expected = _expected_metrics(run)
    repeated = () if run.classes else names.MEAN_OVERLAPS
    others = [
        name
        for name in metrics
        if name not in (*expected, *repeated) and not names.is_class_metric(name)
    ]
    return [
        _make_row(name, metrics[name], metric_description(name, target_fpr=run.target_fpr))
        for name in (*expected, *others)
        if name in metrics
    ]


def missing_metrics(run: RunFolder, stage: str) -> list[str]:
    """Metrics that were not measured, and why: a sentence for each reason."""
    metrics = names.metrics_of_stage(run.metrics, stage)
    by_reason: dict[str, list[str]] = {}
    for name in _expected_metrics(run):
        if name not in metrics:
            by_reason.setdefault(_why_missing(run, stage, name), []).append(metric_label(name))
    return [f"{reason}: {'; '.join(missing)}." for reason, missing in by_reason.items()]


def _expected_metrics(run: RunFolder) -> tuple[str, ...]:
    if run.has_masks:
        class_metrics = (*names.MEAN_OVERLAPS, *_CLASS_METRICS) if run.classes else ()
        return (*_ERROR_RATES, *_MASK_METRICS, *names.BINARY_OVERLAPS, *class_metrics,
                *_SCORE_METRICS, *_THRESHOLD_METRICS, *_PIXEL_METRICS)  # fmt: skip
    if run.classes:
        return (*_ERROR_RATES, *_CLASS_METRICS, *_SCORE_METRICS)
    return (*_ERROR_RATES, *_SCORE_METRICS, *_THRESHOLD_METRICS, *_PIXEL_METRICS)


def _make_row(name: str, estimate: Estimate, meaning: str) -> MetricRow:
    interval = "none: computed" if name == names.POINTING_CHANCE else "not known"
    if estimate.ci_low is not None and estimate.ci_high is not None:
        interval = (
            f"{format_metric(name, estimate.ci_low)} to {format_metric(name, estimate.ci_high)}"
        )
    return MetricRow(
        metric_label(name), format_metric(name, estimate.value), interval, str(estimate.n), meaning
    )


def _why_missing(run: RunFolder, stage: str, name: str) -> str:
    scores = run.scores_of(stage)
    if not len(scores.score):
        return f"Not measured, since there are no images in the {stage} split"
    if not scores.is_defect.any() and name not in _WITHOUT_DEFECTS:
        return f"Not measured, since there are no defect images in the {stage} split"
    if scores.is_defect.all() and name not in (
        names.FALSE_NEGATIVE_RATE,
        *_CLASS_METRICS,
        *_NEED_MASKS,
    ):
        return f"Not measured, since there are no good images in the {stage} split"
    if name in _NEED_MASKS:
        return _why_no_pixel_metrics(run)
    return "Not measured in this run"


def _why_no_pixel_metrics(run: RunFolder) -> str:
    if run.maps is None:
        return "Not measured, since the run kept no maps"
    if not run.maps.masks.any():
        return "Not measured, since there are no target masks"
    return "Not measured in this run"
