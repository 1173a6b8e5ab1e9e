"""Self-contained HTML pages: one set of templates, embedded images, escaped text."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from capsule_inspection.metrics.registry import metric_description, metric_label
from capsule_inspection.reports import formatting

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

_WIDE_PX = 1200
"""Images of this width or more take both columns of a page."""


@dataclass(frozen=True)
class EmbeddedImage:
    """A PNG with its title and caption; `file` is its path relative to the page."""

    file: str
    title: str
    content: bytes
    caption: str = ""
    section: str = ""

    @property
    def width_px(self) -> int:  # as in the header of a PNG
        return int.from_bytes(self.content[16:20], "big")

    @property
    def height_px(self) -> int:
        return int.from_bytes(self.content[20:24], "big")

    @property
    def is_wide(self) -> bool:
        return self.width_px >= _WIDE_PX

    @property
    def base64(self) -> str:
        return base64.b64encode(self.content).decode("ascii")


def environment(*, autoescape: bool = True) -> Environment:
    """Jinja2 templates of the pages; an undefined name is an error.

    The functions of `formatting` are filters and functions. So are `metric_label`,
    `metric_description`, and `sentences`, which lists the lines of a macro's text.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = {k: f for k, f in vars(formatting).items() if k.startswith("format_")}
    functions |= {of.__name__: of for of in (metric_label, metric_description)}
    functions["sentences"] = _split_lines
    found.filters |= functions
    found.globals |= functions
    return found


def _split_lines(text: str) -> list[str]:
    """The lines that are not empty; escaped text stays marked as escaped."""
    return [line.strip() for line in text.splitlines() if line.strip()]
