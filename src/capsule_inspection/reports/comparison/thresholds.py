"""How the thresholds of one-class models are set, and whether they keep their target rate.

From the record of each run; classifiers have no threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.thresholds import (
    CONFORMAL,
    F1,
    SIGMA,
    Threshold,
    exceeds_target_fpr,
)
from capsule_inspection.reports.comparison.cells import (
    Cell,
    Table,
    format_spread,
    metric_cell,
    name_cell,
)
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics, Spread
from capsule_inspection.reports.formatting import format_estimate, format_fraction, format_list
from capsule_inspection.types import Estimate

FEW_GOOD_IMAGES = 50
"""Good test images of a run below which one of them is more than two points."""

_RULES = {
    CONFORMAL: "conformal",
    SIGMA: "mean and standard deviation",
    F1: "best F1, with labelled defects",
}
_NOTE = (
    "Target: the largest fraction of good images that the rule allows to be rejected. Only the "
    "conformal rule guarantees one, and on average over calibrations, so a single run may lie "
    "above. Enough: whether there are enough good images for this target."
)


def threshold_table(results: Sequence[ModelMetrics]) -> Table | None:
    """Target and measured false-positive rate of each threshold; None without thresholds."""
    rows = [
        (
            name_cell(result),
            Cell(_RULES.get(found[0].rule, found[0].rule)),
            _target_cell(found),
            metric_cell(result.metrics.get(names.FALSE_POSITIVE_RATE)),
            _good_images_cell(found),
            Cell(_describe_sufficiency(found)),
        )
        for result in results
        if (found := read_thresholds(result))
    ]
    columns = ("model", "rule", "target: good ones rejected", "good test images rejected",
               "good images that set it", "enough")  # fmt: skip
    return Table("Thresholds", columns, tuple(rows), _NOTE) if rows else None


def read_thresholds(result: ModelMetrics) -> list[Threshold]:
    """The thresholds of the runs that have one.

    Raises RunError where one is not as expected.
    """
    return [found for run in result.model.runs if (found := run.threshold) is not None]


def sentences(results: Sequence[ModelMetrics]) -> list[str]:
    """Measured against target false-positive rates."""
    parts = [
        f"{result.name} {format_estimate(rejected)}, target {format_fraction(target)}"
        for result, target, rejected in _with_target(results)
    ]
    return [f"Good ones rejected against the target: {'; '.join(parts)}."] if parts else []


def caveats(results: Sequence[ModelMetrics]) -> list[str]:
    """Limits of the thresholds and of their measured rates."""
    found = [_fitted_with_defects(results), *(_too_few_images(result) for result in results)]
    found += [_above_target(results), _few_test_images(results)]
    return [sentence for sentence in found if sentence]


def _with_target(results: Sequence[ModelMetrics]) -> list[tuple[ModelMetrics, float, Estimate]]:
    """Models with a target false-positive rate: the target and the measured rate."""
    return [
        (result, target, result.metrics[names.FALSE_POSITIVE_RATE])
        for result in results
        if names.FALSE_POSITIVE_RATE in result.metrics
        and (target := _target(read_thresholds(result))) is not None
    ]


def _target(thresholds: Sequence[Threshold]) -> float | None:
    is_conformal = bool(thresholds) and thresholds[0].rule == CONFORMAL
    return thresholds[0].target_fpr if is_conformal else None


def _target_cell(thresholds: Sequence[Threshold]) -> Cell:
    target = _target(thresholds)
    return Cell("none") if target is None else Cell(f"at most {format_fraction(target)}", target)


def _good_images_cell(thresholds: Sequence[Threshold]) -> Cell:
    counts = [float(threshold.good_images) for threshold in thresholds]
    spread = Spread(float(np.mean(counts)), min(counts), max(counts), len(counts))
    return Cell(format_spread(spread, "{:.0f}".format), spread.mean)


def _describe_sufficiency(thresholds: Sequence[Threshold]) -> str:
    insufficient = [threshold for threshold in thresholds if not threshold.enough]
    if not insufficient:
        return "yes" if _target(thresholds) is not None else "–"
    runs = f" in {len(insufficient)} of {len(thresholds)} runs" if len(thresholds) > 1 else ""
    return f"no{runs}: {insufficient[0].required_images} are needed"


def _fitted_with_defects(results: Sequence[ModelMetrics]) -> str:
    models = [
        result
        for result in results
        if any(threshold.rule == F1 for threshold in read_thresholds(result))
    ]
    if not models:
        return ""
    return (
        f"{_names(models)}: the threshold was fitted with labelled defects (rule f1), so the rates "
        "of missed defects and rejected good images are not those of one-class training."
    )


def _too_few_images(result: ModelMetrics) -> str:
    insufficient = [threshold for threshold in read_thresholds(result) if not threshold.enough]
    if not insufficient:
        return ""
    fewest = min(insufficient, key=lambda threshold: threshold.good_images)
    target = "" if fewest.target_fpr is None else f" of {format_fraction(fewest.target_fpr)}"
    return (
        f"{result.name}: {fewest.good_images} good images set the threshold, where the target "
        f"false-positive rate{target} takes {fewest.required_images}. It is the highest of their "
        f"scores; expect up to {format_fraction(1 / (fewest.good_images + 1))} of good images to "
        "be rejected."
    )


def _above_target(results: Sequence[ModelMetrics]) -> str:
    """Models above their target rate; with too few good images there is no guarantee."""
    models = [
        result
        for result, target, rejected in _with_target(results)
        if all(threshold.enough for threshold in read_thresholds(result))
        and _is_beyond_chance(read_thresholds(result), rejected, target)
    ]
    if not models:
        return ""
    return (
        f"More good images are rejected than the target, beyond chance: {_names(models)}. Those "
        "of the test differ from those that set the threshold."
    )


def _is_beyond_chance(thresholds: Sequence[Threshold], rejected: Estimate, target: float) -> bool:
    """For one run, the randomness of its calibration counts too; over several it averages out."""
    if len(thresholds) == 1 and thresholds[0].rule == CONFORMAL:
        return exceeds_target_fpr(thresholds[0], round(rejected.value * rejected.n), rejected.n)
    return rejected.ci_low is not None and rejected.ci_low > target


def _few_test_images(results: Sequence[ModelMetrics]) -> str:
    """Models with few good test images in a run."""
    counts = {
        result.name: min(_count_good_images(result))
        for result in results
        if not result.model.has_probabilities and names.FALSE_POSITIVE_RATE in result.metrics
    }
    few = {name: count for name, count in counts.items() if count < FEW_GOOD_IMAGES}
    if not few:
        return ""
    fewest = min(few.values())
    return (
        f"Few good test images: {format_list(list(few))}, down to {fewest} a training. There one "
        f"image more or less is {100 / fewest:.1f} points of good ones rejected, so the rate of a "
        "single training is uncertain."
    )


def _count_good_images(result: ModelMetrics) -> list[int]:
    """Good test images of each run that has some; [1] where none has."""
    model = result.model
    counts = [int((~model.is_defect[run.rows]).sum()) for run in model.run_predictions]
    return [count for count in counts if count] or [1]


def _names(results: Sequence[ModelMetrics]) -> str:
    return format_list([result.name for result in results])
