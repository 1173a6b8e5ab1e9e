"""Small image files, and a count of what is read, for the tests of this folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from capsule_inspection.data import sample_reader

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
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often files are read, hashed and decoded from now on."""
    counts: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        function = getattr(module, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    for name in ("read_content", "decode_image", "decode_mask"):
        count(sample_reader, name)

    def sha256(content: bytes) -> Any:
        counts["sha256"] += 1
        return hashlib.sha256(content)

    monkeypatch.setattr(sample_reader, "hashlib", SimpleNamespace(sha256=sha256))
    return counts


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
