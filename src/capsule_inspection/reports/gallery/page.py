"""index.html of a folder of predictions: a card for each image, to sort and filter.

The overlays lie beside the page. It needs no network, and every text from files is escaped, as
HTML or as JSON.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from capsule_inspection.files import atomic_write
from capsule_inspection.reports.gallery.text import OTHER_TASK, TASKS, summarize, warn
from capsule_inspection.reports.html import EmbeddedImage, environment
from capsule_inspection.reports.plots.overlays import colours_of
from capsule_inspection.reports.plots.prediction_overlay import encode_png, heat_legend
from capsule_inspection.types import GOOD_LABEL

PAGE = "index.html"

MAX_TABLE_ROWS = 500
"""Rows of the plain table that replaces the cards where scripts are disabled."""

_TEMPLATES = Path(__file__).parent / "templates"
_FIELDS = (
    "path",
    "status",
    "error",
    "width",
    "height",
    "predicted_label",
    "is_defect",
    "probabilities",
    "score",
    "threshold",
    "regions",
    "ood_warnings",
    "overlay",
)
_DIGITS = 6
_ESCAPED_MARKUP = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
"""Escapes in JSON: no text can end the script that holds it, or start a comment in it."""


def write_gallery(
    folder: Path, rows: Iterable[Mapping[str, Any]], *, about: Mapping[str, Any]
) -> Path:
    """Write the page of these rows into `folder`, atomically; returns its path.

    A row is a line of predictions.jsonl with `overlay`, the path of its overlay relative to
    `folder`, or None. `about` has title, task, model, run, classes (normal first), command, date,
    counts (images, defects, good, unlike, errors) and legend, whether colours are explained. Rows
    are streamed: only the first few are kept. Raises OSError where the page cannot be written.
    """
    path = folder / PAGE
    lines = _Lines(rows)
    template = environment(_TEMPLATES).get_template("gallery.html.j2")
    with atomic_write(path) as part:
        page = template.stream(**_content(about), lines=lines, first_rows=lines.first)
        page.dump(str(part), encoding="utf-8", errors="backslashreplace")
    return path


class _Lines:
    """Rows as a stream of JSON; `first` collects the first of them."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = rows
        self.first: list[Mapping[str, Any]] = []

    def __iter__(self) -> Iterator[str]:
        for row in self._rows:
            values = {key: row.get(key) for key in _FIELDS}
            if len(self.first) < MAX_TABLE_ROWS:
                self.first.append(values)
            overlay = row.get("overlay")
            link = None if overlay is None else quote(os.fsencode(overlay))
            yield _to_json(values | {"overlay": link})


def _content(about: Mapping[str, Any]) -> dict[str, Any]:
    texts = TASKS.get(about["task"], OTHER_TASK)
    classes, counts = list(about["classes"]), about["counts"]
    colours = _class_colours(classes) if texts.shows_class_colours else {}
    settings = {
        "classes": classes,
        "colours": colours,
        "scoreOrder": texts.score_order,
        "maxScore": texts.max_score,
    }
    return {
        "title": about["title"],
        "about": about,
        "summary": summarize(counts),
        "warnings": warn(counts),
        "explanation": texts.explain(has_overlays=bool(about["legend"])),
        "colours": colours if about["legend"] else {},
        "heat_legend": _heat_legend() if about["legend"] and not colours else None,
        "settings": _to_json(settings),
        "max_table_rows": MAX_TABLE_ROWS,
    }


def _class_colours(classes: list[str]) -> dict[str, str]:
    """The colour of each defect class in the overlays, as `#rrggbb`."""
    colours = colours_of(len(classes)).tolist()
    named = list(zip(classes, colours, strict=True))[GOOD_LABEL + 1 :]
    return {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in named}


def _heat_legend() -> EmbeddedImage:
    return EmbeddedImage("", "heat from low to high", encode_png(heat_legend(240, 24)))


def _to_json(values: Mapping[str, Any]) -> str:
    """JSON that can be embedded in a script of a page."""
    return json.dumps(_round_numbers(values), allow_nan=False).translate(_ESCAPED_MARKUP)


def _round_numbers(value: Any) -> Any:
    """The value with numbers rounded to a few digits, and None for numbers that are not finite."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _round_numbers(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [_round_numbers(of) for of in value]
    return value
