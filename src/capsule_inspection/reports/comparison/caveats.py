"""What limits the results of a comparison: trivial or optimistic models, thresholds, missing data.

Here is decided which models have a caveat; the wording is that of `comparison_notes.j2`.
"""

from __future__ import annotations

from collections.abc import Sequence

from capsule_inspection.metrics import names
from capsule_inspection.metrics.thresholds import F1, OPERATING_POINT, exceeds_target_fpr
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.wording import NOTES, note, paragraphs
from capsule_inspection.reports.formatting import format_fraction, format_limits
from capsule_inspection.types import Costs

FEW_GOOD_IMAGES = 50
"""Good test images of a run below which one of them is more than two points."""


def find_caveats(results: Sequence[ModelMetrics], costs: Costs | None = None) -> list[str]:
    """All caveats as plain text.

    Raises RunError where the threshold of a run is not as expected.
    """
    thresholds = {result.name: result.model.thresholds for result in results}
    few = {of.name: count for of in results if (count := _few_good_images(of))}
    fitted = [name for name, of in thresholds.items() if any(one.rule == F1 for one in of)]
    default = [
        name
        for name, of in thresholds.items()
        if any(one.rule == OPERATING_POINT and not one.enough for one in of)
    ]
    unfinished = [
        f"{run.path.name} ({run.record.get('status')})"
        for result in results
        for run in result.model.runs
        if run.record.get("status") not in ("finished", None)
    ]
    found = [
        note("optimistic", [result.name for result in results if result.model.is_optimistic]),
        *(note("always_good", *of_rate) for of_rate in _no_better_than_good(results).items()),
        *(note("guessing", *of_metric) for of_metric in _guessing(results).items()),
        "" if costs is None else note("trivial_costs", costs, _no_cheaper(results, costs)),
        *(note("few_calibration_images", result) for result in results),
        note("fitted_with_defects", fitted),
        note("default_threshold", default),
        note("above_target", [result.name for result in results if _is_above_target(result)]),
        note("few_test_images", few),
        *(text for result in results for text in paragraphs("images", result, template=NOTES)),
        note("unfinished", unfinished),
    ]
    return [text for text in found if text]


def _no_better_than_good(results: Sequence[ModelMetrics]) -> dict[str, list[tuple[str, str]]]:
    """Models and their accuracy, by that of always predicting good where it is no lower."""
    found: dict[str, list[tuple[str, str]]] = {}
    for result in results:
        always_good = float((~result.model.images["is_defect"]).mean())
        accuracy = result.metrics.get(names.ACCURACY)
        if accuracy is not None and accuracy.value <= always_good < 1:
            of_rate = found.setdefault(format_fraction(always_good), [])
            of_rate.append((result.name, format_fraction(accuracy.value)))
    return found


def _guessing(results: Sequence[ModelMetrics]) -> dict[str, list[tuple[str, bool]]]:
    """Models not shown to be better than a random prediction, and whether they are worse."""
    found: dict[str, list[tuple[str, bool]]] = {names.BALANCED_ACCURACY: [], names.AUROC: []}
    for result in results:
        named = result.model.names_defects
        metric = names.BALANCED_ACCURACY if named else names.AUROC
        num_classes = result.model.images["label"].nunique() if named else 2
        estimate = result.metrics.get(metric)
        if estimate is None or estimate.ci_low is None or estimate.ci_high is None:
            continue
        if num_classes > 1 and estimate.ci_low <= (chance := 1 / num_classes):
            limits = format_limits(estimate.ci_low, estimate.ci_high)
            found[metric].append((f"{result.name} ({limits})", estimate.ci_high < chance))
    return found


def _no_cheaper(results: Sequence[ModelMetrics], costs: Costs) -> list[ModelMetrics]:
    """Models that are not shown to cost less than accepting, or rejecting, every part."""
    found = []
    for result in results:
        cost = result.metrics.get(names.EXPECTED_COST)
        if cost is not None and (cost.ci_high is None or cost.ci_high >= costs.of_no_model()[0]):
            found.append(result)
    return found


def _few_good_images(result: ModelMetrics) -> int | None:
    """The least number of good test images of a run; None where there are enough, or none."""
    rows = result.model.rows
    if result.model.names_defects or rows["is_defect"].all():
        return None
    fewest = int(rows[~rows["is_defect"]].groupby("run").size().min())
    return fewest if fewest < FEW_GOOD_IMAGES else None


def _is_above_target(result: ModelMetrics) -> bool:
    """Whether more good images are rejected than the target rate, beyond chance.

    For one run the randomness of its calibration counts too; over several it averages out.
    """
    thresholds, rejected = result.model.thresholds, result.metrics.get(names.FALSE_POSITIVE_RATE)
    target = thresholds[0].conformal_fpr if thresholds else None
    if rejected is None or target is None or not all(of.enough for of in thresholds):
        return False
    if len(thresholds) == 1:
        return exceeds_target_fpr(thresholds[0], round(rejected.value * rejected.n), rejected.n)
    return rejected.ci_low is not None and rejected.ci_low > target
