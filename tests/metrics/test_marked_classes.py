from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.marked_classes import image_probabilities


def test_probabilities_of_an_image_are_half_at_the_threshold_and_shared_by_pixels() -> None:
    maps = np.zeros((3, 2, 2), np.float16)
    maps[0] = 0.8
    maps[1, 0] = 0.9
    found = image_probabilities(
        maps,
        np.array([[[[255, 255], [255, 0]], [[0, 0], [0, 255]]]] * 3, np.uint8),
        score=np.array([0.8, 0.9, 0.0]),
        called=np.array([0, 1, 0]),
        threshold=0.8,
        num_classes=3,
    )
    assert found.sum(axis=1) == pytest.approx(1)
    assert found[0] == pytest.approx([0.5, 0.375, 0.125], abs=1e-3)
    assert found[1] == pytest.approx([0.25, 0.75, 0])
    assert found[2] == pytest.approx([1, 0, 0])


def test_pixels_that_are_not_sure_share_what_they_have() -> None:
    found = image_probabilities(
        np.array([[[0.9, 0.6]]], np.float32),
        np.array([[[[204, 51]], [[51, 204]]]], np.uint8),
        score=np.array([0.9]),
        called=np.array([1]),
        threshold=0.5,
        num_classes=3,
    )
    assert found[0] == pytest.approx([0.1, 0.9 * (0.72 + 0.12) / 1.5, 0.9 * (0.18 + 0.48) / 1.5])


def test_where_no_pixel_speaks_for_a_defect_all_are_as_probable() -> None:
    found = image_probabilities(
        np.zeros((1, 1, 2), np.float32),
        np.zeros((1, 2, 1, 2), np.uint8),
        score=np.array([0.25]),
        called=np.array([0]),
        threshold=0.5,
        num_classes=3,
    )
    assert found[0] == pytest.approx([0.75, 0.125, 0.125])
