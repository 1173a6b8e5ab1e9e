"""Predictions as HTML: the gallery of a folder, and a single prediction for the app.

The overlays lie beside the gallery. It needs no network, and every text from files is escaped, as
HTML or as JSON. A row is a line of predictions.jsonl, see inference/predictions.py.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from capsule_inspection.files import atomic_write
from capsule_inspection.metrics.registry import ANOMALY_DETECTION, SEGMENTATION
from capsule_inspection.reports.html import environment
from capsule_inspection.reports.plots.overlays import colours_of, encode_png, heat_legend
from capsule_inspection.types import GOOD_LABEL, PREDICTIONS_PAGE

MAX_TABLE_ROWS = 500
"""Rows of the plain table that replaces the cards where scripts are disabled."""

NEAR_ODDS, NEAR_FRACTION = 2.0, 0.05
"""Near the threshold are probabilities with up to so many times its odds, or so many times fewer,
and anomaly scores up to this fraction of the threshold from it."""

_FIELDS = ("path", "status", "error", "width", "height", "predicted_label", "is_defect",
           "probabilities", "score", "threshold", "regions", "ood_warnings", "overlay")  # fmt: skip
_DIGITS = 6
_ESCAPED_MARKUP = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})
"""Escapes in JSON: no text can end the script that holds it, or start a comment in it."""


def is_near_threshold(row: Mapping[str, Any], task: str) -> bool:
    """Whether a small change of the image may change the decision between good and defect.

    Where the most probable class decides, that is near an even chance of any defect, or against it.
    """
    score, threshold = row.get("score"), row.get("threshold")
    if score is None or not math.isfinite(score):
        return False
    if task == ANOMALY_DETECTION:
        return threshold is not None and abs(score - threshold) <= NEAR_FRACTION * abs(threshold)
    limit = 0.5 if threshold is None else threshold
    if threshold is None and bool(row["is_defect"]) != (score > limit):
        return True
    odds, odds_of_limit = score * (1 - limit), limit * (1 - score)
    return odds_of_limit <= NEAR_ODDS * odds and odds <= NEAR_ODDS * odds_of_limit


def prediction_html(
    row: Mapping[str, Any], task: str, *, pictures: str = "", similar: str = ""
) -> str:
    """Headline, warnings and facts of one prediction.

    Its `pictures` and the `similar` images are HTML, as a macro returns it.
    """
    return environment().get_template("prediction.html.j2").render(
        row=row,
        task=task,
        is_near=is_near_threshold(row, task),
        pictures=pictures,
        similar=similar,
    )  # fmt: skip


def write_gallery(
    folder: Path, rows: Iterable[Mapping[str, Any]], *, about: Mapping[str, Any]
) -> Path:
    """Write the page of these rows into `folder`, atomically; returns its path.

    A row has `overlay`, the path of its overlay relative to `folder`, or None. `about` has title,
    task, model, run, classes (normal first), command, date, counts (images, defects, good, near,
    unlike, errors), tested and is_usable (the model's own test), and legend, whether colours are
    explained. Rows are streamed: only the first few
    are kept. Raises OSError where the page cannot be written.
    """
    path = folder / PREDICTIONS_PAGE
    first_rows: list[Mapping[str, Any]] = []

    def lines() -> Iterator[str]:
        for row in rows:
            values = {key: row.get(key) for key in _FIELDS}
            if len(first_rows) < MAX_TABLE_ROWS:
                first_rows.append(values)
            overlay = row.get("overlay")
            link = None if overlay is None else quote(os.fsencode(overlay))
            yield _to_json(values | {"overlay": link, "is_near": is_near_threshold(row, task)})

    task = about["task"]
    colours = class_colours(about["classes"]) if task == SEGMENTATION else {}
    heat = encode_png(heat_legend(240, 24)) if about["legend"] and not colours else b""
    with atomic_write(path) as part:
        page = environment().get_template("gallery.html.j2").stream(
            about=about,
            colours=colours,
            heat_legend=base64.b64encode(heat).decode("ascii"),
            lines=lines(),
            first_rows=first_rows,
            max_table_rows=MAX_TABLE_ROWS,
        )  # fmt: skip
        page.dump(str(part), encoding="utf-8", errors="backslashreplace")
    return path


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """The colour of each defect class in the overlays, as `#rrggbb`."""
    colours = (f"#{bytes(colour).hex()}" for colour in colours_of(len(classes)))
    return dict(list(zip(classes, colours, strict=True))[GOOD_LABEL + 1 :])


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
