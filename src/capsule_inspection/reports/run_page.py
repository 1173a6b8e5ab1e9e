"""report.html: one page that says whether an inspection would work, for every task.

Reads a finished run folder and the pictures in it. The answer comes first, in plain words; every
text from files is escaped, and nothing is loaded from anywhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capsule_inspection.files import write_whole
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.page import history, marking, pictures
from capsule_inspection.reports.page.answer import answer
from capsule_inspection.reports.page.figures import absences, figure_rows
from capsule_inspection.reports.run_folder import RunFolder, read_run
from capsule_inspection.reports.run_pictures import write_run_pictures
from capsule_inspection.types import TEST, VAL, RunError, RunFiles

_TEMPLATES = Path(__file__).parent / "page" / "templates"


def write_run_page(run_folder: Path) -> Path:
    """Write the page into a finished run folder; returns its path.

    Pictures are those in the folder; where it has none yet, they are drawn. Raises RunError where a
    file of the run is missing or broken, or nothing was predicted.
    """
    if not (run_folder / RunFiles.PICTURES).is_dir():
        write_run_pictures(run_folder)
    run = read_run(run_folder)
    page = environment(_TEMPLATES).get_template("run.html.j2").render(**_content(run))
    write_whole(run_folder / RunFiles.PAGE, page)
    return run_folder / RunFiles.PAGE


def _content(run: RunFolder) -> dict[str, Any]:
    stage = _stage(run)
    main = pictures.main_pictures(run)
    return {
        "title": f"Inspection report: {run.record.get('model', run.path.name)}",
        "subtitle": _subtitle(run, stage),
        "answer": answer(run, stage),
        "figures_note": f"Measured on the {stage} images. A 95% interval is where the true value "
        "may well lie: with so few images it matters as much as the value.",
        "overlap_note": marking.POOLED_OR_MEAN if run.marks_pixels else "",
        "rows": figure_rows(run, stage),
        "absences": absences(run, stage),
        "pictures": main,
        "more_pictures": pictures.class_pictures(run),
        "pictures_note": "" if main else "This run has no pictures of test images.",
        "parts": history.parts(run),
        "facts": history.facts(run),
        "training_pictures": pictures.training_pictures(run),
        "command": history.command(run),
        "path": str(run.path),
    }


def _stage(run: RunFolder) -> str:
    """The part that is reported: test, else validation, else the first that there is."""
    stages = run.stages()
    if not stages:
        raise RunError(f"{run.path / RunFiles.PREDICTIONS}: no image was predicted.")
    return next((stage for stage in (TEST, VAL) if stage in stages), stages[0])


def _subtitle(run: RunFolder, stage: str) -> str:
    scores = run.scores_of(stage)
    defects = int(scores.is_defect.sum())
    data = run.record.get("data")
    parts = [
        f"task {run.record.get('task', 'unknown')}",
        f"data {data.get('name', 'unknown') if isinstance(data, dict) else 'unknown'}",
        f"{stage} images: {len(scores.score) - defects} good, {defects} with defects",
    ]
    finished = str(run.record.get("finished") or run.record.get("evaluated") or "")[:10]
    return ", ".join([*parts, *([finished] if finished else [])])
