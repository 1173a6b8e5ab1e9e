"""report.html: the page of one run, for every task.

From a finished run folder and the plots in it. Every text from files is escaped, and the page loads
nothing from elsewhere. Its sentences stand in templates/run_text.j2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capsule_inspection.files import atomic_write_text
from capsule_inspection.metrics import names
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.run import training_history
from capsule_inspection.reports.run.metric_table import list_metrics, missing_metrics
from capsule_inspection.reports.run.plots import page_plots, write_run_plots
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.reports.run.summary import TILES, Summary, summarize
from capsule_inspection.types import TEST, VAL, RunError, RunFiles

_FILES = (
    *(RunFiles.PREDICTIONS, RunFiles.METRICS, RunFiles.EPOCHS, RunFiles.CONFIG, RunFiles.SPLIT),
    *(RunFiles.RECORD, RunFiles.BEST, RunFiles.LAST, RunFiles.LOG),
)
"""Files that the page links to where there are, described in run.html.j2."""


def write_run_page(run_folder: Path) -> Path:
    """Write the page into a finished run folder; returns its path.

    The plots are those in the folder; where it has none, they are drawn. Raises RunError where a
    file of the run is missing or broken, or there are no predictions.
    """
    if not (run_folder / RunFiles.PLOTS).is_dir():
        write_run_plots(run_folder)
    run = read_run(run_folder)
    page = environment().get_template("run.html.j2").render(**_content(run))
    atomic_write_text(run_folder / RunFiles.PAGE, page)
    return run_folder / RunFiles.PAGE


def _content(run: RunFolder) -> dict[str, Any]:
    stage = _choose_stage(run)
    summary = summarize(run, stage)
    tiles = (names.FALSE_NEGATIVE_RATE, names.FALSE_POSITIVE_RATE, *TILES[run.task])
    return {
        "title": f"Inspection report: {run.record.get('model', run.path.name)}",
        "subtitle": _subtitle(run, summary),
        "run": run,
        "summary": summary,
        "tiles": {name: summary.metrics[name] for name in tiles if name in summary.metrics},
        "metric_names": list_metrics(run, stage),
        "missing_metrics": missing_metrics(run, stage),
        "plots": page_plots(run),
        "splits": training_history.count_splits(run),
        "mixture": training_history.find_mixture(run),
        "hardware": training_history.list_hardware(run),
        "command": training_history.format_command(run),
        "files": [name for name in _FILES if (run.path / name).is_file()],
    }


def _choose_stage(run: RunFolder) -> str:
    """The split that is reported: test, else validation, else the first one."""
    stages = run.stages()
    if not stages:
        raise RunError(f"{run.path / RunFiles.PREDICTIONS}: there are no predictions.")
    return next((stage for stage in (TEST, VAL) if stage in stages), stages[0])


def _subtitle(run: RunFolder, summary: Summary) -> str:
    data = training_history.as_mapping(run.record.get("data"))
    finished = str(run.record.get("finished") or run.record.get("evaluated") or "")[:10]
    parts = [
        f"task {run.record.get('task', 'unknown')}",
        f"data {data.get('name', 'unknown')}",
        f"{summary.stage} images: {summary.num_good} good, {summary.num_defects} with defects",
        finished,
    ]
    return ", ".join(part for part in parts if part)
