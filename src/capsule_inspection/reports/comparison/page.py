"""One comparison as HTML that needs nothing else, and as Markdown.

Jinja2 templates beside this file; every text that came from files is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsule_inspection.reports import html
from capsule_inspection.reports.comparison import words
from capsule_inspection.reports.comparison.answer import Answer
from capsule_inspection.reports.comparison.cells import Table
from capsule_inspection.reports.comparison.contestant import fold_of, seed_of
from capsule_inspection.reports.comparison.measured import Measured
from capsule_inspection.reports.comparison.tables import pair_table
from capsule_inspection.reports.comparison.verdicts import Verdict
from capsule_inspection.reports.html import Picture

_TEMPLATES = Path(__file__).parent / "templates"
VERDICT_NOTE = (
    "Two models are compared image by image, on the same images. “Not distinguishable” means that "
    "differences like this one come about by chance in more than one of twenty comparisons; it "
    "does not mean that the two are equal. Intervals are for a pair by itself, p values are "
    "corrected for the number of pairs (Holm)."
)


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison says, ready to be written down."""

    measured: Sequence[Measured]
    verdicts: Sequence[Verdict]
    answer: Answer
    tables: Sequence[Table]
    failures: Sequence[str]
    reference_note: str = ""
    """How the one was chosen with which all others are compared, where that must be told."""


def as_html(comparison: Comparison, pictures: Sequence[Picture], *, drawn_note: str) -> str:
    """The page; opens without a network."""
    template = _environment(autoescape=True).get_template("comparison.html.j2")
    return template.render(**_content(comparison, pictures), drawn_note=drawn_note)


def as_markdown(comparison: Comparison, pictures: Sequence[Picture]) -> str:
    """The same without the disagreement of a browser."""
    template = _environment(autoescape=False).get_template("comparison.md.j2")
    text = template.render(**_content(comparison, pictures))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(*, autoescape: bool) -> Any:
    environment = html.environment(_TEMPLATES, autoescape=autoescape)
    environment.filters["cell"] = _markdown_cell
    environment.filters["line"] = _markdown_line
    return environment


def _markdown_line(text: str) -> str:
    """Text without a meaning in Markdown or HTML, on one line."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(str(text).split()))


def _markdown_cell(text: str) -> str:
    return _markdown_line(text).replace("|", r"\|")


def _content(comparison: Comparison, pictures: Sequence[Picture]) -> dict[str, Any]:
    measured = comparison.measured
    models = [one.name for one in measured]
    title = f"Comparison of {len(models)} models" if len(models) > 1 else f"Figures of {models[0]}"
    return {
        "title": title,
        "subtitle": _subtitle(measured),
        "answer": comparison.answer,
        "failures": comparison.failures,
        "leading": [table for table in comparison.tables if table.leads],
        "tables": [table for table in comparison.tables if not table.leads],
        "verdicts": [
            {
                "headline": words.headline(verdict),
                "details": words.details(verdict),
                "table": pair_table(verdict),
            }
            for verdict in comparison.verdicts
        ],
        "verdict_note": f"{VERDICT_NOTE} {comparison.reference_note}".strip(),
        "pictures": pictures,
        "runs": [_run(one, run) for one in measured for run in one.contestant.runs],
    }


def _subtitle(measured: Sequence[Measured]) -> str:
    runs = [run for one in measured for run in one.contestant.runs]
    tasks = list(dict.fromkeys(one.contestant.task for one in measured))
    data = list(dict.fromkeys(str(run.record.get("data", {}).get("name", "?")) for run in runs))
    images = sorted({len(one.contestant.image) for one in measured})
    folds = {fold_of(run) for run in runs} - {None}
    seeds = {seed_of(run) for run in runs}
    parts = [
        f"{len(runs)} runs" if len(runs) > 1 else "1 run",
        f"task {words.listed(tasks)}",
        f"data {words.listed(data)}",
        f"{' or '.join(map(str, images))} test images a model",
    ]
    if folds:
        parts.append(f"{len(folds)} folds" if len(folds) > 1 else "1 fold")
    parts.append(f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed")
    return ", ".join(parts)


def _run(one: Measured, run: Any) -> dict[str, str]:
    fold = fold_of(run)
    detail = [] if fold is None else [f"fold {fold}"]
    detail.append(f"seed {seed_of(run)}")
    return {"model": one.name, "path": str(run.path), "detail": ", ".join(detail)}
