"""The tables of what models reached, what tells them apart, and each pair; and all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison import one_class, settings, words
from capsule_inspection.reports.comparison.cells import Cell, Table, figure_cell, name_cell
from capsule_inspection.reports.comparison.cost_tables import COST, TRAINING
from capsule_inspection.reports.comparison.measured import OF_SEEDS, Measured
from capsule_inspection.reports.comparison.verdicts import Verdict

QUALITY = "Test images"
WHOLE = (
    names.ACCURACY,
    names.BALANCED_ACCURACY,
    names.MACRO_F1,
    names.DEFECTS_MISSED,
    names.GOOD_REJECTED,
    names.AUROC,
)
OF_ONE_CLASS = (
    names.AVERAGE_PRECISION,
    names.F1,
    names.RECALL_AT_RATE,
)
"""Shown too where a model names no classes."""


def quality_table(measured: Sequence[Measured]) -> Table:
    """What each model reached on its test images."""
    wanted = WHOLE if _all_name(measured) else (*WHOLE, *OF_ONE_CLASS)
    shown = [name for name in wanted if any(name in one.figures for one in measured)]
    lower = names.LOWER_IS_BETTER
    columns = [f"{words.metric(name)}{' ↓' if name in lower else ''}" for name in shown]
    rows = [
        (
            name_cell(one),
            *(figure_cell(one.figures.get(name)) for name in shown),
            Cell(str(len(one.contestant.image)), len(one.contestant.image)),
        )
        for one in measured
    ]
    note = _quality_note(measured)
    return Table(QUALITY, ("model", *columns, "images"), tuple(rows), note, leads=True)


def _all_name(measured: Sequence[Measured]) -> bool:
    return all(one.contestant.names_defects for one in measured)


def _none_names(measured: Sequence[Measured]) -> bool:
    return not any(one.contestant.names_defects for one in measured)


def _quality_note(measured: Sequence[Measured]) -> str:
    told = ["Each with its 95% interval; AUROC is that of good against defect."]
    if not _none_names(measured):
        told.append(
            "Folds are pooled: every image is tested once for each seed. Of several seeds, values "
            "and limits are averaged."
        )
    if not _all_name(measured):
        told += _one_class_notes(measured)
    if any(one.contestant.marks_pixels for one in measured):
        told.append("Models that mark pixels call an image by what they marked in it.")
    return " ".join([*told, "↓: lower is better."])


def _one_class_notes(measured: Sequence[Measured]) -> list[str]:
    whose = "" if _none_names(measured) else " of models that name no classes"
    told = [
        f"Figures{whose} are means over folds and seeds: each training has a scale of its own, so "
        "scores of several are never pooled. An image that several of them judged is one image, in "
        "the intervals and in the number of images."
    ]
    if whose:
        told.append("Verdicts on a pair of the two kinds take AUROC within folds for both.")
    with_it = [one for one in measured if names.RECALL_AT_RATE in one.figures]
    rates = {one_class.false_alarm_rate(one.contestant) for one in with_it} - {None}
    if rates:
        asked = " or ".join(f"{rate:.3g}" for rate in sorted(rate for rate in rates if rate))
        told.append(
            "Recall at the false-alarm rate: the defects that would be found if the threshold let "
            f"at most {asked} of these good images be rejected."
        )
    return told


def recall_table(measured: Sequence[Measured]) -> Table | None:
    """Recall of each class; None where there is none.

    What it means differs between those that name classes and those that do not: where both stand
    in one table a column says which.
    """
    found = [names.of_classes(one.figures, names.RECALL) for one in measured]
    classes = list(dict.fromkeys(name for of_one in found for name in of_one))
    if not classes:
        return None
    mixed = not _all_name(measured) and not _none_names(measured)
    rows = [
        (
            name_cell(one),
            *([Cell(words.counted(one.contestant))] if mixed else []),
            *(figure_cell(of_one.get(name)) for name in classes),
        )
        for one, of_one in zip(measured, found, strict=True)
    ]
    columns = ("model", *(["what is counted"] if mixed else []), *classes)
    return Table("Recall of each class", columns, tuple(rows), _recall_note(measured))


def _recall_note(measured: Sequence[Measured]) -> str:
    named = "Share of the images of a class that are named correctly; – where it has none."
    rejected = (
        "Share of the images of a class that are rejected, as defects should be; of "
        f"{words.listed(_good_names(measured))}: that pass."
    )
    if _all_name(measured):
        return named
    if _none_names(measured):
        return f"{rejected} – where it has none."
    return (
        "The rows do not all mean the same. Named: the share of the images of a class that got its "
        f"very name; a defect that was taken for another is not counted. Rejected: the "
        f"{rejected[0].lower()}{rejected[1:]} That is the easier task, so compare rows of one kind "
        "only; defects missed and good ones rejected, above, mean the same for all."
    )


def _good_names(measured: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(one.contestant.good for one in measured))


def settings_table(measured: Sequence[Measured]) -> Table | None:
    """What tells models of one network apart; None where their names say all."""
    models = [settings.model_settings(one.contestant.runs[0]) for one in measured]
    rows = [
        (name_cell(one), Cell(told))
        for one, model in zip(measured, models, strict=True)
        if (told := settings.told_apart(model, models))
    ]
    return Table("Settings", ("model", "what differs"), tuple(rows)) if rows else None


def seeds_table(measured: Sequence[Measured]) -> Table | None:
    """How much seeds differ; None where nobody has several."""
    with_seeds = [one for one in measured if len(one.contestant.seeds) > 1]
    if not with_seeds:
        return None
    known = {metric for one in with_seeds for of_seed in one.by_seed.values() for metric in of_seed}
    shown = [metric for metric in OF_SEEDS if metric in known]
    rows = []
    for one in with_seeds:
        cells = [name_cell(one), Cell(", ".join(map(str, one.contestant.seeds)))]
        for metric in shown:
            values = [of_seed[metric] for of_seed in one.by_seed.values() if metric in of_seed]
            cells.append(_spread_of_seeds(values))
        rows.append(tuple(cells))
    return Table(
        "Spread over seeds",
        ("model", "seeds", *map(words.metric, shown)),
        tuple(rows),
        "Mean (least to most; standard deviation) of the same test images under other first "
        "weights and another order of training.",
    )


def pair_table(verdict: Verdict) -> Table:
    """All figures of a pair with their tests."""
    rows = [
        (
            Cell(words.metric(name)),
            Cell(words.points(difference.value), difference.value),
            Cell(words.interval(difference).strip(" ()") or "–"),
            Cell(words.test_and_p(difference), difference.p_value),
            _corrected_cell(verdict, name),
            Cell("yes" if verdict.differs(name) else "no"),
        )
        for name, difference in verdict.differences.items()
    ]
    columns = ("figure", "difference in points", "95% interval", "test", "corrected", "told apart")
    return Table("", columns, tuple(rows))


def _corrected_cell(verdict: Verdict, name: str) -> Cell:
    """The p value that knows how many pairs were tested by this figure."""
    pairs = verdict.pairs(name)
    whose = f", for {pairs} pairs" if pairs > 1 else ""
    return Cell(f"p {words.p(verdict.corrected.get(name))}{whose}", verdict.corrected.get(name))


def as_csv(measured: Sequence[Measured]) -> str:
    """One row a model: every figure with its limits and n, every number of training and cost."""
    metrics = list(dict.fromkeys(name for one in measured for name in one.figures))
    parts = ("", "_low", "_high", "_n")
    costs = (*TRAINING, *COST)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["model", "task", "runs", "seeds", "stage", "optimistic", "first_weights"]
        + [f"{name}{part}" for name in metrics for part in parts]
        + [label.replace(",", "").replace(" ", "_") for label, _, _ in costs]
    )
    for one in measured:
        row: list[object] = [one.name, one.contestant.task, len(one.contestant.runs)]
        row += [" ".join(map(str, one.contestant.seeds)), one.contestant.stage]
        row += [one.contestant.is_optimistic, one.weights]
        for name in metrics:
            figure = one.figures.get(name)
            row += ["", "", "", ""] if figure is None else list(vars(figure).values())
        spreads = [one.cost(of_run) for _, of_run, _ in costs]
        row += ["" if spread is None else spread.mean for spread in spreads]
        writer.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()


def _spread_of_seeds(values: Sequence[float]) -> Cell:
    if not values:
        return Cell("–")
    least, most = words.share(min(values)), words.share(max(values))
    if len(values) < 2:
        return Cell(least, values[0])
    deviation = float(np.std(values, ddof=1))
    text = f"{words.share(float(np.mean(values)))} ({least} to {most}; {words.share(deviation)})"
    return Cell(text, float(np.mean(values)))
