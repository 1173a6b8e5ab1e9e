"""Training images that look most like another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capsule_inspection.inference.embeddings import (
    TrainingEmbeddings,
    load_embeddings,
    save_embeddings,
)
from capsule_inspection.types import RunError

KNOWN = TrainingEmbeddings(
    np.array([[0, 0, 1], [4, 400, 0], [0, 800, 2]], np.float32),
    np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3),
    ["a.png", "b.png", "膠囊.png"],
    ["good", "poke", "good"],
)


def test_an_image_of_the_training_is_its_own_nearest_neighbour() -> None:
    for row in range(3):
        first, *others = KNOWN.nearest(KNOWN.vectors[row], 2)
        assert (first.path, first.class_name) == (KNOWN.paths[row], KNOWN.class_names[row])
        assert first.likeness == pytest.approx(1, abs=1e-4)
        assert np.array_equal(first.picture, KNOWN.pictures[row])
        assert len(others) == 1
        assert others[0].likeness < first.likeness


def test_large_numbers_count_no_more_than_small_ones() -> None:
    likest = KNOWN.nearest(np.array([4, 0, 0], np.float32), 3)
    assert likest[0].path == "b.png"  # by its first entry, though the second is 400 away


def test_they_are_the_same_after_a_file_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    save_embeddings(path, KNOWN)
    read = load_embeddings(path)
    assert np.array_equal(read.vectors, KNOWN.vectors)
    assert np.array_equal(read.pictures, KNOWN.pictures)
    assert (read.paths, read.class_names) == (KNOWN.paths, KNOWN.class_names)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"neighbours\.npz: cannot be read"):
        load_embeddings(path)
