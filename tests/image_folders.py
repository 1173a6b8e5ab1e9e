"""Data sets of tests, written by hand and loaded as a training does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capsule_inspection.data.cache import ImageCache
from capsule_inspection.data.dataset import DatasetConfig, load_dataset
from capsule_inspection.data.layouts.samples import FoundSample, FoundSamples
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


def load(found: FoundSamples, folder: Path, **changed: Any) -> tuple[DataIndex, ImageCache]:
    """Index and cache, 24 x 48 pixels, unless other settings of `DatasetConfig` are given."""
    settings: dict[str, Any] = {"roi": "auto", "margin": 0.05, "image_size": (24, 48)}
    return load_dataset(found, DatasetConfig(folder, **{**settings, **changed}))
