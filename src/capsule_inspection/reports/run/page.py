"""report.html: the page of one run, for every task.

From a finished run folder and the plots in it. Every text from files is escaped, and the page loads
nothing from elsewhere. Its sentences stand in templates/run_text.j2.
"""

from __future__ import annotations

from pathlib import Path

from capsule_inspection.config.quoting import format_command
from capsule_inspection.files import atomic_write_text
from capsule_inspection.metrics import names, registry
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.run.plots import page_plots, write_run_plots
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.reports.run.summary import Summary, summarize
from capsule_inspection.types import RunError, RunFiles

_MIXTURE = ("synthetic_defects", "copy_paste", "real_defects")


def write_run_page(run_folder: Path) -> Path:
    """Write the page into a finished run folder; returns its path.

    The plots are those in the folder; where it has none, they are drawn. It reports the test split,
    else validation, else the first one. Raises RunError where a file of the run is missing or
    broken, or there are no predictions.
    """
    if not (run_folder / RunFiles.PLOTS).is_dir():
        write_run_plots(run_folder)
    run = read_run(run_folder)
    if not run.stages():
        raise RunError(f"{run.path / RunFiles.PREDICTIONS}: there are no predictions.")
    summary = summarize(run, run.reported_stage)
    page = environment().get_template("run.html.j2").render(
        run=run,
        summary=summary,
        metric_names=list_metrics(run, summary),
        plots=page_plots(run),
        mixture=find_mixture(run),
        next_steps=list_next_steps(run),
        command=format_command(run.record.get("command") or ()),
    )  # fmt: skip
    atomic_write_text(run_folder / RunFiles.PAGE, page)
    return run_folder / RunFiles.PAGE


def list_next_steps(run: RunFolder) -> dict[str, str]:
    """Commands for this run by what they do; none for an evaluation, which has no model."""
    if not run.has_file(RunFiles.BEST):
        return {}
    steps = {
        "Predict images of your own": ("predict.py", "input=path/to/images"),
        "Try it in the browser": ("app.py",),
        "Export it for another machine": ("export.py", "format=onnx"),
    }
    folder = f"run={run.path}"
    return {
        what: format_command([script, folder, *more]) for what, (script, *more) in steps.items()
    }


def list_metrics(run: RunFolder, summary: Summary) -> list[str]:
    """Every metric of the summary but those of single classes, which are plotted.

    Without defect classes, means over classes are left out: they repeat the binary metrics.
    """
    expected = registry.metrics_of(run.task, names_defects=run.names_defects)
    repeated = () if run.names_defects else names.MEAN_OVERLAPS
    return [
        name
        for name in dict.fromkeys((*expected, *summary.metrics))
        if name in summary.metrics and name not in repeated and not names.is_class_metric(name)
    ]


def find_mixture(run: RunFolder) -> dict[str, int]:
    """Kinds of 100 training images of a segmentation model; empty where they are unknown.

    The keys are those of `data`, and `unchanged` for the other good images.
    """
    known = {key: run.settings.get(f"data.{key}") for key in _MIXTURE}
    fractions = {key: of for key, of in known.items() if isinstance(of, int | float)}
    if not run.has_masks or len(fractions) < len(_MIXTURE):
        return {}
    fractions["unchanged"] = 1 - sum(fractions.values())
    return {key: count for key, of in fractions.items() if (count := round(100 * of))}
