"""From finished run folders to a folder with the comparison of them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from capsule_inspection.files import whole_file, write_whole
from capsule_inspection.metrics import names
from capsule_inspection.reports import style
from capsule_inspection.reports.comparison import (
    cost_tables,
    interval_pictures,
    tables,
    where,
    where_pictures,
    words,
)
from capsule_inspection.reports.comparison import pictures as drawing
from capsule_inspection.reports.comparison.answer import answer
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.page import Comparison, Picture, as_html, as_markdown
from capsule_inspection.reports.comparison.thresholds import threshold_table
from capsule_inspection.reports.comparison.validation import rank_on_validation
from capsule_inspection.reports.comparison.verdicts import MOST_IN_ALL_PAIRS, judge
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.types import ConfigurationError, RunError

log = logging.getLogger(__name__)
PAGE, MARKDOWN, TABLE, PICTURES = "comparison.html", "comparison.md", "comparison.csv", "figures"
RUNNING, INTERRUPTED = "running", "interrupted"
_KINDS = {
    "": "",
    "_segmentation": ", models that mark pixels",
    "_one_class": ", models that name no classes",
}
"""Kinds of models in the names of files, and in words where there are several kinds."""

NO_RANKING = "they share no validation figure to choose by, and no test figure may choose"


def read_finished(folder: Path) -> RunFolder:
    """A run with figures. Raises RunError where it is not finished."""
    run = read_run(folder)
    status = run.record.get("status")
    if status in (RUNNING, INTERRUPTED):
        raise RunError(
            f"{folder}: this run is not finished (its record says {status}). Wait for it, or "
            f"finish it with python train.py resume={folder}"
        )
    return run


def compare(
    runs: Sequence[RunFolder], *, reference: str | None = None, failures: Sequence[str] = ()
) -> Comparison:
    """The comparison of runs. `failures` are sentences about runs that are left out.

    Raises RunError where a run cannot be compared, ConfigurationError where there is no model of
    the name `reference`.
    """
    measured = [measure(contestant) for contestant in gather(runs)]
    known = [one.name for one in measured]
    if reference is not None and reference not in known:
        raise ConfigurationError(
            f"reference={reference}: no model of this name. Compared are: {', '.join(known)}."
        )
    verdicts = judge(measured, reference=reference)
    found = [
        tables.quality_table(measured),
        where.where_table(measured),
        where.named_table(measured),
        where.overlap_table(measured),
        threshold_table(measured),
        tables.settings_table(measured),
        cost_tables.training_table(measured),
        tables.recall_table(measured),
        tables.seeds_table(measured),
        cost_tables.cost_table(measured),
    ]
    return Comparison(
        measured=measured,
        verdicts=verdicts,
        answer=answer(measured, verdicts),
        tables=[table for table in found if table is not None],
        failures=list(failures),
        reference_note=_reference_note(measured, named=reference is not None),
    )


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write page, Markdown, CSV and pictures into a folder; returns the page's path.

    The page is written last and holds everything: where it stands, it is whole.
    """
    shown, note = _shown(comparison.measured)
    pictures = [
        Picture(f"{PICTURES}/{name}.png", caption, _png(draw()))
        for name, caption, draw in _drawings(shown)
    ]
    for picture in pictures:
        with whole_file(output / picture.file) as part:
            part.write_bytes(picture.content)
    write_whole(output / TABLE, tables.as_csv(comparison.measured))
    write_whole(output / MARKDOWN, as_markdown(comparison, pictures))
    write_whole(output / PAGE, as_html(comparison, pictures, drawn_note=note))
    return output / PAGE


def _shown(measured: Sequence[Measured]) -> tuple[list[Measured], str]:
    """The models that are drawn, and a note where those are not all."""
    if len(measured) <= drawing.MOST_SHOWN:
        return list(measured), ""
    ranking = rank_on_validation(measured)
    best = ranking.order[: drawing.MOST_SHOWN]
    which = f"the {len(best)} of {len(measured)} models that are best on validation"
    if ranking.by is None:
        which = f"the first {len(best)} of {len(measured)} models ({NO_RANKING})"
    elif ranking.by == names.LOSS:
        which += " (by their loss)"
    return [one for one in measured if one in best], f"Drawn are {which}; the tables have all."


def _reference_note(measured: Sequence[Measured], *, named: bool) -> str:
    """How the model was chosen with which all others are compared, where it is not plain."""
    if named or len(measured) <= MOST_IN_ALL_PAIRS:
        return ""
    ranking = rank_on_validation(measured)
    if ranking.by is None:
        return (
            f"All are compared with {ranking.order[0].name}, the first of the runs: {NO_RANKING}."
        )
    if ranking.by == names.LOSS:
        return (
            f"All are compared with {ranking.order[0].name}, which has the least validation loss."
        )
    if ranking.by != names.BALANCED_ACCURACY:
        return (
            f"All are compared with {ranking.order[0].name}, which has the best validation "
            f"{words.metric(ranking.by)}."
        )
    return ""


def _drawings(shown: list[Measured]) -> list[tuple[str, str, Callable[[], Figure]]]:
    naming = [one.contestant for one in shown if one.contestant.names_defects]
    drawings: list[tuple[str, str, Callable[[], Figure]]] = [
        ("overview", "Figures with their 95% intervals", lambda: interval_pictures.overview(shown))
    ]
    drawings += _where(shown)
    drawings += _courses(shown)
    if any(names.of_classes(one.figures, names.RECALL) for one in shown):
        drawings.append(
            ("recall", "Recall of each class", lambda: interval_pictures.recalls(shown))
        )
    if naming:
        drawings.append(("confusion", "What was called what", lambda: drawing.confusions(naming)))
    if len(naming) > 1:
        drawings.append(
            (
                "disagreement",
                "Images on which the models disagree",
                lambda: drawing.disagreements(naming),
            )
        )
    return drawings


def _where(shown: list[Measured]) -> list[tuple[str, str, Callable[[], Figure]]]:
    """What is marked on the same photographs, and overlap with each defect."""
    drawings: list[tuple[str, str, Callable[[], Figure]]] = []
    seeing = where_pictures.shown_in([one.contestant for one in shown])
    if seeing:
        drawings.append(
            (
                "marks",
                "The same photographs, as the models see them",
                lambda: where_pictures.marked_photographs(seeing),
            )
        )
    naming = [one for one in shown if one.contestant.names_defects]
    marking = [one for one in naming if names.of_classes(one.figures, names.IOU_OF_PIXELS)]
    if marking:
        drawings.append(("overlap", where.OVERLAP, lambda: interval_pictures.overlaps(marking)))
    return drawings


def _courses(shown: list[Measured]) -> list[tuple[str, str, Callable[[], Figure]]]:
    """Courses of training: of each kind of model apart, since their losses are not alike.

    A model has the same colour as in the picture of all.
    """
    kinds: dict[str, list[Measured]] = {kind: [] for kind in _KINDS}
    for one in shown:
        if all(len(run.epochs) for run in one.contestant.runs):
            kinds[_kind(one)].append(one)
    several = sum(bool(of_kind) for of_kind in kinds.values()) > 1
    drawings: list[tuple[str, str, Callable[[], Figure]]] = []
    for kind, of_kind in kinds.items():
        if not of_kind:
            continue
        told = _KINDS[kind] if several else ""
        colours = [style.SERIES[shown.index(one)] for one in of_kind]
        for name, caption, draw in (
            ("courses", "Training over the epochs", drawing.courses),
            ("over_time", "Training over time", drawing.over_time),
        ):
            drawings.append(
                (f"{name}{kind}", f"{caption}{told}", partial(draw, of_kind, colours=colours))
            )
    return drawings


def _kind(one: Measured) -> str:
    if one.contestant.marks_pixels:
        return "_segmentation"
    return "" if one.contestant.names_defects else "_one_class"


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with style.applied():
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
