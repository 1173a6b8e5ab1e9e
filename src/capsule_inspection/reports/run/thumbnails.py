"""Thumbnails of the images of a run, read on access."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.types import RunError


class Thumbnails(Sequence[np.ndarray]):
    """A sequence of images that are read on access, since most are never used."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def exist(self) -> np.ndarray:
        """Whether each file exists: (N,) bool."""
        return np.array([path.is_file() for path in self.paths], dtype=bool)

    def where(self, rows: np.ndarray) -> Thumbnails:
        """Select by rows (N,) bool."""
        return Thumbnails([path for path, keep in zip(self.paths, rows, strict=True) if keep])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:  # type: ignore[override]
        return read_thumbnail(self.paths[row])


def read_thumbnail(path: Path) -> np.ndarray:
    """Read a thumbnail: (H, W, 3) uint8. Raises RunError where it is not readable."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise RunError(f"{path}: not a readable thumbnail ({error}).") from error


def without_padding(
    image: np.ndarray, content_box: tuple[float, float, float, float] | None
) -> np.ndarray:
    """The area of a thumbnail (H, W, 3) without padding.

    `content_box` is x0, y0, x1, y1 as fractions of width and height; None where it is unknown.
    """
    if content_box is None:
        return image
    height, width = image.shape[:2]
    x0, y0, x1, y1 = content_box
    left, right = round(x0 * width), max(round(x1 * width), round(x0 * width) + 1)
    top, bottom = round(y0 * height), max(round(y1 * height), round(y0 * height) + 1)
    return image[top:bottom, left:right]
