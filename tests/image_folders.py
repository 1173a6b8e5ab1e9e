"""Data sets of tests, written by hand and loaded as a training does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.dataset import DatasetConfig, load_dataset
from capsule_inspection.data.layouts import mvtec
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples, LayoutSettings
from capsule_inspection.data.layouts.tree import scan_tree
from capsule_inspection.types import DataIndex

CLASSES = ("good", "crack")


def found_in(
    root: Path, masks: dict[str, str | None], classes: tuple[str, ...] = CLASSES
) -> FoundSamples:
    """Images of `root` by name, each with the name of its mask; those with a mask are cracked."""
    samples = (
        FoundSample(name, classes[0 if mask is None else 1], mask) for name, mask in masks.items()
    )
    return FoundSamples(root, classes, tuple(samples))


def find_mvtec_samples(root: Path, **settings: Any) -> FoundSamples:
    """The samples of a category folder in a layout of MVTec."""
    return mvtec.find_mvtec_samples(scan_tree(root), LayoutSettings(**settings))


def load(found: FoundSamples, folder: Path, **changed: Any) -> tuple[DataIndex, ImageCache]:
    """Index and cache, 24 x 48 pixels, unless other settings of `DatasetConfig` are given."""
    settings: dict[str, Any] = {"roi": "auto", "margin": 0.05, "image_size": (24, 48)}
    return load_dataset(found, DatasetConfig(folder, **{**settings, **changed}))


def draw_part(
    seed: int = 0, *, defect: bool = False, size: tuple[int, int] = (32, 48)
) -> tuple[np.ndarray, np.ndarray]:
    """A drawn elliptical part on white with noise, with a black defect on request, and its mask.

    Shapes: image (H, W, 3) uint8, mask (H, W) uint8 of 0 and 255. `size` is (H, W).
    """
    rng = np.random.default_rng(seed)
    height, width = size
    image, mask = Image.new("RGB", (width, height), "white"), Image.new("L", (width, height))
    x, y = width * rng.uniform(0.45, 0.55), height * rng.uniform(0.45, 0.55)
    colour = tuple(int(value) for value in rng.integers(60, 160, 3))
    radius = np.array([0.3 * width, 0.3 * height])
    ImageDraw.Draw(image).ellipse(_box(x, y, radius), fill=colour)
    if defect:
        for drawn, black in ((image, "black"), (mask, 255)):
            ImageDraw.Draw(drawn).ellipse(_box(x, y, radius / 4 + 1), fill=black)
    noise = rng.normal(0, 6, (height, width, 3))
    return (np.asarray(image) + noise).clip(0, 255).astype(np.uint8), np.asarray(mask)


def _box(x: float, y: float, radius: np.ndarray) -> tuple[float, float, float, float]:
    return x - radius[0], y - radius[1], x + radius[0], y + radius[1]


def write_images(
    root: Path, names: Iterable[str], *, defect: bool = False, masks: Iterable[str] = ()
) -> list[Path]:
    """Write a drawn part to each name below `root`, all different; the format by the suffix.

    `masks` are the names of their masks, in the same order. A name without a suffix is a JPEG.
    """
    written, of_mask = [], list(masks)
    for number, name in enumerate(names):
        seed = sum(name.encode(errors="surrogateescape")) * 1000 + number
        image, mask = draw_part(seed, defect=defect)
        written.append(save_pixels(root / name, image))
        if of_mask:
            save_pixels(root / of_mask[number], mask)
    return written


def save_pixels(path: Path, pixels: np.ndarray) -> Path:
    """Write an array as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = path.suffix.lower() in Image.registered_extensions()
    Image.fromarray(pixels).save(path, format=None if known else "JPEG")
    return path
