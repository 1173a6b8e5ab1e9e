"""Where is the defect? Tables and sentences on maps and on marked pixels, held against the masks.

Of models that mark pixels, and of those that have a map only; a classifier says of no pixel
anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.cells import Cell, Table, figure_cell, name_cell
from capsule_inspection.reports.comparison.measured import Measured
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.types import Figure

WHERE = "Where is the defect?"
NAMED = "Where, and which"
OVERLAP = "Overlap with each defect"
MAIN = names.FOREGROUND_DICE_OF_PIXELS
MOST_NAMED = 3
"""So many pairs that cannot be told apart are listed, else counted."""

_OF_MARKS = (
    names.FOREGROUND_DICE_OF_PIXELS,
    names.FOREGROUND_DICE_OF_IMAGES,
    names.DEFECTS_TOUCHED,
    names.FALSE_ALARM_AREA,
)
_OF_MAPS = (names.PIXEL_AUROC, names.AUPRO)
_MARKS_NOTE = (
    "Overlap of what is marked with the masks, as any defect, whichever name it was given. Of "
    "pixels: all images are put together, so large defects and false alarms weigh most. Of images: "
    "the mean over the images with a defect, so a small one counts as much as a large one. Defects "
    "touched: the share on which any marked pixel lies. False-alarm area: the share of a good "
    "image that is marked. Folds of a seed are pooled, then the mean over seeds is taken."
)
_MAPS_NOTE = (
    "Pixel AUROC and AUPRO hold maps against the masks before anything is decided, as means "
    "over runs, for models that mark pixels and for others alike."
)
_NAMED_NOTE = (
    "As above, but only what was given its right name counts: of each defect class, then the mean "
    "over classes, which is why a rare one counts as much as a frequent one."
)


def where_table(measured: Sequence[Measured]) -> Table | None:
    """How well each model shows the place; None where none says anything of it."""
    shown = _known(measured, (*_OF_MARKS, *_OF_MAPS))
    notes = [_MARKS_NOTE] if set(shown) & set(_OF_MARKS) else []
    notes += [_MAPS_NOTE] if set(shown) & set(_OF_MAPS) else []
    telling = [one for one in measured if _known([one], shown)]
    silent = [one.name for one in measured if one not in telling]
    if silent:
        notes.append(f"Not shown, since nothing is known of where: {words.listed(silent)}.")
    rows = [(*_cells(one, shown), _images_cell(one)) for one in telling]
    return _table(WHERE, [*map(_heading, shown), "images"], rows, " ".join(notes))


def named_table(measured: Sequence[Measured]) -> Table | None:
    """How well defects are marked by their names; None where nobody does."""
    shown = _known(measured, names.MEAN_OVERLAPS)
    rows = [_cells(one, shown) for one in measured if _known([one], shown)]
    return _table(NAMED, [_heading(name) for name in shown], rows, _NAMED_NOTE)


def _known(measured: Sequence[Measured], wanted: Sequence[str]) -> list[str]:
    """The figures that any of them has."""
    return [name for name in wanted if any(figure_of(one, name) for one in measured)]


def _table(
    title: str, columns: Sequence[str], rows: Sequence[tuple[Cell, ...]], note: str
) -> Table | None:
    return Table(title, ("model", *columns), tuple(rows), note, leads=True) if rows else None


def _heading(name: str) -> str:
    return f"{words.metric(name)}{' ↓' if name in names.LOWER_IS_BETTER else ''}"


def _cells(one: Measured, shown: Sequence[str]) -> tuple[Cell, ...]:
    return name_cell(one), *(_cell(one, name) for name in shown)


def figure_of(one: Measured, name: str) -> Figure | None:
    """A figure, where it means the same of all: no mean over classes where they have no names."""
    if name in names.MEAN_OVERLAPS and not one.contestant.names_defects:
        return None
    return one.figures.get(name)


def _cell(one: Measured, name: str) -> Cell:
    figure = figure_of(one, name)
    if figure is None or name != names.FALSE_ALARM_AREA:
        return figure_cell(figure)
    text = words.percent(figure.value)
    if figure.low is not None and figure.high is not None:
        text += f" ({words.percent(figure.low)} to {words.percent(figure.high)})"
    return Cell(text, figure.value)


def _images_cell(one: Measured) -> Cell:
    known = [figure.n for name in (MAIN, *_OF_MAPS) if (figure := one.figures.get(name))]
    return Cell(str(known[0]), known[0]) if known else Cell("–")


def overlap_table(measured: Sequence[Measured]) -> Table | None:
    """IoU and Dice of each defect class; None where nobody marks them by their names."""
    naming = [one for one in measured if one.contestant.names_defects]
    ious = {one.name: names.of_classes(one.figures, names.IOU_OF_PIXELS) for one in naming}
    classes = list(dict.fromkeys(name for found in ious.values() for name in found))
    if not classes:
        return None
    rows = [
        (name_cell(one), *(_overlap_cell(one, name) for name in classes))
        for one in naming
        if ious[one.name]
    ]
    note = (
        "IoU of pixels with its 95% interval, then Dice of pixels, of all images together. Only "
        "what was given its right name counts."
    )
    return Table(OVERLAP, ("model", *classes), tuple(rows), note)


def _overlap_cell(one: Measured, class_name: str) -> Cell:
    iou = one.figures.get(names.class_metric(names.IOU_OF_PIXELS, class_name))
    dice = one.figures.get(names.class_metric(names.DICE_OF_PIXELS, class_name))
    if iou is None or dice is None:
        return figure_cell(iou)
    return Cell(f"{words.figure(iou)}, Dice {words.share(dice.value)}", iou.value)


def sentences(measured: Sequence[Measured], verdicts: Sequence[Verdict]) -> list[str]:
    """Who covers the defects best, who was shown to mark them better, and who cannot be told."""
    with_it = [one for one in measured if MAIN in one.figures]
    if len(with_it) < 2:
        return []
    top = max(one.figures[MAIN].value for one in with_it)
    leaders = [one for one in with_it if one.figures[MAIN].value == top]
    told = [
        f"Best {words.metric(MAIN)}: {words.listed([one.name for one in leaders])}, "
        f"{words.figure(leaders[0].figures[MAIN])}."
    ]
    return [*told, *_of_pairs([verdict for verdict in verdicts if verdict.marks is not None])]


def _of_pairs(verdicts: Sequence[Verdict]) -> list[str]:
    better: dict[str, list[str]] = {}
    open_: list[str] = []
    for verdict in verdicts:
        winner = words.winners(verdict).get(MAIN)
        if winner is None:
            open_.append(f"{verdict.first} and {verdict.second}")
        else:
            loser = verdict.second if winner == verdict.first else verdict.first
            better.setdefault(winner, []).append(loser)
    told = [
        f"{winner} marks defects better than {words.listed(losers)}."
        for winner, losers in better.items()
    ]
    if open_:
        which = "; ".join(open_) if len(open_) <= MOST_NAMED else f"{len(open_)} pairs"
        told.append(f"Not to be told apart in how they mark defects: {which}.")
    return told


def caveats(measured: Sequence[Measured]) -> list[str]:
    """Who marks pixels, but did not keep what was marked."""
    told = []
    for one in measured:
        marks = one.contestant.marks
        if marks is None or marks.are_whole:
            continue
        if not marks.lacking:
            told.append(
                f"{one.name}: marked pixels are kept of test images only, so it is not compared in "
                "how it marks defects."
            )
            continue
        so = (
            "it is not compared in how it marks defects"
            if MAIN in one.figures
            else "the figures of what it marks are left out"
        )
        told.append(
            f"{one.name}: {len(marks.lacking)} of {len(one.contestant.runs)} runs kept no marked "
            f"pixels ({words.listed(marks.lacking)}), so {so}. Evaluate again with evaluate.py "
            "run=<run folder>."
        )
    return told
