"""index.html of a folder of predictions: what somebody at the inspection line looks at.

From rows that are handed over, one a photograph; the pictures lie beside the page. It opens from
disk without a network, and every text that came from files is escaped, as HTML or as JSON.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from capsule_inspection.files import whole_file
from capsule_inspection.reports.answer_pictures import encode_png, heat_scale
from capsule_inspection.reports.gallery_words import answer, cautions, explanation
from capsule_inspection.reports.html import SHARED, Picture, environment
from capsule_inspection.reports.overlays import colours_of
from capsule_inspection.reports.run_folder import SEGMENTATION
from capsule_inspection.types import GOOD_LABEL

PAGE = "index.html"

WITHOUT_SCRIPTS = 500
"""Rows of the plain table that stands in for the gallery where scripts are switched off."""

_TEMPLATES = SHARED / "gallery"
_SHOWN = (
    "path",
    "status",
    "error",
    "width",
    "height",
    "prediction",
    "is_defect",
    "probabilities",
    "score",
    "threshold",
    "regions",
    "remarks",
    "overlay",
)
_DIGITS = 6
_MARKUP = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
"""No name can end the script that holds it, or begin a comment in it."""


def write_gallery(
    folder: Path, rows: Iterable[Mapping[str, Any]], *, about: Mapping[str, Any]
) -> Path:
    """Write the page that shows these rows into `folder`, whole; returns its path.

    A row is a line of predictions.jsonl with `overlay`, its picture relative to `folder`, or None.
    `about` has title, task, model, run, classes (good first), command, date, counts (images,
    defects, good, unlike, errors) and legend, whether colours are explained. Rows are written as
    they come, none but the first few are kept. Raises OSError where the page cannot be written.
    """
    path = folder / PAGE
    lines = _Lines(rows)
    template = environment(_TEMPLATES).get_template("gallery.html.j2")
    with whole_file(path) as part:
        page = template.stream(**_content(about), lines=lines, first_rows=lines.first)
        page.dump(str(part), encoding="utf-8", errors="backslashreplace")
    return path


class _Lines:
    """Rows as JSON, made once and as they are asked for; `first` holds those that came first."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = rows
        self.first: list[Mapping[str, Any]] = []

    def __iter__(self) -> Iterator[str]:
        for row in self._rows:
            values = {key: row.get(key) for key in _SHOWN}
            if len(self.first) < WITHOUT_SCRIPTS:
                self.first.append(values)
            overlay = row.get("overlay")
            link = None if overlay is None else quote(os.fsencode(overlay))
            yield _embedded(values | {"overlay": link})


def _content(about: Mapping[str, Any]) -> dict[str, Any]:
    task, classes, counts = about["task"], list(about["classes"]), about["counts"]
    swatches = _swatches(classes) if task == SEGMENTATION else {}
    return {
        "title": about["title"],
        "about": about,
        "answer": answer(counts),
        "cautions": cautions(counts),
        "explanation": explanation(task, colours=bool(about["legend"])),
        "swatches": swatches if about["legend"] else {},
        "heat": _heat() if about["legend"] and not swatches else None,
        "settings": _embedded({"task": task, "classes": classes, "colours": swatches}),
        "without_scripts": WITHOUT_SCRIPTS,
    }


def _swatches(classes: list[str]) -> dict[str, str]:
    """The colour of each class of defects in the pictures, as `#rrggbb`."""
    colours = colours_of(len(classes)).tolist()
    named = list(zip(classes, colours, strict=True))[GOOD_LABEL + 1 :]
    return {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in named}


def _heat() -> Picture:
    return Picture("", "heat from low to high", encode_png(heat_scale(240, 24)))


def _embedded(values: Mapping[str, Any]) -> str:
    """JSON that may stand in a script of a page."""
    return json.dumps(_compact(values), allow_nan=False).translate(_MARKUP)


def _compact(value: Any) -> Any:
    """The same with fewer digits, and nothing where there is no finite number."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _compact(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [_compact(of) for of in value]
    return value
