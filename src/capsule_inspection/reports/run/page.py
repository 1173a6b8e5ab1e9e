"""report.html: the page of one run, for every task.

From a finished run folder and the plots in it. Every text from files is escaped, and the page loads
nothing from elsewhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capsule_inspection.files import atomic_write_text
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.run import localization_summary, page_plots, training_history
from capsule_inspection.reports.run.metric_table import metric_rows, missing_metrics
from capsule_inspection.reports.run.plots import write_run_plots
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.reports.run.summary import summarize
from capsule_inspection.types import TEST, VAL, RunError, RunFiles

_TEMPLATES = Path(__file__).parent / "templates"


def write_run_page(run_folder: Path) -> Path:
    """Write the page into a finished run folder; returns its path.

    The plots are those in the folder; where it has none, they are drawn. Raises RunError where a
    file of the run is missing or broken, or there are no predictions.
    """
    if not (run_folder / RunFiles.PLOTS).is_dir():
        write_run_plots(run_folder)
    run = read_run(run_folder)
    page = environment(_TEMPLATES).get_template("run.html.j2").render(**_content(run))
    atomic_write_text(run_folder / RunFiles.PAGE, page)
    return run_folder / RunFiles.PAGE


def _content(run: RunFolder) -> dict[str, Any]:
    stage = _choose_stage(run)
    main = page_plots.main_plots(run)
    return {
        "title": f"Inspection report: {run.record.get('model', run.path.name)}",
        "subtitle": _subtitle(run, stage),
        "summary": summarize(run, stage),
        "metrics_note": f"Measured on the {stage} images. The 95% interval covers the plausible "
        "true values: with few images it matters as much as the value.",
        "overlap_note": localization_summary.GLOBAL_AND_SAMPLEWISE if run.has_masks else "",
        "metric_rows": metric_rows(run, stage),
        "missing_metrics": missing_metrics(run, stage),
        "plots": main,
        "class_plots": page_plots.class_plots(run),
        "plots_note": "" if main else "This run has no plots of test images.",
        "splits": training_history.list_splits(run),
        "facts": training_history.list_facts(run),
        "training_plots": page_plots.training_plots(run),
        "command": training_history.format_command(run),
        "path": str(run.path),
    }


def _choose_stage(run: RunFolder) -> str:
    """The split that is reported: test, else validation, else the first one."""
    stages = run.stages()
    if not stages:
        raise RunError(f"{run.path / RunFiles.PREDICTIONS}: there are no predictions.")
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
