"""A comparison as a self-contained HTML page and as Markdown.

The Jinja2 templates escape every text that comes from files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsule_inspection.reports import html
from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.model_metrics import ModelMetrics
from capsule_inspection.reports.comparison.model_runs import get_fold, get_seed
from capsule_inspection.reports.comparison.pairwise import PairwiseComparison
from capsule_inspection.reports.comparison.pairwise_summary import details, headline
from capsule_inspection.reports.comparison.summary import Summary
from capsule_inspection.reports.comparison.tables import pair_table
from capsule_inspection.reports.formatting import format_list
from capsule_inspection.reports.html import EmbeddedImage
from capsule_inspection.reports.run.run_folder import RunFolder

_TEMPLATES = Path(__file__).parent / "templates"
PAIRS_NOTE = (
    "Two models are compared image by image, on the same images. “Not distinguishable” means that "
    "differences like this one come about by chance in more than one of twenty comparisons; it "
    "does not mean that the two are equal. Intervals are for a pair by itself, p values are "
    "corrected for the number of pairs (Holm)."
)


@dataclass(frozen=True)
class Comparison:
    """The contents of a comparison."""

    results: Sequence[ModelMetrics]
    pairs: Sequence[PairwiseComparison]
    summary: Summary
    tables: Sequence[Table]
    failures: Sequence[str]
    reference_note: str = ""
    """How the reference of the pairwise comparisons was chosen."""


def to_html(comparison: Comparison, plots: Sequence[EmbeddedImage], *, plots_note: str) -> str:
    """The page; it needs no network."""
    template = _environment(autoescape=True).get_template("comparison.html.j2")
    return template.render(**_content(comparison, plots), plots_note=plots_note)


def to_markdown(comparison: Comparison, plots: Sequence[EmbeddedImage]) -> str:
    """The same as Markdown."""
    template = _environment(autoescape=False).get_template("comparison.md.j2")
    text = template.render(**_content(comparison, plots))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(*, autoescape: bool) -> Any:
    environment = html.environment(_TEMPLATES, autoescape=autoescape)
    environment.filters["cell"] = _markdown_cell
    environment.filters["line"] = _markdown_line
    return environment


def _markdown_line(text: str) -> str:
    """Text on one line, with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(str(text).split()))


def _markdown_cell(text: str) -> str:
    return _markdown_line(text).replace("|", r"\|")


def _content(comparison: Comparison, plots: Sequence[EmbeddedImage]) -> dict[str, Any]:
    results = comparison.results
    models = [result.name for result in results]
    title = f"Comparison of {len(models)} models" if len(models) > 1 else f"Metrics of {models[0]}"
    return {
        "title": title,
        "subtitle": _subtitle(results),
        "summary": comparison.summary,
        "failures": comparison.failures,
        "leading": [table for table in comparison.tables if table.is_leading],
        "tables": [table for table in comparison.tables if not table.is_leading],
        "pairs": [
            {"headline": headline(pair), "details": details(pair), "table": pair_table(pair)}
            for pair in comparison.pairs
        ],
        "pairs_note": f"{PAIRS_NOTE} {comparison.reference_note}".strip(),
        "plots": plots,
        "runs": [_describe_run(result, run) for result in results for run in result.model.runs],
    }


def _subtitle(results: Sequence[ModelMetrics]) -> str:
    runs = [run for result in results for run in result.model.runs]
    tasks = list(dict.fromkeys(result.model.task for result in results))
    data = list(dict.fromkeys(str(run.record.get("data", {}).get("name", "?")) for run in runs))
    images = sorted({len(result.model.image_ids) for result in results})
    folds = {get_fold(run) for run in runs} - {None}
    seeds = {get_seed(run) for run in runs}
    parts = [
        f"{len(runs)} runs" if len(runs) > 1 else "1 run",
        f"task {format_list(tasks)}",
        f"data {format_list(data)}",
        f"{' or '.join(map(str, images))} test images a model",
    ]
    if folds:
        parts.append(f"{len(folds)} folds" if len(folds) > 1 else "1 fold")
    parts.append(f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed")
    return ", ".join(parts)


def _describe_run(result: ModelMetrics, run: RunFolder) -> dict[str, str]:
    fold = get_fold(run)
    detail = [] if fold is None else [f"fold {fold}"]
    detail.append(f"seed {get_seed(run)}")
    return {"model": result.name, "path": str(run.path), "detail": ", ".join(detail)}
