"""A comparison as a self-contained HTML page, as Markdown, and as sentences.

All wording stands in the Jinja2 templates `comparison*.j2`, which escape every text from files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from capsule_inspection.config.quoting import format_command
from capsule_inspection.reports.comparison.decision import Recommendation
from capsule_inspection.reports.comparison.metrics import ModelMetrics
from capsule_inspection.reports.comparison.pairs import DecisionSettings, PairwiseComparison
from capsule_inspection.reports.comparison.tables import pair_table
from capsule_inspection.reports.comparison.wording import paragraphs, templates
from capsule_inspection.reports.html import EmbeddedImage
from capsule_inspection.reports.tables import Table
from capsule_inspection.types import RunFiles

PLOTS = "figures"


@dataclass(frozen=True)
class Comparison:
    """The contents of a comparison.

    `failures` are sentences about runs that are left out. `reference` is the model that all others
    are compared with, if there is one, and `reference_note` says how it was chosen.
    """

    results: Sequence[ModelMetrics]
    pairs: Sequence[PairwiseComparison]
    recommendation: Recommendation
    tables: Sequence[Table]
    caveats: Sequence[str]
    failures: Sequence[str]
    settings: DecisionSettings
    reference: str | None = None
    reference_note: str = ""


def to_html(
    comparison: Comparison, plots: Sequence[EmbeddedImage], *, plots_note: str, folder: Path
) -> str:
    """The page, which lies in `folder`; it needs no network."""
    of_runs = {
        run.path: quote(os.fsencode(os.path.relpath(run.path / RunFiles.PAGE, folder)))
        for result in comparison.results
        for run in result.model.runs
        if run.has_file(RunFiles.PAGE)
    }
    single = [of for of in comparison.results if len(of.model.runs) == 1]
    of_models = {of.name: of_runs.get(of.model.runs[0].path) for of in single}
    template = templates(autoescape=True).get_template("comparison.html.j2")
    return template.render(
        **_content(comparison, plots), plots_note=plots_note, of_runs=of_runs, of_models=of_models
    )


def to_markdown(comparison: Comparison, plots: Sequence[EmbeddedImage]) -> str:
    """The same as Markdown."""
    template = templates(autoescape=False).get_template("comparison.md.j2")
    text = template.render(**_content(comparison, plots))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def embed_plots(contents: Mapping[str, bytes]) -> list[EmbeddedImage]:
    """PNG files by the names of `plots.list_plots`, with their titles, captions and sections."""
    images = []
    for name, content in contents.items():
        title, caption, section = paragraphs("plot_texts", name)
        images.append(EmbeddedImage(f"{PLOTS}/{name}.png", title, content, caption, section))
    return images


def recommendation_text(comparison: Comparison) -> list[str]:
    """The recommendation, and then its reasons, as plain paragraphs."""
    found, pairs = comparison.recommendation, comparison.pairs
    return paragraphs("recommendation", found, pairs, comparison.results)


def headline(comparison: Comparison, pair: PairwiseComparison) -> str:
    """The result of a pair in one sentence."""
    return " ".join(paragraphs("headline", pair, comparison.recommendation))


def details(comparison: Comparison, pair: PairwiseComparison) -> list[str]:
    """The paragraphs behind a headline: counts, tests, required images, retraining."""
    return paragraphs("details", pair, comparison.recommendation)


def _content(comparison: Comparison, plots: Sequence[EmbeddedImage]) -> dict[str, Any]:
    results, found = comparison.results, comparison.recommendation
    count = len(results)
    return {
        "title": f"Comparison of {count} models" if count > 1 else f"Metrics of {results[0].name}",
        "subtitle": " ".join(paragraphs("subtitle", results)),
        "comparison": comparison,
        "recommendation": recommendation_text(comparison),
        "rule": paragraphs("rule", found, comparison.pairs),
        "trainings": [text for of in results for text in paragraphs("training", of)],
        "pairs": [
            {
                "verdict": pair.verdict,
                "headline": headline(comparison, pair),
                "details": details(comparison, pair),
                "table": pair_table(pair),
            }
            for pair in comparison.pairs
        ],
        "plots": plots,
        "command": _format_command(comparison),
    }


def _format_command(comparison: Comparison) -> str:
    """The command that compares the runs again."""
    settings = comparison.settings
    paths = [str(run.path) for result in comparison.results for run in result.model.runs]
    values = {
        "runs": f"[{','.join(paths)}]",
        "reference": comparison.reference,
        "compare.primary": settings.primary,
        "compare.margin": settings.margin,
        **({} if settings.costs is None else
           {f"cost.{name}": value for name, value in asdict(settings.costs).items()}),
    }  # fmt: skip
    known = [f"{key}={value}" for key, value in values.items() if value is not None]
    return format_command(["compare.py", *known])
