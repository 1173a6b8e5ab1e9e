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
        np.array([[[1, 1], [1, 2]]] * 3, np.uint8),
        score=np.array([0.8, 0.9, 0.0]),
        called=np.array([0, 1, 0]),
        threshold=0.8,
        num_classes=3,
    )
    assert found.sum(axis=1) == pytest.approx(1)
    assert found[0] == pytest.approx([0.5, 0.375, 0.125], abs=1e-3)
    assert found[1] == pytest.approx([0.25, 0.75, 0])
    assert found[2] == pytest.approx([1, 0, 0])
