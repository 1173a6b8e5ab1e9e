"""Pixels of masks: defects of any class, and those that count."""

import numpy as np

from capsule_inspection.metrics.target_masks import counted_pixels, defect_pixels, limit_classes
from capsule_inspection.types import IGNORE_INDEX

MASK = np.array([[0, 1, 3, IGNORE_INDEX]], np.uint8)


def test_ignored_pixels_are_neither_defect_nor_background() -> None:
    assert defect_pixels(MASK).tolist() == [[False, True, True, False]]
    assert counted_pixels(MASK).tolist() == [[True, True, True, False]]
    valid = np.array([[0, 1, 0, 1]], np.uint8)
    assert counted_pixels(MASK, valid).tolist() == [[False, True, False, False]]
    assert defect_pixels(MASK > 0).tolist() == [[False, True, True, True]]  # bool: nothing ignored


def test_higher_classes_become_the_largest_and_ignored_pixels_stay() -> None:
    assert limit_classes(MASK).tolist() == [[0, 1, 1, IGNORE_INDEX]]
    assert limit_classes(MASK, 2).tolist() == [[0, 1, 2, IGNORE_INDEX]]
    assert limit_classes(MASK).dtype == np.uint8
