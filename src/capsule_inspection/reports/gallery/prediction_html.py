"""One prediction as HTML, for the app; every text from files is escaped.

A row is a line of predictions.jsonl, see inference/predictions.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_MAX_REGIONS = 6


def headline_html(row: Mapping[str, Any]) -> str:
    """The predicted class, or why there is none."""
    if row["status"] == "error":
        return _headline("none", "Not inspected: this file cannot be used")
    if not row["is_defect"]:
        return _headline("good", "Good: no defect found")
    name = _format_name(row["predicted_label"])
    return _headline("bad", "Defect" if name == "defect" else f"Defect: {name}")


def details_html(row: Mapping[str, Any]) -> str:
    """Score, regions or probabilities, and warnings."""
    if row["status"] == "error":
        return f"<p>{escape(str(row['path']))}: {escape(str(row['error']))}.</p>"
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in row["ood_warnings"])
    if warnings:
        warnings = (
            '<p class="warning">Unlike the training images, so the prediction may be wrong:</p>'
            f"{warnings}"
        )
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in _list_facts(row)
    )
    return f'{warnings}<table class="facts">{cells}</table>'


def _list_facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value; where there is no threshold, the probabilities decide."""
    facts = [("image", f"{row['path']}, {row['width']}x{row['height']} pixels")]
    if row["threshold"] is not None:
        facts.append(
            ("score", f"{row['score']:.3g}, a defect above the threshold {row['threshold']:.3g}")
        )
    for region in row["regions"][:_MAX_REGIONS]:
        x0, y0, x1, y1 = region["box"]
        position = f"{region['area_px']} pixels from ({x0}, {y0}) to ({x1}, {y1})"
        probability = f"probability {region['probability']:.0%}"
        facts.append((f"region: {_format_name(region['class'])}", f"{position}, {probability}"))
    if row["probabilities"] and row["threshold"] is None:
        by_probability = sorted(row["probabilities"].items(), key=lambda item: -item[1])
        facts += [(_format_name(name), f"{value:.1%}") for name, value in by_probability]
    return facts


def _format_name(class_name: object) -> str:
    return str(class_name).replace("_", " ")


def _headline(css_class: str, text: str) -> str:
    return f'<p class="headline {css_class}">{escape(text)}</p>'
