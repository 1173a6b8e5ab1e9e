from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.metrics.marked_classes import image_probabilities


def probabilities_of(foreground, kinds, *, score, called, threshold):
    return image_probabilities(
        np.asarray(foreground),
        np.array(kinds, np.uint8),
        score=np.array(score),
        called=np.array(called),
        threshold=threshold,
        num_classes=3,
    )


def test_probabilities_are_half_at_the_threshold_and_shared_by_pixels() -> None:
    maps = np.zeros((3, 2, 2), np.float16)
    maps[0] = 0.8
    maps[1, 0] = 0.9
    kinds = [[[[255, 255], [255, 0]], [[0, 0], [0, 255]]]] * 3
    of_images = {"score": [0.8, 0.9, 0.0], "called": [0, 1, 0]}
    found = probabilities_of(maps, kinds, **of_images, threshold=0.8)
    assert found.sum(axis=1) == pytest.approx(1)
    assert found[0] == pytest.approx([0.5, 0.375, 0.125], abs=1e-3)
    assert found[1] == pytest.approx([0.25, 0.75, 0])
    assert found[2] == pytest.approx([1, 0, 0])


def test_unsure_pixels_share_what_they_have_and_without_any_all_defects_are_as_probable() -> None:
    kinds = [[[[204, 51]], [[51, 204]]]]
    (found,) = probabilities_of([[[0.9, 0.6]]], kinds, score=[0.9], called=[1], threshold=0.5)
    assert found == pytest.approx([0.1, 0.9 * (0.72 + 0.12) / 1.5, 0.9 * (0.18 + 0.48) / 1.5])
    none = np.zeros((1, 1, 2)), np.zeros((1, 2, 1, 2))
    (found,) = probabilities_of(*none, score=[0.4], called=[0], threshold=0.8)
    assert found == pytest.approx([0.75, 0.125, 0.125])
