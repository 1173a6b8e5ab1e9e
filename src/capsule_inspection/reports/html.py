"""Self-contained HTML pages: common style, embedded images, escaped text."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

SHARED = Path(__file__).parent / "templates"
"""Templates shared by several pages."""


@dataclass(frozen=True)
class EmbeddedImage:
    """A PNG with its caption; `file` is its path relative to the page."""

    file: str
    caption: str
    content: bytes
    guidance: str = ""

    @property
    def width_px(self) -> int:
        """Its width, from the PNG header."""
        return int.from_bytes(self.content[16:20], "big")

    @property
    def base64(self) -> str:
        return base64.b64encode(self.content).decode("ascii")


def environment(*folders: Path, autoescape: bool = True) -> Environment:
    """Jinja2 templates of these folders and the shared ones; an undefined name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([*folders, SHARED]),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
