"""The answer that opens the page: what would happen to 100 parts, and how far to believe it.

Sentences are plain text, computed from the figures of a run; the template escapes them.
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
    rejects_beyond_chance,
)
from capsule_inspection.reports.comparison.words import listed
from capsule_inspection.reports.figure_words import percent
from capsule_inspection.reports.page import marking, pointing, verdict
from capsule_inspection.reports.page.verdict import Verdict
from capsule_inspection.reports.run_folder import CHOSE, SEEN, RunFolder
from capsule_inspection.types import TEST, Figure

FEW_IMAGES = 60
"""Below this many images even a perfect result leaves more than 6% open."""

_MOST_NAMED = 3
_Z_SQUARED = 1.959964**2


@dataclass(frozen=True)
class Answer:
    """What the page says first."""

    verdict: str
    rule: str
    sentences: list[str]
    warnings: list[str]


def answer(run: RunFolder, stage: str) -> Answer:
    """The answer of a run, from what it measured on one part of its images.

    Raises RunError where the record of the threshold or the decision is not as expected.
    """
    figures = names.of_stage(run.figures, stage)
    threshold = run.threshold
    sentences = [
        *_of_hundred(figures),
        *_named(figures),
        *_missed_most(figures, run),
        *marking.where_sentences(run, figures),
        *pointing.pointing_sentences(run, figures),
        *marking.decision_sentences(run),
        *_threshold_sentences(threshold),
        *_on_another_threshold(figures),
    ]
    warnings = [
        *_of_part(run, stage),
        *_threshold_warnings(threshold, figures.get(names.GOOD_REJECTED)),
        *marking.decision_warnings(run),
        *_too_few(figures),
    ]
    return Answer(_verdict(figures), verdict.RULE, sentences, warnings)


def _verdict(figures: Mapping[str, Figure]) -> str:
    found = verdict.verdict_of(figures)
    if found is not Verdict.NOT_USABLE:
        return f"Verdict: {found.value}"
    too_many = {
        names.GOOD_REJECTED: "good parts are rejected",
        names.DEFECTS_MISSED: "defective parts are let through",
    }
    told = [what for name, what in too_many.items() if figures[name].value > verdict.PRESORT]
    return f"Verdict: {found.value}: more than 20 of 100 {listed(told)}."


def _of_hundred(figures: Mapping[str, Figure]) -> list[str]:
    told = {
        names.GOOD_REJECTED: ("Of 100 good parts", "rejected"),
        names.DEFECTS_MISSED: ("Of 100 defective ones", "let through"),
    }
    return [
        f"{whom} about {hundred(figures[name].value)} would be {what}{_interval(figures[name])}."
        for name, (whom, what) in told.items()
        if name in figures
    ]


def hundred(share: float) -> str:
    """How many of a hundred: `4`, `0.4`; never 0 or 100 where it is not."""
    rounded = f"{math.floor(100 * share + 0.5)}"
    is_hidden = (rounded == "0" and share > 0) or (rounded == "100" and share < 1)
    return (
        f"{100 * share:.1g}" if is_hidden and share < 0.5 else "over 99" if is_hidden else rounded
    )


def _interval(figure: Figure) -> str:
    measured = f"measured on {figure.n} images"
    if figure.low is None or figure.high is None:
        return f" ({measured})"
    return f" (95% interval: {hundred(figure.low)} to {hundred(figure.high)}; {measured})"


def _named(figures: Mapping[str, Figure]) -> list[str]:
    """How often the right name is given, where the model names defects."""
    if names.ACCURACY not in figures:
        return []
    accuracy = figures[names.ACCURACY]
    return [
        f"Of 100 parts about {hundred(accuracy.value)} get the right name, good or one of the "
        f"defects{_interval(accuracy)}."
    ]


def _missed_most(figures: Mapping[str, Figure], run: RunFolder) -> list[str]:
    recalls = names.of_classes(figures, names.RECALL)
    defects = {name: of for name, of in recalls.items() if name != run.good}
    if not defects:
        return []
    missed = {name: round(of.n * (1 - of.value)) for name, of in defects.items()}
    worst = sorted((n for n in defects if missed[n]), key=lambda name: defects[name].value)
    what, else_ = ("misnamed", "named rightly") if run.classes else ("let through", "rejected")
    if not worst:
        return [f"Each of the {sum(of.n for of in defects.values())} defect images was {else_}."]
    told = [f"{name} ({missed[name]} of {defects[name].n})" for name in worst[:_MOST_NAMED]]
    sentence = f"Most often {what}: {listed(told)}."
    never = [name for name in defects if not missed[name]]
    return [sentence + (f" Never: {listed(never)}." if never else "")]


def _threshold_sentences(threshold: Threshold | None) -> list[str]:
    if threshold is None or threshold.rule == F1:
        return []
    images = f"{threshold.good_images} good images that served for nothing else"
    if threshold.rule == SIGMA:
        return [
            f"The threshold is the mean score of {images}, plus a number of standard deviations: "
            "a rule of thumb that promises no false-alarm rate."
        ]
    if not threshold.enough or threshold.false_alarm_rate is None:
        return []
    return [
        f"The threshold was set on {images}, so that at most "
        f"{hundred(threshold.false_alarm_rate)} of 100 good parts should be rejected. That takes "
        f"at least {threshold.needed} of them, so there were enough."
    ]


def _threshold_warnings(threshold: Threshold | None, rejected: Figure | None) -> list[str]:
    if threshold is None:
        return []
    if threshold.rule == F1:
        return [
            f"The threshold was chosen with {threshold.defect_images} defect images to look at "
            "(rule f1), so these are no longer the figures of a one-class inspection: without "
            "defects to learn from, a line would not reach them."
        ]
    if threshold.rule != CONFORMAL or threshold.false_alarm_rate is None:
        return []
    rate = threshold.false_alarm_rate
    if not threshold.enough:
        return [
            f"Too few good images set the threshold: {threshold.good_images}, where a false-alarm "
            f"rate of {percent(rate)} takes at least {threshold.needed}. It stands at the highest "
            f"of their scores, so about {hundred(1 / (threshold.good_images + 1))} of 100 good "
            "parts must be expected to be rejected."
        ]
    if rejected is None:
        return []
    count = round(rejected.value * rejected.n)
    if rejects_beyond_chance(threshold, count, rejected.n):
        return [
            f"More good images are rejected than the {percent(rate)} asked for, beyond chance: "
            "those of the test differ from those that set the threshold."
        ]
    return []


def _on_another_threshold(figures: Mapping[str, Figure]) -> list[str]:
    if not verdict.orders_better_than_it_decides(figures):
        return []
    return [
        "The scores themselves put most defects above most good parts "
        f"(AUROC {figures[names.AUROC].value:.2f}): another threshold would serve better."
    ]


def _of_part(run: RunFolder, stage: str) -> list[str]:
    warnings = []
    seen, chose = run.record.get(SEEN), run.record.get(CHOSE)
    if seen:
        warnings.append(
            f"Optimistic: {seen} of these images were seen in training. On a line expect worse."
        )
    elif chose:
        warnings.append(
            f"Optimistic: {chose} of these images had a part in choosing the epoch, the threshold "
            "or the decision. On a line expect worse."
        )
    elif run.record.get("optimistic"):
        decides = run.marks_pixels or run.temperature_scaling is not None
        chosen = "epoch and decision were" if decides else "the epoch was"
        warnings.append(
            f"Optimistic: {chosen} chosen on the very images that these figures are measured on. "
            "On a line expect worse."
        )
    if stage != TEST:
        warnings.append(
            f"There are no test images here: the figures are those of the part “{stage}”, on which "
            "choices may have been made. On a line expect worse."
        )
    return warnings


def _too_few(figures: Mapping[str, Figure]) -> list[str]:
    kinds = {names.GOOD_REJECTED: "good", names.DEFECTS_MISSED: "defective"}
    few = {
        kind: figures[name].n
        for name, kind in kinds.items()
        if name in figures and figures[name].n < FEW_IMAGES
    }
    if not few:
        return []
    tested = listed([f"{n} {kind} images" for kind, n in few.items()])
    left = listed([f"{hundred(_open_share(n))} of 100 {kind} parts" for kind, n in few.items()])
    return [
        f"Only {tested} were tested. Even without a single mistake on them, up to {left} could be "
        "judged wrongly on the line."
    ]


def _open_share(n: int) -> float:
    """Upper end of the Wilson interval of 0 among n."""
    return _Z_SQUARED / (n + _Z_SQUARED)
