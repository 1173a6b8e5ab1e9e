"""What set the thresholds of one-class models, and whether they keep what was asked.

From the record of each run; of classifiers, whose probabilities decide, there is nothing to say.
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
    rejects_beyond_chance,
)
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.cells import Cell, Table, figure_cell, name_cell
from capsule_inspection.reports.comparison.measured import Measured, Spread
from capsule_inspection.types import Figure

FEW_GOOD = 50
"""Good test images of a run below which one of them is more than two points."""

_RULES = {
    CONFORMAL: "conformal",
    SIGMA: "mean and standard deviation",
    F1: "best F1, with labelled defects",
}
_NOTE = (
    "Asked: the share of good images that the rule promises to reject at most. Only the conformal "
    "one promises any, and on average over calibrations, so a single run may lie above. Enough: "
    "whether so many good images suffice for the share that was asked for."
)


def threshold_table(measured: Sequence[Measured]) -> Table | None:
    """What was asked of each threshold and what it does; None where no threshold decides."""
    rows = [
        (
            name_cell(one),
            Cell(_RULES.get(found[0].rule, found[0].rule)),
            _asked_cell(found),
            figure_cell(one.figures.get(names.GOOD_REJECTED)),
            _good_images_cell(found),
            Cell(_enough(found)),
        )
        for one in measured
        if (found := thresholds_of(one))
    ]
    columns = ("model", "rule", "asked: good ones rejected", "good test images rejected",
               "good images that set it", "enough")  # fmt: skip
    return Table("Thresholds", columns, tuple(rows), _NOTE) if rows else None


def thresholds_of(one: Measured) -> list[Threshold]:
    """The thresholds of its runs, as far as their records have them.

    Raises RunError where one is not as expected.
    """
    return [found for run in one.contestant.runs if (found := run.threshold) is not None]


def sentences(measured: Sequence[Measured]) -> list[str]:
    """How many good ones are rejected against what was asked."""
    told = [
        f"{one.name} {words.figure(rejected)}, asked {words.share(asked)}"
        for one, asked, rejected in _promises(measured)
    ]
    return [f"Good ones rejected against what was asked for: {'; '.join(told)}."] if told else []


def caveats(measured: Sequence[Measured]) -> list[str]:
    """What makes thresholds, and what is said of them, less than they seem."""
    told = [_with_defects(measured), *(_too_few(one) for one in measured)]
    told += [_broken(measured), _uncertain(measured)]
    return [sentence for sentence in told if sentence]


def _promises(measured: Sequence[Measured]) -> list[tuple[Measured, float, Figure]]:
    """Models whose threshold promises a share of good ones, that share, and what was measured."""
    return [
        (one, asked, one.figures[names.GOOD_REJECTED])
        for one in measured
        if names.GOOD_REJECTED in one.figures and (asked := _asked(thresholds_of(one))) is not None
    ]


def _asked(found: Sequence[Threshold]) -> float | None:
    return found[0].false_alarm_rate if found and found[0].rule == CONFORMAL else None


def _asked_cell(found: Sequence[Threshold]) -> Cell:
    asked = _asked(found)
    return Cell("no promise") if asked is None else Cell(f"at most {words.share(asked)}", asked)


def _good_images_cell(found: Sequence[Threshold]) -> Cell:
    counts = [float(threshold.good_images) for threshold in found]
    spread = Spread(float(np.mean(counts)), min(counts), max(counts), len(counts))
    return Cell(words.spread(spread, as_text="{:.0f}".format), spread.mean)


def _enough(found: Sequence[Threshold]) -> str:
    lacking = [threshold for threshold in found if not threshold.enough]
    if not lacking:
        return "yes" if _asked(found) is not None else "–"
    of_runs = f" in {len(lacking)} of {len(found)} runs" if len(found) > 1 else ""
    return f"no{of_runs}: {lacking[0].needed} are needed"


def _with_defects(measured: Sequence[Measured]) -> str:
    shown = [one for one in measured if any(found.rule == F1 for found in thresholds_of(one))]
    if not shown:
        return ""
    return (
        f"{_names(shown)}: the threshold was chosen with labelled defects (rule f1), so what is "
        "missed and rejected is no longer that of a model that has seen good images only."
    )


def _too_few(one: Measured) -> str:
    lacking = [found for found in thresholds_of(one) if not found.enough]
    if not lacking:
        return ""
    fewest = min(lacking, key=lambda found: found.good_images)
    asked = "" if fewest.false_alarm_rate is None else f" of {words.share(fewest.false_alarm_rate)}"
    return (
        f"{one.name}: {fewest.good_images} good images set the threshold, where the false-alarm "
        f"rate{asked} takes {fewest.needed}. It stands at the highest of their scores; expect up "
        f"to {words.share(1 / (fewest.good_images + 1))} of good images to be rejected."
    )


def _broken(measured: Sequence[Measured]) -> str:
    """Whose promise is not kept; with too few good images for it there was none."""
    shown = [
        one
        for one, asked, rejected in _promises(measured)
        if all(found.enough for found in thresholds_of(one))
        and _beyond_chance(thresholds_of(one), rejected, asked)
    ]
    if not shown:
        return ""
    return (
        f"More good images are rejected than was asked for, beyond chance: {_names(shown)}. Those "
        "of the test differ from those that set the threshold."
    )


def _beyond_chance(found: Sequence[Threshold], rejected: Figure, asked: float) -> bool:
    """Of one run, also what its calibration leaves to chance; over several that evens out."""
    if len(found) == 1 and found[0].rule == CONFORMAL:
        return rejects_beyond_chance(found[0], round(rejected.value * rejected.n), rejected.n)
    return rejected.low is not None and rejected.low > asked


def _uncertain(measured: Sequence[Measured]) -> str:
    """Whose share of good ones rejected stands on few images in each run."""
    counts = {
        one.name: min(_good_images(one))
        for one in measured
        if not one.contestant.names_defects and names.GOOD_REJECTED in one.figures
    }
    few = {name: count for name, count in counts.items() if count < FEW_GOOD}
    if not few:
        return ""
    fewest = min(few.values())
    return (
        f"Few good test images: {words.listed(list(few))}, down to {fewest} a training. There one "
        f"image more or less is {100 / fewest:.1f} points of good ones rejected, so what a single "
        "training would reject on a line is uncertain."
    )


def _good_images(one: Measured) -> list[int]:
    """Good test images of each run; 1 where a run has none, which has no share to be told."""
    contestant = one.contestant
    counts = [int((~contestant.is_defect[run.row]).sum()) for run in contestant.judgements]
    return [count for count in counts if count] or [1]


def _names(measured: Sequence[Measured]) -> str:
    return words.listed([one.name for one in measured])
