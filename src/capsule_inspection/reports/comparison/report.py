"""Compares finished runs and writes the comparison into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from capsule_inspection.config.quoting import format_command
from capsule_inspection.files import atomic_write_text
from capsule_inspection.metrics import names
from capsule_inspection.reports.comparison.caveats import find_caveats
from capsule_inspection.reports.comparison.decision import recommend
from capsule_inspection.reports.comparison.export import to_csv, to_json
from capsule_inspection.reports.comparison.metrics import ModelMetrics, measure
from capsule_inspection.reports.comparison.page import (
    PLOTS,
    Comparison,
    embed_plots,
    recommendation_text,
    to_html,
    to_markdown,
)
from capsule_inspection.reports.comparison.pairs import DecisionSettings, compare_pairs
from capsule_inspection.reports.comparison.plots import MAX_PLOTTED_MODELS, list_plots
from capsule_inspection.reports.comparison.ranking import rank_on_validation
from capsule_inspection.reports.comparison.table import ModelRuns, read_models
from capsule_inspection.reports.comparison.tables import make_tables
from capsule_inspection.reports.comparison.wording import note
from capsule_inspection.reports.plots import style
from capsule_inspection.reports.run.run_folder import RunFolder, read_run
from capsule_inspection.types import PRIMARY_METRICS, ConfigurationError, RunError

PAGE, MARKDOWN = "comparison.html", "comparison.md"
TABLE, JSON = "comparison.csv", "comparison.json"
WRITTEN = (PAGE, MARKDOWN, TABLE, JSON, PLOTS)
"""Files and folders of a comparison."""
RUNNING, INTERRUPTED = "running", "interrupted"

MAX_MODELS_FOR_ALL_PAIRS = 8
"""With more models than this, each is compared with a reference only."""


def read_finished(folder: Path, *, verify: bool = True) -> RunFolder:
    """Read a run, see `read_run`. Raises RunError where it is not finished."""
    run = read_run(folder, verify=verify)
    status = run.record.get("status")
    if status in (RUNNING, INTERRUPTED):
        again = "finish it with " + format_command(["train.py", f"resume={folder}"])
        if "evaluated" in run.record:
            again = "repeat its command of evaluate.py"
        raise RunError(
            f"{folder}: this run is not finished (its record says {status}). Wait for it, or "
            + again
        )
    return run


def compare(
    runs: Sequence[RunFolder],
    *,
    reference: str | None = None,
    settings: DecisionSettings | None = None,
    failures: Sequence[str] = (),
) -> Comparison:
    """Compare runs. `failures` are sentences about runs that are left out.

    Above eight models each is compared with a reference only: the best on validation, unless
    another is named. Raises RunError where a run cannot be compared, ConfigurationError where there
    is no model of the name `reference`, or the primary metric compares no two models.
    """
    models = read_models(runs)
    settings = _with_defect_rate(settings or DecisionSettings(), models)
    results = [measure(model, settings.costs) for model in models]
    known = [result.name for result in results]
    if reference is not None and reference not in known:
        raise ConfigurationError(
            f"reference={reference}: no model of this name. Compared are: {', '.join(known)}."
        )
    measured = [metric for metric in PRIMARY_METRICS if metric in results[0].metrics]
    if len(results) == 1 and settings.primary not in (None, *measured):
        raise ConfigurationError(
            f"compare.primary={settings.primary}: {known[0]} has no such metric. Choose one of "
            f"{', '.join(measured)}."
        )
    reference_note = ""
    if reference is None and len(results) > MAX_MODELS_FOR_ALL_PAIRS:
        reference, reference_note = _choose_reference(results)
    pairs = compare_pairs(results, settings, reference=reference)
    recommendation = recommend(results, pairs, settings)
    return Comparison(
        results=results,
        pairs=pairs,
        recommendation=recommendation,
        tables=make_tables(results, recommendation.primary),
        caveats=find_caveats(results, settings.costs),
        failures=list(failures),
        settings=settings,
        reference=reference,
        reference_note=reference_note,
    )


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write page, Markdown, CSV, JSON and plots into a folder; returns the path of the page.

    The page is written last: where it exists, the comparison is complete.
    """
    results, pairs, found = comparison.results, comparison.pairs, comparison.recommendation
    plotted, plots_note = _choose_plotted(comparison)
    drawn = {}
    for name, draw in list_plots(plotted, pairs, found).items():
        path = output / PLOTS / f"{name}.png"
        style.save(draw(), path)
        drawn[name] = path.read_bytes()
    plots = embed_plots(drawn)
    text = recommendation_text(comparison)
    page = to_html(comparison, plots, plots_note=plots_note, folder=output)
    atomic_write_text(output / TABLE, to_csv(results))
    atomic_write_text(output / JSON, to_json(results, pairs, found, text[0]))
    atomic_write_text(output / MARKDOWN, to_markdown(comparison, plots))
    atomic_write_text(output / PAGE, page)
    return output / PAGE


def _with_defect_rate(settings: DecisionSettings, models: Sequence[ModelRuns]) -> DecisionSettings:
    """Settings whose costs have a defect rate, by default that of all test images."""
    costs = settings.costs
    if costs is None or costs.defect_rate is not None:
        return settings
    images = pd.concat([model.images["is_defect"] for model in models])
    rate = float(images.groupby(level=0).first().mean())
    if not 0 < rate < 1:  # no model has both error rates, so there are no costs to compare
        return settings
    return replace(settings, costs=replace(costs, defect_rate=rate))


def _choose_reference(results: Sequence[ModelMetrics]) -> tuple[str, str]:
    """The model that is best on validation, and how it was chosen; "" where it is the usual way."""
    ranking = rank_on_validation(results)
    name, by = ranking.order[0].name, ranking.by
    if by == names.BALANCED_ACCURACY:
        return name, ""
    return name, note("reference", name, by)


def _choose_plotted(comparison: Comparison) -> tuple[list[ModelMetrics], str]:
    """The models in the plots, and a note where those are not all; a reference is always there."""
    results, reference = comparison.results, comparison.reference
    if len(results) <= MAX_PLOTTED_MODELS:
        return list(results), ""
    ranking = rank_on_validation(results)
    best = ranking.order[:MAX_PLOTTED_MODELS]
    added = [of for of in results if of.name == reference and of not in best]
    best = best[: MAX_PLOTTED_MODELS - len(added)]
    text = note("plotted", len(best), len(results), ranking.by, [of.name for of in added])
    return [result for result in results if result in (*best, *added)], text
