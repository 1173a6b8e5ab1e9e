"""The conclusion of a comparison: a recommendation with its reasons, or that none is justified.

Sentences, from metrics, pairwise comparisons and costs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.metrics.registry import LOWER_IS_BETTER, short_metric_label
from capsule_inspection.reports.comparison import localization, thresholds
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairwise import PairwiseComparison
from capsule_inspection.reports.comparison.pairwise_summary import find_winners
from capsule_inspection.reports.comparison.training_costs import (
    converged_epoch,
    epoch_time_s,
    from_record,
    generalization_gap,
    has_convergence,
    monitored_metric,
)
from capsule_inspection.reports.formatting import (
    format_duration,
    format_estimate,
    format_fraction,
    format_list,
    format_points,
    format_quantity,
)

TRAINING_TIME = from_record("training_time_s")
PARAMETERS = from_record("network", "parameters")
LARGE_GAP = 0.15
SIMILAR_TIME_RATIO = 1.25
"""Training times with a smaller ratio count as equal."""


@dataclass(frozen=True)
class Summary:
    """Sentences: the recommendation, the best models by metric, reasons and caveats."""

    recommendation: str
    best: list[str]
    reasons: list[str]
    caveats: list[str]


def summarize(results: Sequence[ModelMetrics], pairs: Sequence[PairwiseComparison]) -> Summary:
    """Which model to choose, as far as these runs show it."""
    return Summary(
        recommendation=_recommend(results, pairs),
        best=[
            *_best_models(results),
            *localization.sentences(results, pairs),
            *thresholds.sentences(results),
        ],
        reasons=[_reasons(result) for result in results],
        caveats=_caveats(results),
    )


def _best_models(results: Sequence[ModelMetrics]) -> list[str]:
    sentences = []
    has_balanced_accuracy = all(names.BALANCED_ACCURACY in result.metrics for result in results)
    quality = names.BALANCED_ACCURACY if has_balanced_accuracy else names.AUROC
    for metric in (quality, names.FALSE_NEGATIVE_RATE):
        known = [result for result in results if metric in result.metrics]
        if known:
            is_lower_better = metric in LOWER_IS_BETTER
            values = [result.metrics[metric].value for result in known]
            best = min(values) if is_lower_better else max(values)
            leaders = [result for result in known if result.metrics[metric].value == best]
            label = (
                "Fewest defects missed" if is_lower_better else f"Best {short_metric_label(metric)}"
            )
            sentences.append(
                f"{label}: {format_list([result.name for result in leaders])}, "
                f"{format_estimate(leaders[0].metrics[metric])}."
            )
    timed = [(cost.mean, result) for result in results if (cost := result.cost(TRAINING_TIME))]
    if timed:
        seconds, fastest = min(timed, key=lambda pair: pair[0])
        sentences.append(
            f"Quickest to train: {fastest.name}, {format_duration(seconds)} a training."
        )
    return sentences


def _recommend(results: Sequence[ModelMetrics], pairs: Sequence[PairwiseComparison]) -> str:
    if len(results) == 1:
        return f"One model only, {results[0].name}: there is nothing to compare it with."
    if pairs and all(pair.not_comparable for pair in pairs):
        return (
            "No choice is justified: no two of these models were tested on images that allow a "
            "comparison. The pairwise comparisons below say why."
        )
    candidates = _candidates(results, pairs)
    if len(candidates) == 1:
        return _recommend_winner(candidates[0], pairs)
    reason, is_indistinguishable = _why_no_choice(candidates, pairs)
    candidate_names = format_list([result.name for result in candidates])
    sentences = [f"No choice is justified between {candidate_names}: {reason}"]
    worse = [result.name for result in results if result not in candidates]
    if worse:
        sentences.append(f"{format_list(worse)} {'is' if len(worse) == 1 else 'are'} worse.")
    cheapest = _recommend_cheapest(candidates) if is_indistinguishable else None
    return " ".join([*sentences, *([cheapest] if cheapest else [])])


def _candidates(
    results: Sequence[ModelMetrics], pairs: Sequence[PairwiseComparison]
) -> list[ModelMetrics]:
    """The models that no other model dominates; all where each is dominated."""
    dominated = {loser for pair in pairs if (loser := _dominated(pair)) is not None}
    return [result for result in results if result.name not in dominated] or list(results)


def _dominated(pair: PairwiseComparison) -> str | None:
    """The model that is worse in a metric and better in none."""
    winners = set(find_winners(pair).values())
    if len(winners) != 1:
        return None
    return pair.second if winners == {pair.first} else pair.first


def _why_no_choice(
    candidates: Sequence[ModelMetrics], pairs: Sequence[PairwiseComparison]
) -> tuple[str, bool]:
    """Why several are left, and whether it is because they are not distinguishable."""
    pair_of = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    candidate_pairs = [
        pair_of.get(frozenset((first.name, second.name)))
        for first, second in itertools.combinations(candidates, 2)
    ]
    if any(pair and len(set(find_winners(pair).values())) > 1 for pair in candidate_pairs):
        return (
            "one is better in one metric and another in another, see the pairwise comparisons. "
            "Which metric matters is yours to decide.",
            False,
        )
    if any(pair is None or pair.not_comparable for pair in candidate_pairs):
        return (
            "not all of these were compared with each other, and those that were are not "
            "distinguishable on these images.",
            True,
        )
    return "they are not distinguishable on these images.", True


def _recommend_winner(winner: ModelMetrics, pairs: Sequence[PairwiseComparison]) -> str:
    won = [
        pair
        for pair in pairs
        if winner.name in (pair.first, pair.second) and _dominated(pair) is not None
    ]
    losers_by_metrics: dict[str, list[str]] = {}
    for pair in won:
        labels = format_list([short_metric_label(metric) for metric in find_winners(pair)])
        losers_by_metrics.setdefault(labels, []).append(str(_dominated(pair)))
    better = [
        f"than {format_list(losers)} in {labels}" for labels, losers in losers_by_metrics.items()
    ]
    text = f"{winner.name} is recommended: it is better {', and '.join(better)}."
    equal = [
        short_metric_label(metric)
        for metric in (names.ACCURACY, names.BALANCED_ACCURACY)
        if any(metric in pair.differences for pair in won)
        and not any(metric in find_winners(pair) for pair in won)
    ]
    if equal:
        text += f" In {format_list(equal)} they are not distinguishable on these images."
    uncertain = [
        short_metric_label(metric)
        for pair in won
        for metric in find_winners(pair)
        if pair.holds_after_retraining(metric) is False
    ]
    if uncertain:
        text += (
            " This holds on these images; that it would hold if all were retrained is not shown "
            f"for {format_list(list(dict.fromkeys(uncertain)))}, see the pairwise comparisons."
        )
    return text


def _recommend_cheapest(candidates: Sequence[ModelMetrics]) -> str | None:
    """The cheapest: by training time, or by parameters where the times are similar."""
    timed = [(result, cost.mean) for result in candidates if (cost := result.cost(TRAINING_TIME))]
    sized = [(result, cost.mean) for result in candidates if (cost := result.cost(PARAMETERS))]
    if len(timed) < 2:
        return None
    fastest, slowest = min(timed, key=_get_cost), max(timed, key=_get_cost)
    note = "That is a choice by cost, not by quality."
    if slowest[1] > SIMILAR_TIME_RATIO * fastest[1]:
        return (
            f"If one must be taken, take the quickest to train, {fastest[0].name}: "
            f"{format_duration(fastest[1])} against up to {format_duration(slowest[1])} "
            f"({slowest[0].name}). {note}"
        )
    smallest, largest = min(sized, key=_get_cost), max(sized, key=_get_cost)
    if len(sized) < 2 or smallest[1] == largest[1]:
        return "They cost about the same, so either will do."
    return (
        f"If one must be taken, take the smallest, {smallest[0].name}: "
        f"{format_quantity(smallest[1])} parameters against up to {format_quantity(largest[1])} "
        f"({largest[0].name}), at about the same training time. {note}"
    )


def _get_cost(pair: tuple[ModelMetrics, float]) -> float:
    return pair[1]


def _reasons(result: ModelMetrics) -> str:
    """What the training curves and the record show for one model."""
    parts = [_describe_gap(result), _describe_convergence(result)]
    epoch, parameters = result.cost(epoch_time_s), result.cost(PARAMETERS)
    if epoch is not None:
        parts.append(f"{format_duration(epoch.mean)} an epoch")
    if parameters is not None:
        parts.append(f"{format_quantity(parameters.mean)} parameters")
    parts.append(f"initial weights: {result.weights}")
    return f"{result.name}: {'; '.join(part for part in parts if part)}."


def _describe_gap(result: ModelMetrics) -> str:
    gap = result.cost(generalization_gap)
    if gap is None:
        return ""
    metric = short_metric_label(monitored_metric(result.model.runs[0]) or "")
    side = "above" if gap.mean > 0 else "below"
    conclusion = "it generalizes to new images"
    if gap.mean > LARGE_GAP:
        conclusion = "it overfits its training images"
    elif gap.mean < -LARGE_GAP:
        conclusion = "the augmented training images are harder for it"
    distance = format_points(abs(gap.mean)).lstrip("+")
    return f"{metric} in training is {distance} points {side} validation, so {conclusion}"


def _describe_convergence(result: ModelMetrics) -> str:
    runs = sum(has_convergence(run) for run in result.model.runs)
    if not runs:
        return ""
    converged = result.cost(converged_epoch)
    if converged is None:
        return "it did not converge" if runs == 1 else f"none of {runs} trainings converged"
    if converged.count == runs:
        return f"converged at epoch {converged.mean:.0f}"
    return f"{converged.count} of {runs} trainings converged, at epoch {converged.mean:.0f}"


def _caveats(results: Sequence[ModelMetrics]) -> list[str]:
    caveats = []
    optimistic = [result.name for result in results if result.model.is_optimistic]
    if optimistic:
        caveats.append(
            f"Optimistic: {format_list(optimistic)}. Some of the images that these metrics are "
            "measured on selected the epoch or were used to fit the post-processing or to train; "
            "expect less on new images."
        )
    caveats += _trivial_classifiers(results)
    caveats += _random_scores(results)
    caveats += thresholds.caveats(results)
    caveats += localization.caveats(results)
    caveats += [
        f"{result.name}: {result.model.num_dropped} images are left out, since not every seed "
        "was tested on them."
        for result in results
        if result.model.num_dropped
    ]
    unfinished = [
        f"{run.path.name} ({run.record.get('status')})"
        for result in results
        for run in result.model.runs
        if run.record.get("status") not in ("finished", None)
    ]
    if unfinished:
        caveats.append(f"Not trained to the end: {format_list(unfinished)}.")
    return caveats


def _trivial_classifiers(results: Sequence[ModelMetrics]) -> list[str]:
    """Classifiers no better than predicting good for every image, or than guessing."""
    classifiers = [result for result in results if names.BALANCED_ACCURACY in result.metrics]
    below: dict[str, list[str]] = {}
    for result in classifiers:
        always_good = float((~result.model.is_defect).mean())
        accuracy = result.metrics[names.ACCURACY].value
        if accuracy <= always_good:
            below.setdefault(format_fraction(always_good), []).append(
                f"{result.name} has {format_fraction(accuracy)}"
            )
    caveats = [
        f"Predicting good for every image would have accuracy {always_good}: {format_list(found)}."
        for always_good, found in below.items()
    ]
    guessing = [
        result.name
        for result in classifiers
        if len(set(result.model.labels.tolist())) > 1
        and (low := result.metrics[names.BALANCED_ACCURACY].ci_low) is not None
        and low <= 1 / len(set(result.model.labels.tolist()))
    ]
    if guessing:
        caveats.append(
            f"Not shown to be better than guessing, by balanced accuracy: {format_list(guessing)}."
        )
    return caveats


def _random_scores(results: Sequence[ModelMetrics]) -> list[str]:
    """Models without class probabilities whose AUROC may be 0.5."""
    guessing = [
        result.name
        for result in results
        if not result.model.has_probabilities
        and (auroc := result.metrics.get(names.AUROC)) is not None
        and auroc.ci_low is not None
        and auroc.ci_low <= 1 / 2
    ]
    if not guessing:
        return []
    return [f"Not shown to be better than guessing, by AUROC: {format_list(guessing)}."]
