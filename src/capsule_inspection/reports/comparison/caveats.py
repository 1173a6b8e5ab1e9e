"""What limits the results of a comparison: trivial or optimistic models, thresholds, missing data.

The wording is that of `templates/comparison_notes.j2`, which also has the notes under tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import metric_label
from capsule_inspection.metrics.thresholds import (
    CONFORMAL,
    F1,
    OPERATING_POINT,
    Threshold,
    exceeds_target_fpr,
)
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.formatting import format_fraction, format_list, format_percent
from capsule_inspection.reports.html import environment

FEW_GOOD_IMAGES = 50
"""Good test images of a run below which one of them is more than two points."""


def note(macro: str, **facts: Any) -> str:
    """A note or caveat as plain text, by its macro in `comparison_notes.j2`."""
    return " ".join(str(getattr(_notes(), macro)(**facts)).split())


def find_caveats(results: Sequence[ModelMetrics]) -> list[str]:
    """All caveats as plain text.

    Raises RunError where the threshold of a run is not as expected.
    """
    found = [*_quality_caveats(results), *_threshold_caveats(results), *_data_caveats(results)]
    return [note(macro, **facts) for macro, facts in found]


def read_thresholds(result: ModelMetrics) -> list[Threshold]:
    """The thresholds of the runs that decide by one.

    Raises RunError where one is not as expected.
    """
    found = [run.threshold for run in result.model.runs]
    return [
        threshold for threshold in found if threshold is not None and threshold.value is not None
    ]


def too_few_images(thresholds: Sequence[Threshold]) -> list[Threshold]:
    """The conformal thresholds that were set by fewer good images than their target rate takes."""
    return [
        threshold
        for threshold in thresholds
        if threshold.rule == CONFORMAL and not threshold.enough
    ]


def target_rate(thresholds: Sequence[Threshold]) -> float | None:
    """The false positive rate that the thresholds are set for; only the conformal rule has one."""
    is_conformal = bool(thresholds) and thresholds[0].rule == CONFORMAL
    return thresholds[0].target_fpr if is_conformal else None


_Caveat = tuple[str, dict[str, Any]]
"""A macro and its facts."""


@cache
def _notes() -> Any:
    templates = environment(autoescape=False)
    templates.filters |= {
        "list_of": format_list,
        "fraction": format_fraction,
        "percent": format_percent,
    }
    return templates.get_template("comparison_notes.j2").module


def _quality_caveats(results: Sequence[ModelMetrics]) -> Iterator[_Caveat]:
    """Optimistic models, and those that are no better than a constant or a random prediction."""
    optimistic = [result.name for result in results if result.model.is_optimistic]
    if optimistic:
        yield "optimistic", {"models": optimistic}
    trivial: dict[str, list[tuple[str, str]]] = {}
    guessing: dict[str, list[str]] = {names.BALANCED_ACCURACY: [], names.AUROC: []}
    for result in results:
        images = result.model.images
        always_good = float((~images["is_defect"]).mean())
        accuracy = result.metrics.get(names.ACCURACY)
        if accuracy is not None and accuracy.value <= always_good:
            of_rate = trivial.setdefault(format_fraction(always_good), [])
            of_rate.append((result.name, format_fraction(accuracy.value)))
        num_classes = images["label"].nunique() if result.model.names_defects else 2
        metric = names.BALANCED_ACCURACY if result.model.names_defects else names.AUROC
        estimate = result.metrics.get(metric)
        low = None if estimate is None else estimate.ci_low
        if low is not None and num_classes > 1 and low <= 1 / num_classes:
            guessing[metric].append(result.name)
    for rate, models in trivial.items():
        yield "always_good", {"accuracy": rate, "models": models}
    for metric, of_metric in guessing.items():
        if of_metric:
            yield "guessing", {"metric": metric_label(metric), "models": of_metric}


def _threshold_caveats(results: Sequence[ModelMetrics]) -> Iterator[_Caveat]:
    """How the thresholds were set, and whether they keep their target rates."""
    for result in results:
        insufficient = too_few_images(read_thresholds(result))
        if insufficient:
            fewest = min(insufficient, key=lambda threshold: threshold.good_images)
            yield "few_calibration_images", {"model": result.name, "threshold": fewest}
    for macro, applies in (
        ("fitted_with_defects", _is_fitted_with_defects),
        ("default_threshold", _is_default_threshold),
        ("above_target", _is_above_target),
    ):
        models = [result.name for result in results if applies(result, read_thresholds(result))]
        if models:
            yield macro, {"models": models}
    few: dict[str, int] = {}
    for result in results:
        rows = result.model.rows
        if not (result.model.names_defects or rows["is_defect"].all()):
            good = rows[~rows["is_defect"]].groupby("run").size().min()
            few |= {result.name: int(good)} if good < FEW_GOOD_IMAGES else {}
    if few:
        yield "few_test_images", {"models": list(few), "fewest": min(few.values())}


def _is_fitted_with_defects(result: ModelMetrics, thresholds: Sequence[Threshold]) -> bool:
    return any(threshold.rule == F1 for threshold in thresholds)


def _is_default_threshold(result: ModelMetrics, thresholds: Sequence[Threshold]) -> bool:
    return any(of.rule == OPERATING_POINT and not of.enough for of in thresholds)


def _is_above_target(result: ModelMetrics, thresholds: Sequence[Threshold]) -> bool:
    """Whether more good images are rejected than the target rate, beyond chance.

    For one run the randomness of its calibration counts too; over several it averages out.
    """
    rejected, target = result.metrics.get(names.FALSE_POSITIVE_RATE), target_rate(thresholds)
    if rejected is None or target is None or too_few_images(thresholds):
        return False
    if len(thresholds) == 1:
        return exceeds_target_fpr(thresholds[0], round(rejected.value * rejected.n), rejected.n)
    return rejected.ci_low is not None and rejected.ci_low > target


def _data_caveats(results: Sequence[ModelMetrics]) -> Iterator[_Caveat]:
    """Masks that were not kept, images that are left out, runs that did not finish."""
    unfinished = []
    for result in results:
        model, masks = result.model, result.model.mask_counts
        if masks is not None and masks.runs_without_masks:
            yield (
                "missing_masks",
                {
                    "model": result.name,
                    "missing": masks.runs_without_masks,
                    "runs": len(model.runs),
                    "has_metrics": names.BINARY_DICE_GLOBAL in result.metrics,
                },
            )
        elif masks is not None and not masks.is_complete:
            yield "masks_of_test_only", {"model": result.name}
        if model.num_dropped:
            yield "dropped", {"model": result.name, "images": model.num_dropped}
        unfinished += [
            f"{run.path.name} ({run.record.get('status')})"
            for run in model.runs
            if run.record.get("status") not in ("finished", None)
        ]
    if unfinished:
        yield "unfinished", {"runs": unfinished}
