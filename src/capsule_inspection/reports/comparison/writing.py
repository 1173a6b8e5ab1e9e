"""From finished run folders to a folder with the comparison of them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from capsule_inspection.contracts import ConfigurationError, RunError
from capsule_inspection.files import whole_file, write_whole
from capsule_inspection.metrics import names
from capsule_inspection.reports import style
from capsule_inspection.reports.comparison import pictures as drawing
from capsule_inspection.reports.comparison import tables
from capsule_inspection.reports.comparison.answer import answer
from capsule_inspection.reports.comparison.contestants import gather
from capsule_inspection.reports.comparison.measured import Measured, measure
from capsule_inspection.reports.comparison.page import Comparison, Picture, as_html, as_markdown
from capsule_inspection.reports.comparison.verdicts import best_on_validation, judge
from capsule_inspection.reports.run_folder import RunFolder, read_run

log = logging.getLogger(__name__)
PAGE, MARKDOWN, TABLE, PICTURES = "comparison.html", "comparison.md", "comparison.csv", "figures"
RUNNING = "running"


def read_finished(folder: Path) -> RunFolder:
    """A run with figures. Raises RunError where it is not finished."""
    run = read_run(folder)
    if run.record.get("status") == RUNNING:
        raise RunError(
            f"{folder}: this run is not finished (its record says running). Wait for it, or finish "
            f"it with python train.py resume={folder}"
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
        tables.settings_table(measured),
        tables.training_table(measured),
        tables.recall_table(measured),
        tables.seeds_table(measured),
        tables.cost_table(measured),
    ]
    return Comparison(
        measured=measured,
        verdicts=verdicts,
        answer=answer(measured, verdicts),
        tables=[table for table in found if table is not None],
        failures=list(failures),
    )


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write page, Markdown, CSV and pictures into a folder; returns the page's path.

    The page is written last and holds everything: where it stands, it is whole.
    """
    shown = _shown(comparison.measured)
    note = ""
    if len(shown) < len(comparison.measured):
        note = (
            f"Drawn are the {len(shown)} of {len(comparison.measured)} models that are best on "
            "validation; the tables have all."
        )
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


def _shown(measured: Sequence[Measured]) -> list[Measured]:
    left = list(measured)
    best: list[Measured] = []
    while left and len(best) < drawing.MOST_SHOWN:
        best.append(best_on_validation(left))
        left.remove(best[-1])
    return [one for one in measured if one in best]


def _drawings(shown: list[Measured]) -> list[tuple[str, str, Callable[[], Figure]]]:
    contestants = [one.contestant for one in shown]
    naming = [one for one in contestants if one.names_defects]
    trained = [one for one in shown if all(len(run.epochs) for run in one.contestant.runs)]
    drawings: list[tuple[str, str, Callable[[], Figure]]] = [
        ("overview", "Figures with their 95% intervals", lambda: drawing.overview(shown))
    ]
    if trained:
        drawings += [
            ("courses", "Training over the epochs", lambda: drawing.courses(trained)),
            ("over_time", "Training over time", lambda: drawing.over_time(trained)),
        ]
    if any(names.of_classes(one.figures, names.RECALL) for one in shown):
        drawings.append(("recall", "Recall of each class", lambda: drawing.recalls(shown)))
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


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with style.applied():
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
