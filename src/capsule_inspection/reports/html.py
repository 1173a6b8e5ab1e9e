"""Pages that need nothing else: one look, pictures inside, every text from files escaped."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

SHARED = Path(__file__).parent / "templates"
"""Templates of more than one page: `base.html.j2` has the look."""


@dataclass(frozen=True)
class Picture:
    """A PNG with what it shows; `file` is its name relative to the page."""

    file: str
    caption: str
    content: bytes
    look_for: str = ""

    @property
    def width_px(self) -> int:
        """Its own width, which stands at a fixed place of every PNG."""
        return int.from_bytes(self.content[16:20], "big")

    @property
    def base64(self) -> str:
        return base64.b64encode(self.content).decode("ascii")


def environment(*folders: Path, autoescape: bool = True) -> Environment:
    """Templates of these folders and the shared ones; an unknown name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([*folders, SHARED]),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
