"""Numbers and verdicts as sentences: plain text, escaped by whoever puts them on a page."""

from __future__ import annotations

from collections.abc import Sequence

from capsule_inspection.metrics import names
from capsule_inspection.metrics.paired import PairedDifference
from capsule_inspection.reports.comparison.contestant import Contestant
from capsule_inspection.reports.comparison.measured import Spread
from capsule_inspection.reports.comparison.retrained import Retrained
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.types import Figure

MONITORED_DICE = "foreground_dice"
"""What chooses the epoch of models that mark pixels, without its stage."""

SPOKEN = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.AUROC,
    names.DEFECTS_MISSED,
    names.GOOD_REJECTED,
    names.FOREGROUND_DICE_OF_PIXELS,
    names.MEAN_IOU_OF_PIXELS,
)
"""Figures that an answer speaks of, where a verdict has them."""

METRICS = {
    names.ACCURACY: "accuracy",
    names.BALANCED_ACCURACY: "balanced accuracy",
    names.MACRO_F1: "macro F1",
    names.AUROC: "AUROC",
    names.AVERAGE_PRECISION: "average precision of defects",
    names.DEFECTS_MISSED: "defects missed",
    names.GOOD_REJECTED: "good ones rejected",
    names.F1: "F1 of defects",
    names.F1_BEST: "F1 of defects at the best threshold",
    names.RECALL_AT_RATE: "recall at the false-alarm rate",
    names.PIXEL_AUROC: "pixel AUROC",
    names.PIXEL_AVERAGE_PRECISION: "pixel average precision",
    names.AUPRO: "AUPRO",
    names.MEAN_IOU_OF_PIXELS: "mean IoU of pixels",
    names.MEAN_DICE_OF_PIXELS: "mean Dice of pixels",
    names.MEAN_IOU_OF_IMAGES: "mean IoU of images",
    names.MEAN_DICE_OF_IMAGES: "mean Dice of images",
    names.FOREGROUND_DICE_OF_PIXELS: "foreground Dice of pixels",
    names.FOREGROUND_DICE_OF_IMAGES: "foreground Dice of images",
    names.FALSE_ALARM_AREA: "false-alarm area",
    MONITORED_DICE: "foreground Dice",
}


def metric(name: str) -> str:
    """What people call a figure."""
    group, _, class_name = name.partition("/")
    return f"{group} of {class_name}" if class_name else METRICS.get(name, name.replace("_", " "))


def counted(contestant: Contestant) -> str:
    """What the recall of a class counts, in a word."""
    return "named" if contestant.names_defects else "rejected"


def figure(of: Figure | None) -> str:
    """`.909 (.816 to .958)`; a dash where there is none."""
    if of is None:
        return "–"
    if of.low is None or of.high is None:
        return share(of.value)
    return f"{share(of.value)} ({share(of.low)} to {share(of.high)})"


def share(value: float) -> str:
    """Three digits behind the point, and none before it where it is zero."""
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.3f}"


def percent(value: float) -> str:
    """`0.034%`: a share that may be too small for three digits."""
    return f"{100 * value:.2g}%" if value < 0.995 else f"{100 * value:.0f}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def p(value: float | None) -> str:
    """A p value as it is usually printed."""
    if value is None:
        return "not known"
    digits = 4 if 0.0495 <= value < 0.05 else 3  # not “.050” of what counts as below it
    return "< .001" if value < 0.001 else f"= {value:.{digits}f}".replace("= 0.", "= .")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def quantity(value: float) -> str:
    """A large number with its thousand, million or billion."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def spread(of: Spread | None, *, as_text=quantity) -> str:  # type: ignore[no-untyped-def]
    """A mean over runs, with the least and the most of them where they differ."""
    if of is None:
        return "–"
    text = str(as_text(of.mean))
    least, most = str(as_text(of.least)), str(as_text(of.most))
    return text if of.count == 1 or least == most else f"{text} ({least} to {most})"


def count(value: float) -> str:
    """A number of images; with a digit behind the point where seeds were averaged."""
    return f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.1f}"


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def headline(verdict: Verdict) -> str:
    """Who is better, in one sentence, or that nobody can tell."""
    both = f"{verdict.first} and {verdict.second}"
    if verdict.refused:
        return f"{both} cannot be compared."
    better = winners(verdict)
    if not better:
        return f"{both}: not distinguishable on these {verdict.images} images."
    names_ = list(dict.fromkeys(better.values()))
    told = [
        f"{winner} is better in {listed([metric(m) for m in better if better[m] == winner])}"
        for winner in names_
    ]
    return f"{both}: {', but '.join(told)}."


def winners(verdict: Verdict) -> dict[str, str]:
    """Who is better, by each figure in which the two can be told apart."""
    if verdict.refused:
        return {}
    found = {name: _better(verdict, name) for name in _spoken(verdict)}
    return {name: better for name, better in found.items() if better}


def _spoken(verdict: Verdict) -> list[str]:
    return [name for name in SPOKEN if name in verdict.differences]


def _better(verdict: Verdict, metric_: str) -> str | None:
    if not verdict.differs(metric_):
        return None
    ahead = verdict.differences[metric_].value > 0
    return verdict.first if ahead != (metric_ in names.LOWER_IS_BETTER) else verdict.second


def details(verdict: Verdict) -> list[str]:
    """The sentences behind a headline: counts, test, how many images, trained anew."""
    if verdict.refused:
        return [f"{verdict.refused[0].upper()}{verdict.refused[1:]}."]
    told = [_shared(verdict), _within_folds(verdict), _counts(verdict), _needed(verdict)]
    told += [_marks(verdict), _needed_marks(verdict)]
    told += [_retrained(verdict, name, found) for name, found in (verdict.retrained or {}).items()]
    return [sentence for sentence in told if sentence]


def _shared(verdict: Verdict) -> str:
    counts = {verdict.first_images, verdict.second_images}
    if counts == {verdict.images}:
        return ""
    return (
        f"Compared on the {verdict.images} images that both were tested on, of "
        f"{verdict.first_images} and {verdict.second_images}; on all of them either may differ."
    )


def _within_folds(verdict: Verdict) -> str:
    """On what AUROC is compared, where that is not all of the images at once."""
    if verdict.no_area:
        return f"{verdict.no_area}."
    area = verdict.differences.get(names.AUROC)
    if area is None or area.n == verdict.images:
        return ""
    return (
        f"AUROC is compared on {area.n} of these images: those that both were asked about in the "
        "same fold."
    )


def _counts(verdict: Verdict) -> str:
    if verdict.right is None:
        return ""
    difference = verdict.differences[names.ACCURACY]
    first, second = (count(right) for right in verdict.right)
    return (
        f"{first} against {second} of the same {verdict.images} images are named correctly, "
        f"{points(difference.value)} points{interval(difference)}. Only {verdict.first} is right "
        f"on {count(verdict.only_first)}, only {verdict.second} on {count(verdict.only_second)}: "
        f"{tested(difference, verdict, names.ACCURACY)}."
    )


def interval(difference: PairedDifference) -> str:
    """The interval of a difference in points, in brackets."""
    if difference.low is None or difference.high is None:
        return ""
    return f" ({points(difference.low)} to {points(difference.high)})"


def test_and_p(difference: PairedDifference) -> str:
    """The test and its p value, or why there is none."""
    if difference.p_value is None:
        return f"not tested, {difference.test}"
    return f"{difference.test}, p {p(difference.p_value)}"


def tested(difference: PairedDifference, verdict: Verdict, name: str) -> str:
    """The test with its p value, and the corrected one where there are several pairs."""
    text = test_and_p(difference)
    if verdict.pairs(name) > 1 and name in verdict.corrected:
        text += f", corrected for {verdict.pairs(name)} pairs p {p(verdict.corrected[name])}"
    return text


def _needed(verdict: Verdict) -> str:
    if verdict.right is None or verdict.differs(names.ACCURACY):
        return ""
    if verdict.needed is None:
        return "Equally many are right: there is no difference that more images could show."
    return _would_need(verdict.needed, verdict.images, verdict.pairs(names.ACCURACY))


def _would_need(needed: int, images: int, pairs: int) -> str:
    return (
        f"To tell a difference of this size apart, about {needed:,} test images would be "
        f"needed where there are {images} (power 80%{_for_pairs(pairs)})."
    )


def _marks(verdict: Verdict) -> str:
    """How the two mark defects, and on which images."""
    if verdict.no_marks:
        return f"{verdict.no_marks}."
    marks = verdict.marks
    if marks is None:
        return ""
    name = names.FOREGROUND_DICE_OF_PIXELS
    difference = verdict.differences[name]
    first, second = (share(dice) for dice in marks.dice)
    return (
        f"Marked pixels cover the defects with {metric(name)} {first} against {second} on the same "
        f"{marks.images} images, {marks.defects} of them with a defect: {points(difference.value)} "
        f"points{interval(difference)}, {tested(difference, verdict, name)}."
    )


def _needed_marks(verdict: Verdict) -> str:
    marks = verdict.marks
    name = names.FOREGROUND_DICE_OF_PIXELS
    if marks is None or marks.needed is None or verdict.differs(name):
        return ""
    return _would_need(marks.needed, marks.images, verdict.pairs(name))


def _for_pairs(pairs: int) -> str:
    return f", corrected for {pairs} pairs" if pairs > 1 else ""


def _retrained(verdict: Verdict, name: str, found: Retrained) -> str:
    holds = verdict.holds_when_retrained(name)
    difference = found.difference
    says = {True: "it holds", False: "not shown to hold", None: "cannot be told"}[holds]
    same_side = difference.value * verdict.differences[name].value > 0
    if holds and not (verdict.differs(name) and same_side):
        says = "over trainings there is a difference, which these images alone do not show"
    return (
        f"Trained anew on other images of the kind, {metric(name)}: {says}. Over "
        f"{found.trainings} pairs of trainings {points(difference.value)} points"
        f"{interval(difference)}; t test that knows that training sets overlap (Nadeau and Bengio) "
        f"p {p(difference.p_value)}.{_always_tested(found)}"
    )


def _always_tested(found: Retrained) -> str:
    if not found.always_tested:
        return ""
    return (
        f" {found.always_tested} images, the defects of one-class runs, were the same each time: "
        "of other defects this says nothing."
    )
