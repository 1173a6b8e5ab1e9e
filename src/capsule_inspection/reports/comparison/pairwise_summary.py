"""Pairwise comparisons as sentences: plain text, escaped by whoever puts them on a page."""

from __future__ import annotations

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired_tests import PairedDifference
from capsule_inspection.metrics.registry import LOWER_IS_BETTER, short_metric_label
from capsule_inspection.reports.comparison.pairwise import SUMMARY_METRICS, PairwiseComparison
from capsule_inspection.reports.comparison.retraining_test import RetrainingTest
from capsule_inspection.reports.formatting import (
    format_count,
    format_fraction,
    format_list,
    format_p_value,
    format_points,
)


def find_winners(pair: PairwiseComparison) -> dict[str, str]:
    """The better model by each metric with a significant difference."""
    return {
        metric: _winner(pair, metric)
        for metric in SUMMARY_METRICS
        if metric in pair.differences and pair.is_significant(metric)
    }


def _winner(pair: PairwiseComparison, metric: str) -> str:
    is_higher = pair.differences[metric].value > 0
    return pair.first if is_higher != (metric in LOWER_IS_BETTER) else pair.second


def headline(pair: PairwiseComparison) -> str:
    """Which model is better, in one sentence, or that there is no significant difference."""
    both = f"{pair.first} and {pair.second}"
    if pair.not_comparable:
        return f"{both} cannot be compared."
    winners = find_winners(pair)
    if not winners:
        return f"{both}: not distinguishable on these {pair.num_images} images."
    metrics_of: dict[str, list[str]] = {}
    for metric, winner in winners.items():
        metrics_of.setdefault(winner, []).append(short_metric_label(metric))
    parts = [
        f"{winner} is better in {format_list(labels)}" for winner, labels in metrics_of.items()
    ]
    return f"{both}: {', but '.join(parts)}."


def details(pair: PairwiseComparison) -> list[str]:
    """The sentences behind a headline: counts, tests, required images, retraining."""
    if pair.not_comparable:
        return [f"{pair.not_comparable[0].upper()}{pair.not_comparable[1:]}."]
    sentences = [
        _describe_shared_images(pair),
        _describe_auroc(pair),
        _describe_accuracy(pair),
        _describe_required_images(pair),
        _describe_masks(pair),
        _describe_required_masks(pair),
    ]
    tests = pair.retraining_tests or {}
    sentences += [_describe_retraining(pair, metric, test) for metric, test in tests.items()]
    return [sentence for sentence in sentences if sentence]


def format_interval(difference: PairedDifference) -> str:
    """The interval of a difference in points, in brackets."""
    if difference.ci_low is None or difference.ci_high is None:
        return ""
    return f" ({format_points(difference.ci_low)} to {format_points(difference.ci_high)})"


def format_test(difference: PairedDifference) -> str:
    """The test and its p value, or why there is none."""
    if difference.p_value is None:
        return f"not tested, {difference.test}"
    return f"{difference.test}, p {format_p_value(difference.p_value)}"


def _format_corrected_test(pair: PairwiseComparison, metric: str) -> str:
    """The test with its p value, and the corrected one where there are several pairs."""
    text = format_test(pair.differences[metric])
    if pair.num_pairs(metric) > 1 and metric in pair.corrected_p_values:
        corrected = format_p_value(pair.corrected_p_values[metric])
        text += f", corrected for {pair.num_pairs(metric)} pairs p {corrected}"
    return text


def _describe_shared_images(pair: PairwiseComparison) -> str:
    if {pair.num_first_images, pair.num_second_images} == {pair.num_images}:
        return ""
    return (
        f"Compared on the {pair.num_images} images that both were tested on, of "
        f"{pair.num_first_images} and {pair.num_second_images}; on all of them either may differ."
    )


def _describe_auroc(pair: PairwiseComparison) -> str:
    """On which images AUROC is compared, where that is not all of them."""
    if pair.missing_auroc:
        return f"{pair.missing_auroc}."
    auroc = pair.differences.get(names.AUROC)
    if auroc is None or auroc.n == pair.num_images:
        return ""
    return (
        f"AUROC is compared on {auroc.n} of these images: those that both were tested on in the "
        "same fold."
    )


def _describe_accuracy(pair: PairwiseComparison) -> str:
    if pair.num_correct is None:
        return ""
    difference = pair.differences[names.ACCURACY]
    first, second = map(format_count, pair.num_correct)
    return (
        f"{first} against {second} of the same {pair.num_images} images are classified correctly, "
        f"{format_points(difference.value)} points{format_interval(difference)}. Only {pair.first} "
        f"is right on {format_count(pair.num_only_first)}, only {pair.second} on "
        f"{format_count(pair.num_only_second)}: {_format_corrected_test(pair, names.ACCURACY)}."
    )


def _describe_required_images(pair: PairwiseComparison) -> str:
    if pair.num_correct is None or pair.is_significant(names.ACCURACY):
        return ""
    if pair.required_images is None:
        return "Equally many are right: there is no difference that more images could show."
    pairs = pair.num_pairs(names.ACCURACY)
    return _format_required(pair.required_images, pair.num_images, pairs)


def _format_required(required: int, available: int, pairs: int) -> str:
    correction = f", corrected for {pairs} pairs" if pairs > 1 else ""
    return (
        f"To detect a difference of this size, about {required:,} test images would be "
        f"needed; there are {available} (power 80%{correction})."
    )


def _describe_masks(pair: PairwiseComparison) -> str:
    """How well the two segment defects, and on which images."""
    if pair.missing_masks:
        return f"{pair.missing_masks}."
    masks = pair.masks
    if masks is None:
        return ""
    metric = names.BINARY_DICE_GLOBAL
    difference = pair.differences[metric]
    first, second = map(format_fraction, masks.dice)
    return (
        f"Segmentation: {short_metric_label(metric)} {first} against {second} on the same "
        f"{masks.num_images} images, {masks.num_defects} of them with a defect: "
        f"{format_points(difference.value)} points{format_interval(difference)}, "
        f"{_format_corrected_test(pair, metric)}."
    )


def _describe_required_masks(pair: PairwiseComparison) -> str:
    masks, metric = pair.masks, names.BINARY_DICE_GLOBAL
    if masks is None or masks.required_images is None or pair.is_significant(metric):
        return ""
    return _format_required(masks.required_images, masks.num_images, pair.num_pairs(metric))


def _describe_retraining(pair: PairwiseComparison, metric: str, test: RetrainingTest) -> str:
    holds = pair.holds_after_retraining(metric)
    difference = test.difference
    conclusion = {True: "it holds", False: "not shown to hold", None: "not known"}[holds]
    same_sign = difference.value * pair.differences[metric].value > 0
    if holds and not (pair.is_significant(metric) and same_sign):
        conclusion = "over trainings there is a difference, which these images alone do not show"
    return (
        f"Retrained on other images from the same source, {short_metric_label(metric)}: "
        f"{conclusion}. Over {test.num_trainings} pairs of trainings "
        f"{format_points(difference.value)} points{format_interval(difference)}; t test "
        "corrected for overlapping training sets (Nadeau and Bengio) "
        f"p {format_p_value(difference.p_value)}.{_describe_always_tested(test)}"
    )


def _describe_always_tested(test: RetrainingTest) -> str:
    if not test.num_always_tested:
        return ""
    return (
        f" {test.num_always_tested} images, the defects of one-class runs, are in every test "
        "split, so this says nothing about other defects."
    )
