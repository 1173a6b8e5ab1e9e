"""Compares finished runs: those of `compare.py`, and the jobs of a sweep at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from capsule_inspection.config.decisions import read_costs
from capsule_inspection.config.sweeps import cause, read_job
from capsule_inspection.files import (
    atomic_dir,
    flush,
    make_partial_dir,
    remove_partial,
    transient_lock,
)
from capsule_inspection.integrity import checksums
from capsule_inspection.reports.comparison.console import print_comparison
from capsule_inspection.reports.comparison.pairs import DecisionSettings
from capsule_inspection.reports.comparison.report import (
    PAGE,
    WRITTEN,
    Comparison,
    compare,
    read_finished,
    write_comparison,
)
from capsule_inspection.reports.run.run_folder import RunFolder
from capsule_inspection.types import Costs, RunError, RunFiles, SweepFiles
from capsule_inspection.workflows.output_folder import OutputFolder, settings_of
from capsule_inspection.workflows.record import FINISHED

log = logging.getLogger(__name__)
_READ = (RunFiles.RECORD, RunFiles.CONFIG, RunFiles.EPOCHS, RunFiles.METRICS,
         RunFiles.PREDICTIONS, RunFiles.MAPS, RunFiles.EXPLANATIONS)  # fmt: skip
"""Files of a run that decide a comparison."""


def compare_runs(config: DictConfig) -> None:
    """Compare as `conf/compare.yaml` says, into Hydra's run folder.

    Raises RunError where a run is unfinished or unreadable, or the output folder is in use; then
    nothing but the log is written.
    """
    output = Path(HydraConfig.get().runtime.output_dir)
    names = [name for name in dict.fromkeys(config.runs) if name]
    runs, failures = _read_runs(names, verify=config.verify == "full")
    made_by = {
        "command": "compare.py",
        "settings": settings_of(config),
        "failures": failures,
        "runs": [checksums(run.path, _READ) for run in runs],
    }
    results = OutputFolder(output, made_by=made_by, names=WRITTEN)
    if results.is_finished:
        log.info("Finished before, kept: %s", output / PAGE)
        return
    settings = DecisionSettings(config.compare.primary, config.compare.margin, read_costs(config))
    comparison = compare(runs, reference=config.reference, settings=settings, failures=failures)
    with results.writing():
        page = write_comparison(comparison, output)
    print_comparison(comparison)
    log.info("Comparison: %s", page)


def report_sweep(folder: Path) -> None:
    """Compare the finished jobs of a sweep, into its folder; a former report is replaced.

    What decides is set in the configuration of the sweep, as its first finished job recorded it.
    """
    runs, failures = read_jobs(folder)
    if not runs:
        log.warning("%s: no job has finished, so there is nothing to compare.", folder)
        return
    comparison = compare(runs, settings=_settings_of(runs[0]), failures=failures)
    page = _replace_comparison(comparison, folder / SweepFiles.COMPARISON)
    print_comparison(comparison)
    log.info("Comparison: %s", page)


def _replace_comparison(comparison: Comparison, target: Path) -> Path:
    """Write a comparison in place of a former one; returns the path of the page.

    Killed in between, there may be none, until the sweep is resumed.
    """
    with transient_lock(target.with_suffix(".lock")):
        remove_partial(target)
        with atomic_dir(target) as part:
            write_comparison(comparison, part)
            if target.exists():
                flush(part)
                target.replace(make_partial_dir(target) / "former")
        remove_partial(target)
    return target / PAGE


def read_jobs(folder: Path, *, verify: bool = True) -> tuple[list[RunFolder], list[str]]:
    """The finished runs of a folder in the order of their names, and why others are left out."""
    runs, failures = [], []
    for job in sorted(path for path in folder.iterdir() if _is_run(path)):
        state = read_job(job) if (job / SweepFiles.JOB).exists() else None
        try:
            if state is not None and state.status != FINISHED:
                raise RunError(cause(job, state))
            run = read_finished(job, verify=verify)
            if run.record.get("status") != FINISHED:
                raise RunError(f"{run.record.get('status')}. {run.record.get('error') or ''}")
            runs.append(run)
        except RunError as error:
            failures.append(f"{job.name}: {error}".strip())
    return runs, failures


def _settings_of(run: RunFolder) -> DecisionSettings:
    """The settings of a comparison in the configuration of a training."""
    stored = run.settings
    missed, rejected = stored.get("cost.false_negative"), stored.get("cost.false_positive")
    costs = None
    if missed is not None and rejected is not None:
        costs = Costs(missed, rejected, stored.get("cost.defect_rate"))
    margin = stored.get("compare.margin", DecisionSettings.margin)
    return DecisionSettings(stored.get("compare.primary"), margin, costs)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RunFiles.RECORD, SweepFiles.JOB))


def _read_runs(names: Sequence[str], *, verify: bool) -> tuple[list[RunFolder], list[str]]:
    """The named runs; of the folder of a sweep, those that are finished."""
    if not names:
        raise RunError("runs=[]: name at least one run folder, runs=[outputs/a,outputs/b].")
    runs: list[RunFolder] = []
    failures: list[str] = []
    for folder in map(Path, names):
        if folder.is_dir() and not (folder / RunFiles.RECORD).is_file():
            found, left_out = read_jobs(folder, verify=verify)
            if not found:
                reasons = f" ({'; '.join(left_out)})" if left_out else ""
                raise RunError(
                    f"{folder}: expected a run folder with {RunFiles.RECORD}, or a sweep's folder "
                    f"with finished runs in it; found neither{reasons}."
                )
            runs += found
            failures += left_out
        else:
            runs.append(read_finished(folder, verify=verify))
    # A run may be named twice, such as by its own folder and by that of its sweep.
    return list({run.path.resolve(): run for run in runs}.values()), failures
