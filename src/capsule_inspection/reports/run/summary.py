"""The summary that opens the page: expected results for 100 parts, and how reliable they are.

Sentences, in plain text, from the metrics and the record of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.metrics.thresholds import (
    CONFORMAL,
    F1,
    SIGMA,
    Threshold,
    exceeds_target_fpr,
)
from capsule_inspection.reports.formatting import format_list, format_rate
from capsule_inspection.reports.run import localization_summary, usability
from capsule_inspection.reports.run.run_folder import SELECTION_OVERLAP, TRAINING_OVERLAP, RunFolder
from capsule_inspection.reports.run.usability import Usability
from capsule_inspection.types import TEST, Estimate

FEW_IMAGES = 60
"""With fewer images the interval of a perfect result still reaches 6%."""

_MAX_LISTED_CLASSES = 3
_Z_SQUARED = 1.959964**2


@dataclass(frozen=True)
class Summary:
    """Sentences: the usability of the model, its rule, results and warnings."""

    usability: str
    rule: str
    sentences: list[str]
    warnings: list[str]


def summarize(run: RunFolder, stage: str) -> Summary:
    """The summary of a run, from the metrics of one split.

    Raises RunError where the record of the threshold or the post-processing is not as expected.
    """
    metrics = names.metrics_of_stage(run.metrics, stage)
    threshold = run.threshold
    sentences = [
        *_describe_error_rates(metrics),
        *_describe_accuracy(metrics),
        *_describe_worst_classes(metrics, run),
        *localization_summary.mask_sentences(run, metrics),
        *localization_summary.pointing_sentences(run, metrics),
        *localization_summary.post_processing_sentences(run),
        *_describe_threshold(threshold),
        *_suggest_other_threshold(metrics),
    ]
    warnings = [
        *_warn_of_optimism(run, stage),
        *_warn_of_threshold(threshold, metrics.get(names.FALSE_POSITIVE_RATE)),
        *localization_summary.post_processing_warnings(run),
        *_warn_of_few_images(metrics),
    ]
    return Summary(_describe_usability(metrics), usability.RULE, sentences, warnings)


def _describe_usability(metrics: Mapping[str, Estimate]) -> str:
    found = usability.rate_usability(metrics)
    if found is not Usability.NOT_USABLE:
        return f"Verdict: {found.value}"
    texts = {
        names.FALSE_POSITIVE_RATE: "good parts are rejected",
        names.FALSE_NEGATIVE_RATE: "defective parts are missed",
    }
    too_high = [text for name, text in texts.items() if metrics[name].value > usability.PRESORT]
    return f"Verdict: {found.value}: more than 20 of 100 {format_list(too_high)}."


def _describe_error_rates(metrics: Mapping[str, Estimate]) -> list[str]:
    texts = {
        names.FALSE_POSITIVE_RATE: ("Of 100 good parts", "rejected"),
        names.FALSE_NEGATIVE_RATE: ("Of 100 defective ones", "missed"),
    }
    return [
        f"{parts} about {per_hundred(metrics[name].value)} would be {result}"
        f"{_format_interval(metrics[name])}."
        for name, (parts, result) in texts.items()
        if name in metrics
    ]


def per_hundred(fraction: float) -> str:
    """How many of a hundred: `4`, `0.4`; never 0 or 100 unless it is exact."""
    rounded = f"{math.floor(100 * fraction + 0.5)}"
    is_inexact = (rounded == "0" and fraction > 0) or (rounded == "100" and fraction < 1)
    if not is_inexact:
        return rounded
    return f"{100 * fraction:.1g}" if fraction < 0.5 else "over 99"


def _format_interval(estimate: Estimate) -> str:
    measured = f"measured on {estimate.n} images"
    if estimate.ci_low is None or estimate.ci_high is None:
        return f" ({measured})"
    low, high = per_hundred(estimate.ci_low), per_hundred(estimate.ci_high)
    return f" (95% interval: {low} to {high}; {measured})"


def _describe_accuracy(metrics: Mapping[str, Estimate]) -> list[str]:
    if names.ACCURACY not in metrics:
        return []
    accuracy = metrics[names.ACCURACY]
    return [
        f"Of 100 parts about {per_hundred(accuracy.value)} are classified correctly, as good or as "
        f"their type of defect{_format_interval(accuracy)}."
    ]


def _describe_worst_classes(metrics: Mapping[str, Estimate], run: RunFolder) -> list[str]:
    recalls = names.class_metrics(metrics, names.RECALL)
    defects = {name: recall for name, recall in recalls.items() if name != run.normal_class}
    if not defects:
        return []
    errors = {name: round(recall.n * (1 - recall.value)) for name, recall in defects.items()}
    worst = sorted((name for name in defects if errors[name]), key=lambda n: defects[n].value)
    wrong, right = ("misclassified", "classified correctly") if run.classes else (
        "missed", "rejected")  # fmt: skip
    if not worst:
        return [f"Each of the {sum(r.n for r in defects.values())} defect images was {right}."]
    listed = [f"{name} ({errors[name]} of {defects[name].n})" for name in worst]
    sentence = f"Most often {wrong}: {format_list(listed[:_MAX_LISTED_CLASSES])}."
    never = [name for name in defects if not errors[name]]
    return [sentence + (f" Never: {format_list(never)}." if never else "")]


def _describe_threshold(threshold: Threshold | None) -> list[str]:
    if threshold is None or threshold.rule == F1:
        return []
    images = f"{threshold.good_images} good images that are used for nothing else"
    if threshold.rule == SIGMA:
        return [
            f"The threshold is the mean score of {images}, plus a number of standard deviations: "
            "a rule of thumb without a guaranteed false-positive rate."
        ]
    if not threshold.enough or threshold.target_fpr is None:
        return []
    return [
        f"The threshold was set on {images}, so that at most "
        f"{per_hundred(threshold.target_fpr)} of 100 good parts should be rejected. That takes "
        f"at least {threshold.required_images} of them, so there were enough."
    ]


def _warn_of_threshold(threshold: Threshold | None, rejected: Estimate | None) -> list[str]:
    if threshold is None:
        return []
    if threshold.rule == F1:
        return [
            f"The threshold was fitted with {threshold.defect_images} defect images (rule f1), so "
            "these are not the metrics of one-class training: without labelled defects they cannot "
            "be reached."
        ]
    if threshold.rule != CONFORMAL or threshold.target_fpr is None:
        return []
    target = format_rate(threshold.target_fpr)
    if not threshold.enough:
        return [
            f"Too few good images set the threshold: {threshold.good_images}, where a "
            f"false-positive rate of {target} takes at least {threshold.required_images}. It is "
            f"the highest of their scores, so about {per_hundred(1 / (threshold.good_images + 1))} "
            "of 100 good parts must be expected to be rejected."
        ]
    if rejected is None:
        return []
    count = round(rejected.value * rejected.n)
    if exceeds_target_fpr(threshold, count, rejected.n):
        return [
            f"More good images are rejected than the target of {target}, beyond chance: those of "
            "the test differ from those that set the threshold."
        ]
    return []


def _suggest_other_threshold(metrics: Mapping[str, Estimate]) -> list[str]:
    if not usability.needs_other_threshold(metrics):
        return []
    return [
        "The scores rank most defects above most good parts "
        f"(AUROC {metrics[names.AUROC].value:.2f}): another threshold would be better."
    ]


def _warn_of_optimism(run: RunFolder, stage: str) -> list[str]:
    warnings = []
    trained, selected = run.record.get(TRAINING_OVERLAP), run.record.get(SELECTION_OVERLAP)
    if trained:
        warnings.append(
            f"Optimistic: {trained} of these images were used for training. In production expect "
            "worse."
        )
    elif selected:
        warnings.append(
            f"Optimistic: {selected} of these images were used to select the epoch or to fit the "
            "post-processing. In production expect worse."
        )
    elif run.record.get("optimistic"):
        is_fitted = run.has_masks or run.temperature_scaling is not None
        chosen = "epoch and post-processing were" if is_fitted else "the epoch was"
        warnings.append(
            f"Optimistic: {chosen} chosen on the very images that these metrics are measured on. "
            "In production expect worse."
        )
    if stage != TEST:
        warnings.append(
            f"There are no test images: the metrics are those of the split “{stage}”, on which "
            "choices may have been made. In production expect worse."
        )
    return warnings


def _warn_of_few_images(metrics: Mapping[str, Estimate]) -> list[str]:
    labels = {names.FALSE_POSITIVE_RATE: "good", names.FALSE_NEGATIVE_RATE: "defective"}
    few = {
        label: metrics[name].n
        for name, label in labels.items()
        if name in metrics and metrics[name].n < FEW_IMAGES
    }
    if not few:
        return []
    tested = format_list([f"{n} {label} images" for label, n in few.items()])
    possible = format_list(
        [f"{per_hundred(_max_error_rate(n))} of 100 {label} parts" for label, n in few.items()]
    )
    return [
        f"Only {tested} were tested. Even without a single mistake on them, up to {possible} could "
        "be classified wrongly in production."
    ]


def _max_error_rate(n: int) -> float:
    """Upper end of the Wilson interval of 0 among n."""
    return _Z_SQUARED / (n + _Z_SQUARED)
