"""The small pictures that a run kept of its images, read when they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capsule_inspection.types import RunError


class Thumbnails(Sequence[np.ndarray]):
    """Images that are read when they are looked at: most never are."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def exist(self) -> np.ndarray:
        """Which of them were kept: (N,) bool."""
        return np.array([path.is_file() for path in self.paths], dtype=bool)

    def where(self, rows: np.ndarray) -> Thumbnails:
        """Those of the rows (N,) bool."""
        return Thumbnails([path for path, keep in zip(self.paths, rows, strict=True) if keep])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:  # type: ignore[override]
        return read_thumbnail(self.paths[row])


def read_thumbnail(path: Path) -> np.ndarray:
    """One of them: (H, W, 3) uint8. Raises RunError where it is no readable image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise RunError(f"{path}: not a readable thumbnail ({error}).") from error


def without_padding(
    image: np.ndarray, inside: tuple[float, float, float, float] | None
) -> np.ndarray:
    """The part of a thumbnail (H, W, 3) that is no padding, as maps are handed out.

    `inside` is x0, y0, x1, y1 as shares of width and height; None where it is not known.
    """
    if inside is None:
        return image
    height, width = image.shape[:2]
    x0, y0, x1, y1 = inside
    left, right = round(x0 * width), max(round(x1 * width), round(x0 * width) + 1)
    top, bottom = round(y0 * height), max(round(y1 * height), round(y0 * height) + 1)
    return image[top:bottom, left:right]
