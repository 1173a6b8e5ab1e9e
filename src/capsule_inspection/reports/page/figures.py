"""The table of figures: each with its interval and its meaning, and why others are absent.

Plain text; the template escapes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from capsule_inspection.metrics import names
from capsule_inspection.reports.figure_words import meaning_of, name_of, value_text
from capsule_inspection.reports.run_folder import RunFolder
from capsule_inspection.types import Figure

_OF_DECISIONS = (names.GOOD_REJECTED, names.DEFECTS_MISSED)
_OF_SCORES = (names.AUROC, names.AVERAGE_PRECISION)
_OF_NAMES = (names.ACCURACY, names.BALANCED_ACCURACY, names.MACRO_F1)
_OF_ONE_CLASS = (names.F1, names.F1_BEST, names.RECALL_AT_RATE)
_OF_PIXELS = (names.PIXEL_AUROC, names.PIXEL_AVERAGE_PRECISION, names.AUPRO)
_OF_MARKS = (names.DEFECTS_TOUCHED, names.FALSE_ALARM_AREA)
_NEED_GOOD_ONLY = (names.GOOD_REJECTED, names.FALSE_ALARM_AREA, *_OF_NAMES)
_NEED_MASKS = (names.DEFECTS_TOUCHED, *names.MEAN_OVERLAPS, *names.FOREGROUND_OVERLAPS, *_OF_PIXELS)


@dataclass(frozen=True)
class Row:
    """One figure as text."""

    name: str
    value: str
    interval: str
    images: str
    meaning: str


def figure_rows(run: RunFolder, stage: str) -> list[Row]:
    """Every figure that the run has; those of classes are drawn instead.

    Without names of defects there is one class, of which the mean would say the same again.
    """
    figures = names.of_stage(run.figures, stage)
    expected = _expected(run)
    repeated = () if run.classes else names.MEAN_OVERLAPS
    others = [
        name
        for name in figures
        if name not in (*expected, *repeated) and not names.is_of_class(name)
    ]
    return [
        _row(name, figures[name], meaning_of(name, false_alarm_rate=run.false_alarm_rate))
        for name in (*expected, *others)
        if name in figures
    ]


def absences(run: RunFolder, stage: str) -> list[str]:
    """Which figures could not be had, and why: a sentence for each reason."""
    figures = names.of_stage(run.figures, stage)
    absent: dict[str, list[str]] = {}
    for name in _expected(run):
        if name not in figures:
            absent.setdefault(_why_absent(run, stage, name), []).append(name_of(name))
    return [f"{why}: {'; '.join(missing)}." for why, missing in absent.items()]


def _expected(run: RunFolder) -> tuple[str, ...]:
    if run.marks_pixels:
        of_names = (*names.MEAN_OVERLAPS, *_OF_NAMES) if run.classes else ()
        return (*_OF_DECISIONS, *_OF_MARKS, *names.FOREGROUND_OVERLAPS, *of_names,
                *_OF_SCORES, *_OF_ONE_CLASS, *_OF_PIXELS)  # fmt: skip
    if run.classes:
        return (*_OF_DECISIONS, *_OF_NAMES, *_OF_SCORES)
    return (*_OF_DECISIONS, *_OF_SCORES, *_OF_ONE_CLASS, *_OF_PIXELS)


def _row(name: str, figure: Figure, meaning: str) -> Row:
    interval = "none: computed" if name == names.POINTING_CHANCE else "not known"
    if figure.low is not None and figure.high is not None:
        interval = f"{value_text(name, figure.low)} to {value_text(name, figure.high)}"
    return Row(name_of(name), value_text(name, figure.value), interval, str(figure.n), meaning)


def _why_absent(run: RunFolder, stage: str, name: str) -> str:
    scores = run.scores_of(stage)
    if not len(scores.score):
        return f"Not measured, since there are no images in the {stage} part"
    if not scores.is_defect.any() and name not in _NEED_GOOD_ONLY:
        return f"Not measured, since there are no defect images in the {stage} part"
    if scores.is_defect.all() and name not in (names.DEFECTS_MISSED, *_OF_NAMES, *_NEED_MASKS):
        return f"Not measured, since there are no good images in the {stage} part"
    if name in _NEED_MASKS:
        return _why_no_pixels(run)
    return "Not measured in this run"


def _why_no_pixels(run: RunFolder) -> str:
    if run.maps is None:
        return "Not measured, since the run kept no maps"
    if not run.maps.masks.any():
        return "Not measured, since without masks nobody knows where in the images the defects are"
    return "Not measured in this run"
