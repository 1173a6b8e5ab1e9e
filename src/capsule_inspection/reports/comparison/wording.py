"""The wording of a comparison: all of it stands in the Jinja2 templates `comparison*.j2`."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from capsule_inspection.reports import html
from capsule_inspection.reports.comparison import costs
from capsule_inspection.reports.comparison.table import get_fold, get_seed

SENTENCES, NOTES = "comparison_text.j2", "comparison_notes.j2"


@cache
def templates(*, autoescape: bool) -> Any:
    """The environment of the templates; those of plain text and Markdown are not escaped."""
    environment = html.environment(autoescape=autoescape)
    environment.filters |= {
        "sentence": lambda text: text[:1].upper() + text[1:],
        "cell": lambda text: _markdown_line(text).replace("|", r"\|"),
        "code": lambda text: " ".join(str(text).split()).replace("`", "'"),
        "line": _markdown_line,
    }
    environment.globals |= {"costs": costs, "get_fold": get_fold, "get_seed": get_seed}
    return environment


def paragraphs(macro: str, *values: Any, template: str = SENTENCES) -> list[str]:
    """The paragraphs of a macro as plain text, each on one line."""
    text = getattr(templates(autoescape=False).get_template(template).module, macro)(*values)
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def note(macro: str, *values: Any) -> str:
    """A note or a reason as plain text on one line."""
    return " ".join(paragraphs(macro, *values, template=NOTES))


def _markdown_line(text: str) -> str:
    """Text on one line, with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(str(text).split()))
