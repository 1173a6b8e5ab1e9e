"""Small data sets in annotation formats, written by hand, and what they are read as."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import save_pixels
from PIL import Image

from capsule_inspection.data.annotations.formats import find_annotated_samples
from capsule_inspection.data.layouts.samples import FoundSamples, LayoutSettings
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.types import DataError

WIDTH, HEIGHT = 48, 32
SQUARE = [10, 8, 20, 8, 20, 18, 10, 18]
"""Corners of the square of the pixels 10 to 19 and 8 to 17."""


def write_parts(root: Path, *names: str) -> None:
    """Write an image of 48x32 pixels, all different, for each name."""
    for name in names:
        pixels = np.random.default_rng(sum(name.encode())).integers(
            0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8
        )
        save_pixels(root / name, pixels)


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: object) -> Path:
    return write_text(path, json.dumps(value))


def square(value: int = 1) -> np.ndarray:
    """The mask of SQUARE."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[8:18, 10:20] = value
    return mask


def find(
    name: str, root: Path, *, cache: str = "cache", exclude: Sequence[str] = (), **settings: Any
) -> FoundSamples:
    """A data set in a format; masks are cached in a folder of the name `cache` beside it."""
    given = LayoutSettings(cache_folder=root.parent / cache, **settings)
    return find_annotated_samples(name, scan_tree(root, exclude=exclude), given)


def labels(found: FoundSamples) -> dict[str, str]:
    """The class of each image."""
    return {sample.path: sample.class_name for sample in found.samples}


def mask_of(found: FoundSamples, path: str) -> np.ndarray | None:
    """The values of an image's mask."""
    name = next(sample.mask for sample in found.samples if sample.path == path)
    return None if name is None else np.asarray(Image.open(name))


def check_refused(name: str, root: Path, *expected: str, **settings: Any) -> None:
    """Check for one DataError with these texts, and that nothing was left in the cache."""
    with pytest.raises(DataError) as caught:
        find(name, root, cache="refused", **settings)
    for text in expected:
        assert text in str(caught.value), str(caught.value)
    left = [path.name for path in (root.parent / "refused").rglob("*") if path.suffix != ".lock"]
    assert left == ["annotations"]
