"""Statistical comparison of every pair of models on the images that both predicted.

The tests are those of `metrics.paired_tests`; here it is decided which are made, on which images,
and how they are corrected for their number. `pairwise_summary` puts the results into sentences.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired_tests import (
    PairedDifference,
    balanced_accuracy_difference,
    holm,
    proportion_difference,
    required_sample_size,
)
from capsule_inspection.reports.comparison import paired_auroc, paired_masks
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.model_runs import ModelRuns
from capsule_inspection.reports.comparison.paired_auroc import SharedRows
from capsule_inspection.reports.comparison.retraining_test import (
    RetrainingTest,
    run_retraining_tests,
)
from capsule_inspection.reports.comparison.validation_ranking import best_on_validation

SIGNIFICANCE = 0.05
SUMMARY_METRICS = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.AUROC,
    names.FALSE_NEGATIVE_RATE,
    names.FALSE_POSITIVE_RATE,
    names.BINARY_DICE_GLOBAL,
    names.MEAN_IOU_GLOBAL,
)
"""Metrics that decide which of two models is better."""
MAX_MODELS_FOR_ALL_PAIRS = 8
"""With more models than this, each is compared with a reference only."""


@dataclass(frozen=True)
class PairwiseComparison:
    """Two models on the images that they share.

    `differences` are first minus second by metric; `corrected_p_values` are corrected for the
    number of pairs that were tested by the metric (Holm), which is in `num_tests`. `num_images`
    are shared, `num_first_images` and `num_second_images` are those of each model. `num_correct`
    counts the images that each predicts correctly, `num_only_first` those that only the first does
    (over several seeds: mean fractions, summed). `missing_auroc` and `missing_masks` explain why
    AUROC and segmentation are not compared, `not_comparable` why nothing is; then all else is
    empty.
    """

    first: str
    second: str
    num_images: int
    num_first_images: int
    num_second_images: int
    differences: dict[str, PairedDifference] = field(default_factory=dict)
    corrected_p_values: dict[str, float] = field(default_factory=dict)
    num_correct: tuple[float, float] | None = None
    num_only_first: float = 0.0
    num_only_second: float = 0.0
    required_images: int | None = None
    masks: paired_masks.PairedMasks | None = None
    retraining_tests: dict[str, RetrainingTest] | None = None
    num_tests: dict[str, int] = field(default_factory=dict)
    missing_auroc: str | None = None
    missing_masks: str | None = None
    not_comparable: str | None = None

    def is_significant(self, metric: str) -> bool:
        """Whether the two differ significantly in a metric, on these images."""
        return self.corrected_p_values.get(metric, 1.0) < SIGNIFICANCE

    def num_pairs(self, metric: str) -> int:
        """How many pairs were tested by a metric."""
        return self.num_tests.get(metric, 1)

    def holds_after_retraining(self, metric: str) -> bool | None:
        """Whether the difference exceeds the variation between trainings; None: not known."""
        test = (self.retraining_tests or {}).get(metric)
        if test is None or test.difference.p_value is None:
            return None
        return test.difference.p_value < SIGNIFICANCE


def compare_pairs(
    results: Sequence[ModelMetrics], *, reference: str | None = None
) -> list[PairwiseComparison]:
    """Compare every pair, or each model with a reference.

    Above eight models the reference is the best on validation unless another is named.
    """
    pairs = [(first.model, second.model) for first, second in _choose_pairs(results, reference)]
    rows = [_shared_rows(*pair) for pair in pairs]
    reasons = [_not_comparable(*pair, *shared) for pair, shared in zip(pairs, rows, strict=True)]
    tested = [pair for pair, reason in zip(pairs, reasons, strict=True) if not reason]
    num_accuracy_tests = sum(
        first.has_probabilities and second.has_probabilities for first, second in tested
    )
    num_mask_tests = sum(
        first.has_masks and second.has_masks and paired_masks.explain_missing(first, second) is None
        for first, second in tested
    )
    comparisons = [
        _compare_pair(
            *pair,
            shared,
            reason,
            accuracy_alpha=SIGNIFICANCE / max(1, num_accuracy_tests),
            mask_alpha=SIGNIFICANCE / max(1, num_mask_tests),
        )
        for pair, shared, reason in zip(pairs, rows, reasons, strict=True)
    ]
    return _correct(comparisons)


def _choose_pairs(
    results: Sequence[ModelMetrics], reference: str | None
) -> list[tuple[ModelMetrics, ModelMetrics]]:
    if reference is None and len(results) <= MAX_MODELS_FOR_ALL_PAIRS:
        return list(itertools.combinations(results, 2))
    against = (
        best_on_validation(results)
        if reference is None
        else next(result for result in results if result.name == reference)
    )
    return [(against, other) for other in results if other is not against]


def _compare_pair(
    first: ModelRuns,
    second: ModelRuns,
    rows: SharedRows,
    not_comparable: str | None,
    *,
    accuracy_alpha: float,
    mask_alpha: float,
) -> PairwiseComparison:
    """The alphas are the levels, corrected for the number of pairs, for the required images."""
    pair = PairwiseComparison(
        first.name, second.name, len(rows[0]), len(first.image_ids), len(second.image_ids)
    )
    if not_comparable:
        return replace(pair, not_comparable=not_comparable)
    differences = _compute_differences(first, second, rows)
    masks = paired_masks.compare_masks(first, second, alpha=mask_alpha)
    pair = replace(
        pair,
        differences=differences | (masks.differences if masks else {}),
        retraining_tests=run_retraining_tests(first, second),
        masks=masks,
        missing_masks=None if masks else paired_masks.explain_missing(first, second),
    )
    if not (first.has_probabilities and second.has_probabilities):
        has_auroc = names.AUROC in differences or not _has_good_and_defects(first, rows[0])
        missing = None if has_auroc else paired_auroc.explain_missing(first, second)
        return replace(pair, missing_auroc=missing)
    correct = first.fraction_correct[rows[0]], second.fraction_correct[rows[1]]
    return replace(
        pair,
        num_correct=(float(correct[0].sum()), float(correct[1].sum())),
        num_only_first=float(np.maximum(correct[0] - correct[1], 0).sum()),
        num_only_second=float(np.maximum(correct[1] - correct[0], 0).sum()),
        required_images=required_sample_size(*correct, alpha=accuracy_alpha),
    )


def _shared_rows(first: ModelRuns, second: ModelRuns) -> SharedRows:
    """Rows of the images that both were tested on, in one order: two of (N,) int64."""
    shared = [image_id for image_id in first.image_ids.tolist() if image_id in second.row_of]
    return (
        np.array([first.row_of[image_id] for image_id in shared], dtype=np.int64),
        np.array([second.row_of[image_id] for image_id in shared], dtype=np.int64),
    )


def _not_comparable(
    first: ModelRuns, second: ModelRuns, first_rows: np.ndarray, second_rows: np.ndarray
) -> str | None:
    """Why two models cannot be compared; None where they can."""
    if not len(first_rows):
        return (
            "they were tested on different images and share none, so only their intervals stand "
            "beside each other. Train or evaluate both with the same split (split=manifest "
            "split.path=<run>/split.csv)"
        )
    if first.has_probabilities and second.has_probabilities:
        labels = first.labels[first_rows], second.labels[second_rows]
    else:
        labels = first.is_defect[first_rows], second.is_defect[second_rows]
    differing = int((labels[0] != labels[1]).sum())
    if differing:
        return (
            f"{differing} of the {len(first_rows)} images that they share have another label in "
            "one than in the other. Bring the labels into agreement and evaluate both again"
        )
    if not (first.has_probabilities and second.has_probabilities):
        return _only_good_or_only_defects(first, second, first_rows)
    return None


def _only_good_or_only_defects(
    first: ModelRuns, second: ModelRuns, first_rows: np.ndarray
) -> str | None:
    """Why two models cannot be compared that share only good images or only defects.

    One-class models of different folds are such a case: they share their defects.
    """
    everywhere = all(
        _has_good_and_defects(model, np.arange(len(model.image_ids))) for model in (first, second)
    )
    if not everywhere or _has_good_and_defects(first, first_rows):
        return None
    shared, missing = "defects", "good images"
    if not first.is_defect[first_rows[0]]:
        shared, missing = missing, shared
    return (
        f"they were tested on the same {shared} but share no {missing}, so missed defects cannot "
        "be weighed against rejected good images. Train both on the same folds (split.fold) of the "
        "same split"
    )


def _has_good_and_defects(model: ModelRuns, rows: np.ndarray) -> bool:
    return bool(0 < model.is_defect[rows].sum() < len(rows))


def _compute_differences(
    first: ModelRuns, second: ModelRuns, rows: SharedRows
) -> dict[str, PairedDifference]:
    first_rows, second_rows = rows
    is_defect = first.is_defect[first_rows]
    rejected = first.fraction_rejected[first_rows], second.fraction_rejected[second_rows]
    differences: dict[str, PairedDifference] = {}
    if first.has_probabilities and second.has_probabilities:
        correct = first.fraction_correct[first_rows], second.fraction_correct[second_rows]
        labels = np.unique(first.labels[first_rows], return_inverse=True)[1]
        differences[names.ACCURACY] = proportion_difference(*correct)
        differences[names.BALANCED_ACCURACY] = balanced_accuracy_difference(*correct, labels)
    if is_defect.any():
        missed = (1.0 - fraction[is_defect] for fraction in rejected)
        differences[names.FALSE_NEGATIVE_RATE] = proportion_difference(*missed)
    if not is_defect.all():
        false_alarms = (fraction[~is_defect] for fraction in rejected)
        differences[names.FALSE_POSITIVE_RATE] = proportion_difference(*false_alarms)
    auroc = paired_auroc.paired_auroc_difference(first, second, rows)
    if auroc is not None:
        differences[names.AUROC] = auroc
    return differences


def _correct(comparisons: list[PairwiseComparison]) -> list[PairwiseComparison]:
    """Correct the p values of each metric for the number of pairs (Holm)."""
    corrected: list[dict[str, float]] = [{} for _ in comparisons]
    num_tests: dict[str, int] = {}
    retraining = [dict(comparison.retraining_tests or {}) for comparison in comparisons]
    for metric in dict.fromkeys(key for pair in comparisons for key in pair.differences):
        p_values = _collect_p_values(comparisons, partial(_get_difference, metric=metric))
        num_tests[metric] = max(1, len(p_values))
        for row, p_value in _holm(p_values).items():
            corrected[row][metric] = p_value
    for metric in dict.fromkeys(key for tests in retraining for key in tests):
        p_values = _collect_p_values(comparisons, partial(_get_retraining, metric=metric))
        for row, p_value in _holm(p_values).items():
            test = retraining[row][metric]
            difference = replace(test.difference, p_value=p_value)
            retraining[row][metric] = replace(test, difference=difference)
    return [
        replace(
            comparison,
            corrected_p_values=p_values_of_pair,
            retraining_tests=tests or None,
            num_tests=num_tests,
        )
        for comparison, p_values_of_pair, tests in zip(
            comparisons, corrected, retraining, strict=True
        )
    ]


def _get_difference(comparison: PairwiseComparison, metric: str) -> PairedDifference | None:
    return comparison.differences.get(metric)


def _get_retraining(comparison: PairwiseComparison, metric: str) -> PairedDifference | None:
    test = (comparison.retraining_tests or {}).get(metric)
    return None if test is None else test.difference


def _collect_p_values(
    comparisons: Sequence[PairwiseComparison],
    get_difference: Callable[[PairwiseComparison], PairedDifference | None],
) -> dict[int, float]:
    differences = {row: get_difference(pair) for row, pair in enumerate(comparisons)}
    return {
        row: difference.p_value
        for row, difference in differences.items()
        if difference is not None and difference.p_value is not None
    }


def _holm(p_values: dict[int, float]) -> dict[int, float]:
    if not p_values:
        return {}
    return dict(zip(p_values, holm(list(p_values.values())).tolist(), strict=True))
