"""The answer first: which is best, what is recommended and why, or that nothing can be.

Sentences computed from the figures, the verdicts and the costs; nothing is said that they do not.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import thresholds, where, words
from capsule_inspection.reports.comparison.measured import (
    Measured,
    converged_epoch,
    epoch_time_s,
    from_record,
    gap,
    monitored,
    shows_convergence,
)
from capsule_inspection.reports.comparison.verdicts import Verdict

TRAINING_TIME = from_record("training_time_s")
PARAMETERS = from_record("network", "parameters")
LARGE_GAP = 0.15
SAME_TIME = 1.25
"""Trainings whose times differ by less cost about the same."""


@dataclass(frozen=True)
class Answer:
    """Sentences: what is recommended, who is best by what, why, and what a reader must know."""

    recommendation: str
    best: list[str]
    reasons: list[str]
    caveats: list[str]
    candidates: list[str]


def answer(measured: Sequence[Measured], verdicts: Sequence[Verdict]) -> Answer:
    """Which model may be trusted, as far as these runs say."""
    candidates = _candidates(measured, verdicts)
    return Answer(
        recommendation=_recommendation(measured, candidates, verdicts),
        best=[
            *_best(measured),
            *where.sentences(measured, verdicts),
            *thresholds.sentences(measured),
        ],
        reasons=[_reasons(one) for one in measured],
        caveats=_caveats(measured),
        candidates=[one.name for one in candidates],
    )


def ranking_metric(measured: Sequence[Measured]) -> str:
    """Balanced accuracy where all name the defect, else what all share."""
    return (
        names.BALANCED_ACCURACY
        if all(one.value(names.BALANCED_ACCURACY) is not None for one in measured)
        else names.AUROC
    )


def _best(measured: Sequence[Measured]) -> list[str]:
    told = []
    for metric in (ranking_metric(measured), names.DEFECTS_MISSED):
        with_it = [one for one in measured if metric in one.figures]
        if with_it:
            lower = metric in names.LOWER_IS_BETTER
            values = [one.figures[metric].value for one in with_it]
            top = min(values) if lower else max(values)
            leaders = [one for one in with_it if one.figures[metric].value == top]
            how = "Fewest defects missed" if lower else f"Best {words.metric(metric)}"
            told.append(
                f"{how}: {words.listed([one.name for one in leaders])}, "
                f"{words.figure(leaders[0].figures[metric])}."
            )
    timed = [(cost.mean, one) for one in measured if (cost := one.cost(TRAINING_TIME))]
    if timed:
        seconds, quickest = min(timed, key=lambda pair: pair[0])
        told.append(f"Quickest to train: {quickest.name}, {words.duration(seconds)} a training.")
    return told


def _candidates(measured: Sequence[Measured], verdicts: Sequence[Verdict]) -> list[Measured]:
    """Those that nobody was shown to be better than, in any figure in which they are not better."""
    beaten = {loser for verdict in verdicts if (loser := _loser(verdict)) is not None}
    left = [one for one in measured if one.name not in beaten]
    return left or list(measured)


def _loser(verdict: Verdict) -> str | None:
    """The one that is worse in a figure and better in none."""
    winners = set(words.winners(verdict).values())
    if len(winners) != 1:
        return None
    return verdict.second if winners == {verdict.first} else verdict.first


def _recommendation(
    measured: Sequence[Measured],
    candidates: Sequence[Measured],
    verdicts: Sequence[Verdict],
) -> str:
    if len(measured) == 1:
        return f"One model only, {measured[0].name}: there is nothing to compare it with."
    if verdicts and all(verdict.refused for verdict in verdicts):
        return (
            "No choice is justified: no two of these models were tested on images that allow a "
            "comparison. The verdicts below say why."
        )
    if len(candidates) == 1:
        return _winner(candidates[0], verdicts)
    why, alike = _why_no_choice(candidates, verdicts)
    cheapest = _cheapest(candidates) if alike else None
    told = [
        f"No choice is justified between {words.listed([one.name for one in candidates])}: {why}"
    ]
    beaten = [one.name for one in measured if one not in candidates]
    if beaten:
        told.append(f"{words.listed(beaten)} {'is' if len(beaten) == 1 else 'are'} worse.")
    if cheapest:
        told.append(cheapest)
    return " ".join(told)


def _why_no_choice(candidates: Sequence[Measured], verdicts: Sequence[Verdict]) -> tuple[str, bool]:
    """Why several are left, and whether it is because the images do not tell them apart."""
    of_pair = {frozenset((verdict.first, verdict.second)): verdict for verdict in verdicts}
    pairs = [
        of_pair.get(frozenset((first.name, second.name)))
        for first, second in itertools.combinations(candidates, 2)
    ]
    if any(verdict and len(set(words.winners(verdict).values())) > 1 for verdict in pairs):
        return (
            "one is better in one figure and another in another, see the verdicts. Which figure "
            "matters is yours to say.",
            False,
        )
    if any(verdict is None or verdict.refused for verdict in pairs):
        return (
            "not all of these were compared with each other, and those that were are not told "
            "apart by these images.",
            True,
        )
    return "these images do not tell them apart.", True


def _winner(winner: Measured, verdicts: Sequence[Verdict]) -> str:
    own = [v for v in verdicts if winner.name in (v.first, v.second) and _loser(v) is not None]
    by_figures: dict[str, list[str]] = {}
    for verdict in own:
        figures = words.listed([words.metric(metric) for metric in words.winners(verdict)])
        by_figures.setdefault(figures, []).append(str(_loser(verdict)))
    told = [f"than {words.listed(worse)} in {figures}" for figures, worse in by_figures.items()]
    text = f"{winner.name} is recommended: it is better {', and '.join(told)}."
    same = [
        words.metric(metric)
        for metric in (names.ACCURACY, names.BALANCED_ACCURACY)
        if any(metric in v.differences for v in own)
        and not any(metric in words.winners(v) for v in own)
    ]
    if same:
        text += f" In {words.listed(same)} these images do not tell them apart."
    doubtful = [
        words.metric(metric)
        for v in own
        for metric in words.winners(v)
        if v.holds_when_retrained(metric) is False
    ]
    if doubtful:
        text += (
            " So it is on these images; that it would be so again if all were trained anew is not "
            f"shown for {words.listed(list(dict.fromkeys(doubtful)))}, see the verdicts."
        )
    return text


def _cheapest(candidates: Sequence[Measured]) -> str | None:
    """Which costs least: time of training, or parameters where that is much the same."""
    timed = [(one, cost.mean) for one in candidates if (cost := one.cost(TRAINING_TIME))]
    sized = [(one, cost.mean) for one in candidates if (cost := one.cost(PARAMETERS))]
    if len(timed) < 2:
        return None
    quickest, slowest = min(timed, key=_cost), max(timed, key=_cost)
    choice = "That is a choice by cost, not by quality."
    if slowest[1] > SAME_TIME * quickest[1]:
        return (
            f"If one must be taken, take the quickest to train, {quickest[0].name}: "
            f"{words.duration(quickest[1])} against up to {words.duration(slowest[1])} "
            f"({slowest[0].name}). {choice}"
        )
    smallest, largest = min(sized, key=_cost), max(sized, key=_cost)
    if len(sized) < 2 or smallest[1] == largest[1]:
        return "They cost about the same, so either will do."
    return (
        f"If one must be taken, take the smallest, {smallest[0].name}: "
        f"{words.quantity(smallest[1])} parameters against up to {words.quantity(largest[1])} "
        f"({largest[0].name}), at about the same time of training. {choice}"
    )


def _cost(pair: tuple[Measured, float]) -> float:
    return pair[1]


def _reasons(one: Measured) -> str:
    """What its curves and its record say of one contestant."""
    told = [_gap(one), _convergence(one)]
    epoch, parameters = one.cost(epoch_time_s), one.cost(PARAMETERS)
    if epoch is not None:
        told.append(f"{words.duration(epoch.mean)} an epoch")
    if parameters is not None:
        told.append(f"{words.quantity(parameters.mean)} parameters")
    told.append(f"first weights: {one.weights}")
    return f"{one.name}: {'; '.join(part for part in told if part)}."


def _gap(one: Measured) -> str:
    found = one.cost(gap)
    if found is None:
        return ""
    metric = words.metric(monitored(one.contestant.runs[0]) or "")
    side = "above" if found.mean > 0 else "below"
    told = "it does about as well on images that it has not seen"
    if found.mean > LARGE_GAP:
        told = "it has learnt its training images by heart"
    elif found.mean < -LARGE_GAP:
        told = "the altered images of training are harder for it"
    distance = words.points(abs(found.mean)).lstrip("+")
    return f"{metric} in training is {distance} points {side} validation, so {told}"


def _convergence(one: Measured) -> str:
    runs = sum(shows_convergence(run) for run in one.contestant.runs)
    if not runs:
        return ""
    converged = one.cost(converged_epoch)
    if converged is None:
        return "it did not converge" if runs == 1 else f"none of {runs} trainings converged"
    if converged.count == runs:
        return f"converged at epoch {converged.mean:.0f}"
    return f"{converged.count} of {runs} trainings converged, at epoch {converged.mean:.0f}"


def _caveats(measured: Sequence[Measured]) -> list[str]:
    told = []
    optimistic = [one.name for one in measured if one.contestant.is_optimistic]
    if optimistic:
        told.append(
            f"Optimistic: {words.listed(optimistic)}. Some of the images that these figures are "
            "measured on chose the epoch, or what is decided after training, or were seen in "
            "training; expect less of new images."
        )
    told += _always_good(measured)
    told += _unordered(measured)
    told += thresholds.caveats(measured)
    told += where.caveats(measured)
    for one in measured:
        if one.contestant.dropped:
            told.append(
                f"{one.name}: {one.contestant.dropped} images are left out, since not every seed "
                "was tested on them."
            )
    cut_short = [
        f"{run.path.name} ({run.record.get('status')})"
        for one in measured
        for run in one.contestant.runs
        if run.record.get("status") not in ("finished", None)
    ]
    if cut_short:
        told.append(f"Not trained to the end: {words.listed(cut_short)}.")
    return told


def _always_good(measured: Sequence[Measured]) -> list[str]:
    """Who does no better than calling everything good, or than guessing."""
    known = [one for one in measured if names.BALANCED_ACCURACY in one.figures]
    below: dict[str, list[str]] = {}
    for one in known:
        always_good, own = float((~one.contestant.is_defect).mean()), one.figures[names.ACCURACY]
        if own.value <= always_good:
            told_of = below.setdefault(words.share(always_good), [])
            told_of.append(f"{one.name} has {words.share(own.value)}")
    told = [
        f"Calling every image good would have accuracy {always_good}: {words.listed(found)}. What "
        "they find of defects costs them as many good ones."
        for always_good, found in below.items()
    ]
    guessing = [
        one.name
        for one in known
        if len(set(one.contestant.label.tolist())) > 1
        and (low := one.figures[names.BALANCED_ACCURACY].low) is not None
        and low <= 1 / len(set(one.contestant.label.tolist()))
    ]
    if guessing:
        told.append(
            f"Not shown to be better than guessing, by balanced accuracy: {words.listed(guessing)}."
        )
    return told


def _unordered(measured: Sequence[Measured]) -> list[str]:
    """Who names no classes and does not order images better than chance."""
    guessing = [
        one.name
        for one in measured
        if not one.contestant.names_defects
        and (area := one.figures.get(names.AUROC)) is not None
        and area.low is not None
        and area.low <= 1 / 2
    ]
    if not guessing:
        return []
    return [f"Not shown to be better than guessing, by AUROC: {words.listed(guessing)}."]
