"""One image as networks see it; the cache's own tests hold the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from capsule_inspection.data.preprocessing import PreprocessConfig, preprocess


def test_a_box_of_the_crop_is_given_in_pixels_of_the_image_and_ends_with_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    seen = preprocess(image, PreprocessConfig((20, 10, 60, 30), 0.0, (40, 80)))
    assert seen.to_source((0, 0, 80, 40)) == (20, 10, 60, 30)
    assert seen.to_source((40, 20, 60, 40)) == (40, 20, 50, 30)
    assert seen.source_px_per_px == pytest.approx(0.25)
    assert seen.valid.all()
    seen = preprocess(np.zeros((30, 100, 3), np.uint8), PreprocessConfig("none", 0.0, (100, 100)))
    assert seen.roi_found
    assert seen.content_box == (0, 35, 100, 65)
    assert seen.valid[35:65].all()
    assert seen.valid.sum() == 30 * 100
    assert seen.to_source((0, 0, 100, 100)) == (0, 0, 100, 30)


def test_where_no_part_is_seen_the_whole_image_is_taken() -> None:
    seen = preprocess(np.full((64, 64, 3), 128, np.uint8), PreprocessConfig("auto", 0.05, (32, 32)))
    assert not seen.roi_found
    assert seen.foreground.all()
