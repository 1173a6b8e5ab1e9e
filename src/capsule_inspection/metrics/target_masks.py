"""Target masks: which pixels are a defect, and which count at all.

A mask holds 0 for background, class indices, and `IGNORE_INDEX` where the annotation leaves open
what a pixel shows; such a pixel counts neither as defect nor as background.
"""

from __future__ import annotations

import numpy as np

from capsule_inspection.types import IGNORE_INDEX


def defect_pixels(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask that are a defect of any class: bool, of the mask's shape."""
    mask = np.asarray(mask)
    return (mask != 0) & (mask != IGNORE_INDEX)


def counted_pixels(mask: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Pixels that are neither ignored nor padding, where `valid` is 0: bool, of that shape."""
    counted = np.asarray(mask) != IGNORE_INDEX
    return counted if valid is None else counted & (np.asarray(valid) != 0)


def limit_classes(mask: np.ndarray, largest: int = 1) -> np.ndarray:
    """The mask with `largest` for all higher classes, by default one for all defects.

    Ignored pixels stay so.
    """
    return np.where(mask == IGNORE_INDEX, mask, mask.clip(max=largest))
