"""One answer in words, as HTML; every text from files is escaped.

A row is a line of predictions.jsonl, see inference/answers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_SHOWN = 6


def verdict(row: Mapping[str, Any]) -> str:
    """The answer itself: what the part is called, or why it is not."""
    if row["status"] == "error":
        return _line("none", "Not inspected: this file cannot be used")
    if not row["is_defect"]:
        return _line("good", "Good: no defect is seen")
    name = str(row["prediction"]).replace("_", " ")
    return _line("bad", "Defect" if name == "defect" else f"Defect: {name}")


def described(row: Mapping[str, Any], *, task: str) -> str:
    """What the answer rests on, and what speaks against trusting it."""
    if row["status"] == "error":
        return f"<p>{escape(str(row['path']))}: {escape(str(row['error']))}.</p>"
    remarks = "".join(f'<p class="remark">{escape(text)}</p>' for text in row["remarks"])
    if remarks:
        remarks = (
            '<p class="remark">Unlike the photographs that the model has learned from, so its '
            f"answer may be wrong:</p>{remarks}"
        )
    facts = _facts(row, task)
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts
    )
    return f'{remarks}<table class="facts">{cells}</table>'


def _facts(row: Mapping[str, Any], task: str) -> list[tuple[str, str]]:
    facts = [("photograph", f"{row['path']}, {row['width']}x{row['height']} pixels")]
    if task != "classification":
        facts.append(
            ("score", f"{row['score']:.3g}, a defect above the threshold {row['threshold']:.3g}")
        )
    for region in row["regions"][:_SHOWN]:
        x0, y0, x1, y1 = region["box"]
        name = str(region["class"]).replace("_", " ")
        where = f"{region['area_px']} pixels from ({x0}, {y0}) to ({x1}, {y1})"
        facts.append((f"region: {name}", f"{where}, {region['probability']:.0%} sure"))
    if row["probabilities"] and task == "classification":
        by_share = sorted(row["probabilities"].items(), key=lambda item: -item[1])
        facts += [(name.replace("_", " "), f"{share:.1%}") for name, share in by_share]
    return facts


def _line(kind: str, text: str) -> str:
    return f'<p class="verdict {kind}">{escape(text)}</p>'
