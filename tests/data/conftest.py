"""Small image files for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteImage = Callable[..., Path]


@pytest.fixture
def write_image() -> WriteImage:
    """Function that writes a noise image, different for each seed, and returns its path."""

    def write(path: Path, *, seed: int = 0, width: int = 24, height: int = 16) -> Path:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def write_mask() -> WriteImage:
    """Function that writes a mask with a marked square (or, if `empty`, without one)."""

    def write(path: Path, *, empty: bool = False, width: int = 24, height: int = 16) -> Path:
        pixels = np.zeros((height, width), np.uint8)
        pixels[4:9, 5:11] = 0 if empty else 255
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def mvtec(tmp_path: Path, write_image: WriteImage, write_mask: WriteImage) -> Path:
    """A category in the MVTec AD layout: 4 good, 2 crack and 1 poke, with masks."""
    root = tmp_path / "bottle"
    names = ["train/good/000", "train/good/001", "train/good/002", "test/good/000"]
    for seed, name in enumerate([*names, "test/crack/000", "test/crack/001", "test/poke/000"]):
        write_image(root / f"{name}.png", seed=seed)
    for name in ("crack/000", "crack/001", "poke/000"):
        write_mask(root / "ground_truth" / f"{name}_mask.png")
    return root
